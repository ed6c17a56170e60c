"""Everything that is found frame by frame, in one pass over the video: landmarks, facial actions and scenes."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...capture.footage import Footage
from ...core.progress import Progress, follow
from ...video import VideoInfo, read_frames
from ..detection.detectors import open_detector
from ..detection.expressions import ExpressionNet
from ..detection.landmarks import LandmarkDetector, Landmarks
from ..detection.people import People
from .scenes import Scenes


class Watcher(Protocol):
    """Measures something else in the same pass: camera, exposure."""

    def add(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Take the next frame [H, W, 3] uint8 RGB, and its person mask [h, w] uint8."""
        ...


@dataclass
class ClipDetection:
    """What was found in N frames."""

    landmarks: list[Landmarks]  # [N]
    actions: torch.Tensor | None  # [N, A] facial actions of the blendshape net, where there is one
    scenes: np.ndarray  # [N], see `Scenes.labels`


def detect_clip(
    info: VideoInfo,
    footage: Footage,
    people: People,
    detector: LandmarkDetector | None,
    net: ExpressionNet | None,
    watchers: tuple[Watcher, ...],
    progress: Progress,
) -> ClipDetection:
    """Run the detector over a video.

    Args:
        detector: the default one where it is None; closed.
        net: closed, too.
        watchers: get every frame, also those of an empty room, which show the scene.
    """
    landmarks, actions, scenes = [], [], Scenes(float(info.fps))
    with ExitStack() as stack:
        current = detector or open_detector()
        stack.callback(lambda: current.close())
        if net:
            stack.callback(net.close)
        frames = read_frames(info.path, rotate=info.rotate)
        for index, frame in enumerate(follow(frames, progress, "Detecting", info.frames)):
            if scenes.add(frame) and detector is None:
                # After a cut, the old one would keep seeing the person where they were for a while.
                current.close()
                current = open_detector()
            isolated, frame = footage.within_bars(people.isolate(index, frame)), footage.within_bars(frame)
            found = current.detect(isolated)
            landmarks.append(found)
            for watcher in watchers:
                watcher.add(frame, found.mask)
            if net:
                actions.append(net.detect(frame, found))
    return ClipDetection(landmarks, torch.from_numpy(np.stack(actions)) if actions else None, scenes.labels())
