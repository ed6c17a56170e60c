"""Evaluates an avatar: all metrics on held-out frames of its own capture, or following another person."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..avatar import Avatar
from ..capture.capture import Capture
from ..capture.dataset import BOXES, CaptureDataset
from ..core.files import atomic_folder
from ..core.images import shrunk, to_array
from ..core.progress import SILENT, Progress, follow
from ..motion.motion import PARTS
from ..training.avatar_data import avatar_data
from .baselines import nearest_frame, textured_mesh
from .control import measure_control
from .document import Evaluation, method_label
from .driven import evaluate_driven
from .flicker import measure_flicker
from .frames import Frames, detect, render_frames, shown_size, still_noise
from .gallery import SceneFrame
from .metric_catalog import Series
from .protocol import describe_protocol
from .report import write_report
from .similarity import ImageMetrics, Regions, measure_similarity

EVALUATION_FILE, REPORT_FILE = "evaluation.json", "report.html"
_SEEN = 0.5  # confidence from which a hand or a face counts as seen
_SCENES, _SCENE_SIDE = 3, 640  # whole frames in the report, and pixels of their longer side


@dataclass(frozen=True)
class GroundTruth:
    """Frames of the video that rendered frames are compared with."""

    frames: np.ndarray  # [N, S, S, 3] uint8 RGB
    regions: Regions

    @classmethod
    def of(cls, data: CaptureDataset, numbers: Sequence[int]) -> "GroundTruth":
        """Return the close-ups of a capture with these numbers; beyond the borders of the video they show the plate."""
        numbers = list(numbers)
        inside = data.inside[numbers, 0].numpy()
        plates = to_array(data.plates(torch.tensor(numbers)).cpu())
        frames = np.where(inside[..., None], data.frames[numbers].numpy(), plates)
        seen = data.capture.motion.confidence[numbers] > _SEEN
        regions = Regions(
            masks=data.masks[numbers, 0].numpy(),
            inside=inside,
            boxes={name: data.boxes[numbers, column].numpy() for column, name in enumerate(BOXES)},
            seen={name: seen[:, PARTS.index(name)].numpy() for name in BOXES},
        )
        return cls(frames, regions)


def evaluate(
    avatar: Avatar,
    capture: Capture,
    out: str | Path,
    *,
    size: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate an avatar; write `evaluation.json` and `report.html` into the folder `out`.

    If the capture shows the avatar's own person through the avatar's own camera, the frames it was not trained on
    are the ground truth. Another person drives it as in `animate`, and both are compared as the detector sees them.

    Args:
        size: side of the close-ups that are judged; None for `shown_size`.

    Raises:
        UserError: `out` exists, or the capture was tracked with another template.
    """
    capture.check_template(avatar.template)
    with atomic_folder(out, overwrite, marker=EVALUATION_FILE) as folder:
        return evaluate_into(folder, avatar, capture, progress, size)


def evaluate_into(
    folder: Path, avatar: Avatar, capture: Capture, progress: Progress, size: int | None = None
) -> Evaluation:
    """Evaluate an avatar; write `evaluation.json` and `report.html` into a folder that exists; see `evaluate`."""
    size = size or shown_size(avatar)
    scenes: list[SceneFrame] = []
    if shows_avatar(capture, avatar):
        data = avatar_data(avatar, capture, progress=progress, size=size)
        numbers = unseen_frames(capture, avatar)
        frames = render_methods(avatar, data, numbers, progress)
        truth = GroundTruth.of(data, numbers)
        evaluation = evaluate_held_out(avatar, capture, numbers, frames, truth, progress)
        images, boxes = {"truth": truth.frames, **frames}, truth.regions.boxes
        scenes = scene_frames(avatar, capture, numbers)
    else:
        driven = evaluate_driven(avatar, capture, progress, size)
        evaluation, images, boxes = driven.evaluation, driven.frames, driven.boxes
    (folder / EVALUATION_FILE).write_text(json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n")
    write_report(folder / REPORT_FILE, evaluation, images, boxes, scenes)
    return evaluation


def shows_avatar(capture: Capture, avatar: Avatar) -> bool:
    """Return whether a capture shows the avatar's own person through its own camera."""
    same = capture.identity.shape == avatar.identity.shape and torch.allclose(
        capture.identity, avatar.identity.cpu(), atol=1e-4
    )
    ours, theirs = avatar.camera.as_dict().values(), capture.camera.as_dict().values()
    close = [abs(a - b) < 1e-2 for a, b in zip(ours, theirs, strict=True)]
    return same and all(close)


def unseen_frames(capture: Capture, avatar: Avatar) -> list[int]:
    """Return the frames that show the person and were not used in training: all of another clip."""
    trained = capture.source == avatar.training["source"] and len(capture.train_frames) == avatar.training["frames"]
    return capture.held_out if trained else np.flatnonzero(capture.shown).tolist()


def render_methods(avatar: Avatar, data: CaptureDataset, numbers: Sequence[int], progress: Progress) -> Frames:
    """Render frames of a capture by the avatar and the simple baselines, at the data's size."""
    motion, numbers = data.capture.motion, list(numbers)
    methods: dict[str, Iterable[np.ndarray]] = {
        "avatar": follow(render_frames(avatar, motion, numbers, data.size), progress, "Rendering", len(numbers)),
        "textured_mesh": textured_mesh(avatar, motion[numbers], data.size),
    }
    if numbers == data.capture.held_out:
        methods["nearest_frame"] = nearest_frame(data)
    return {name: np.stack(list(frames)) for name, frames in methods.items()}


def scene_frames(avatar: Avatar, capture: Capture, numbers: Sequence[int]) -> list[SceneFrame]:
    """Return up to `_SCENES` small whole frames, evenly spaced, of the video and of the avatar.

    Args:
        numbers: numbers of the frames to choose from.
    """
    chosen = {numbers[int((i + 0.5) * len(numbers) / _SCENES)] for i in range(_SCENES)}
    size, found = shrunk(*capture.scene_size, _SCENE_SIDE), []
    for number, (frame, _) in enumerate(capture.frames()):
        if number in chosen:
            pair = [n for n in (number - 1, number) if n in numbers]  # the network sees the previous frame
            *_, rendered = render_frames(avatar, capture.motion, pair, size=size)
            found.append(SceneFrame(number, capture.footage.in_scene(number, frame, size), rendered))
    return found


def measure_images(
    frames: Frames, truth: GroundTruth, metrics: ImageMetrics, progress: Progress
) -> dict[str, dict[str, Series]]:
    """Measure image similarity of every method, by group and metric."""
    found = {}
    for method, rendered in frames.items():
        step = _counted(partial(progress.step, f"Comparing: {method_label(method).lower()}"), len(rendered))
        found[method] = measure_similarity(rendered, truth.frames, truth.regions, metrics, step)
    return found


def evaluate_held_out(
    avatar: Avatar,
    capture: Capture,
    numbers: Sequence[int],
    frames: Frames,
    truth: GroundTruth,
    progress: Progress,
    facts: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure everything on frames of the avatar's own person.

    Args:
        numbers: numbers of the evaluated frames in the clip.
        frames: of the avatar and of any baselines.
        facts: additional entries of the protocol.
    """
    metrics, size = ImageMetrics.load(), truth.frames.shape[1]
    methods = measure_images(frames, truth, metrics, progress)
    expected = detect(truth.frames, "the video", progress)
    for method, rendered in frames.items():
        name, masks = method_label(method).lower(), truth.regions.masks
        step = _counted(partial(progress.step, f"Flicker: {name}"), len(rendered))
        methods[method]["time"] = measure_flicker(rendered, truth.frames, masks, metrics.st_lpips, step, numbers)
        methods[method]["control"] = measure_control(detect(rendered, name, progress), expected)
    methods["avatar"]["time"]["own_noise"] = still_noise(avatar, capture.motion[list(numbers)], size)
    protocol = {
        "range": "the last fifth of the frames that show the person, held out of training",
        "mask": "the capture's mattes, above 0.5",
        "control": "compared with landmarks detected in the video at the same size",
    }
    return Evaluation(
        avatar=avatar.name,
        driver=capture.source,
        own=True,
        first_frame=numbers[0],
        fps=capture.motion.fps,
        size=size,
        protocol=describe_protocol(avatar, size, frames, protocol) | dict(facts or {}),
        methods=methods,
        left_out=sorted(set(range(numbers[0], numbers[-1])) - set(numbers)),
    )


def _counted(step: Callable[[int, int], object], total: int) -> Callable[[int], None]:
    """Bind the total of a progress step."""

    def count(done: int) -> None:
        step(done, total)

    return count
