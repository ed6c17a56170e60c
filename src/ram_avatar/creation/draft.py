"""A draft: the first avatar of a few frames, within a minute, to use while the whole video is tracked."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ..avatar import AVATAR_FILE, EARLIER_VERSIONS, FORMAT_VERSION, Avatar
from ..body.template import BodyTemplate
from ..core.device import best_preset, choose_device
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.images import shrunk
from ..core.progress import SILENT, Progress
from ..core.temporaries import scratch_folder
from ..core.untrusted.records import read_description
from ..tracking.detection.detectors import open_detector
from ..tracking.offline.fitting import FitSettings
from ..tracking.offline.options import TrackOptions
from ..tracking.offline.track import track
from ..training.first_avatar import first_avatar
from ..video import VideoInfo, VideoWriter, probe, read_frames
from .options import CreateOptions

FRAMES = 48  # evenly spread over the video
_MAX_SIDE = 720  # pixels of the frames' longer side
_TEXTURE = 512  # texels, at most: frames of that size hold hardly more
_MIN_RATIO = 2  # a video of fewer than this many times `FRAMES` is tracked nearly as soon as its draft
# The frames are far apart in time: nothing ties them together, and nothing is refined.
_SETTINGS = FitSettings(full_iterations=120, refinements=0, steadiness=0.0)


def save_draft(folder: Path, video: Path, template: BodyTemplate, options: CreateOptions, progress: Progress) -> None:
    """Save a draft in `folder`, if the video is worth one."""
    draft = draft_avatar(video, template, options, progress)
    if draft is None:
        return
    with atomic_folder(folder, marker=AVATAR_FILE) as fresh:
        draft.save(fresh)
    progress.note(f"First avatar ready, driveable now: {folder}; a better one will replace it")


def draft_avatar(
    video: Path, template: BodyTemplate, options: CreateOptions = CreateOptions(), progress: Progress = SILENT
) -> Avatar | None:
    """Make an untrained avatar from a few frames of a video.

    Returns:
        None if the video is too short to need a draft, or cannot be tracked: tracking all of it reports why.

    Raises:
        UserError: the video cannot be read.
    """
    info = probe(video, options.rotate)
    if info.frames < _MIN_RATIO * FRAMES:
        return None
    with scratch_folder() as scratch, progress.wait("Drafting a first avatar from a few frames"):
        few = scratch / f"{video.stem}.mp4"
        size = shrunk(info.width, info.height, _MAX_SIDE)
        with VideoWriter(few, *size, info.fps / _interval(info)) as writer:
            for frame in _sample(info, size):
                writer.write(frame)
        try:
            capture = track(
                few,
                scratch / "capture",
                TrackOptions(face_model=options.face_model),  # the frames are upright already
                template=template,
                detector=open_detector(separate=True),
                settings=_SETTINGS,
            )
        except UserError:
            return None
        recipe = options.recipe(best_preset(choose_device(options.accelerator))[0])
        draft = first_avatar(capture, template, replace(recipe, texture_size=min(recipe.texture_size, _TEXTURE)))
    draft.training["draft"] = True
    return draft


def is_draft(folder: Path) -> bool:
    """Return whether a folder holds an avatar made by `draft_avatar`."""
    path = folder / AVATAR_FILE
    if not path.is_file():
        return False
    described = read_description(path, "avatar", FORMAT_VERSION, *EARLIER_VERSIONS)
    return bool(described.take("training", dict, {}).get("draft"))


def _interval(info: VideoInfo) -> int:
    return info.frames // FRAMES


def _sample(info: VideoInfo, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield evenly spread frames of a video, at `size` (width, height)."""
    for frame in read_frames(info.path, step=_interval(info), rotate=info.rotate):
        yield np.ascontiguousarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
