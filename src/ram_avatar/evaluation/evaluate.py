"""Evaluates an avatar: all metrics on held-out frames of its own capture, or on another person's motion."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..avatar import Avatar
from ..capture.capture import Capture
from ..capture.dataset import BOXES, CaptureDataset
from ..core.device import describe_machine, describe_versions
from ..core.files import atomic_folder
from ..core.images import fit, shrunk, to_array
from ..core.progress import SILENT, Progress, follow
from ..inference.render import render
from ..motion.motion import PARTS, Motion
from ..motion.retargeting.retarget import Person, retarget
from ..tracking.detection.landmarks import Landmarks
from ..tracking.offline.scenes import runs
from .baselines import nearest_frame, textured_mesh
from .control import detect_frames, expected_landmarks, measure_control
from .document import METHODS, Evaluation, method_label
from .flicker import measure_flicker, own_noise
from .gallery import SceneFrame
from .metric_catalog import Series
from .metrics import unavailable
from .report import write_report
from .similarity import ImageMetrics, Regions, measure_similarity

EVALUATION_FILE, REPORT_FILE = "evaluation.json", "report.html"
_SEEN = 0.5  # confidence from which a hand or a face counts as seen
_STILL = 24  # frames of the held pose
_SCENES, _SCENE_SIDE = 3, 640  # whole frames in the report, and pixels of their longer side

Frames = dict[str, np.ndarray]
"""Frames [N, S, S, 3] uint8 RGB by method ("avatar" and baselines)."""


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
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate an avatar; write `evaluation.json` and `report.html` into the folder `out`.

    If the capture shows the avatar's own person through the avatar's own camera, the frames it was not trained on
    are the ground truth. Of another person only the motion is used, which measures how closely the avatar follows
    the driver.

    Raises:
        UserError: `out` exists, or the capture was tracked with another template.
    """
    capture.check_template(avatar.template)
    with atomic_folder(out, overwrite, marker=EVALUATION_FILE) as folder:
        if shows_avatar(capture, avatar):
            data = CaptureDataset(
                capture, avatar.template, avatar.texture, avatar.size, avatar.device, progress, avatar.filmed
            )
            numbers = unseen_frames(capture, avatar)
            frames = render_methods(avatar, data, numbers, progress)
            truth = GroundTruth.of(data, numbers)
            evaluation = evaluate_held_out(avatar, capture, numbers, frames, truth, progress)
            images, boxes = {"truth": truth.frames, **frames}, truth.regions.boxes
            scenes = scene_frames(avatar, capture, numbers)
        else:
            evaluation, images = _evaluate_driven(avatar, capture, progress)
            boxes, scenes = {}, []
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


def render_frames(
    avatar: Avatar, motion: Motion, numbers: Sequence[int], size: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Render some frames of a motion; after a gap there is no previous frame, as in training.

    Args:
        size: width and height of scene frames; None for close-ups [S, S, 3].
    """
    for run in runs(numbers):
        yield from render(avatar, motion[run[0] : run[-1] + 1], size=size, close_up=size is None)


def render_methods(avatar: Avatar, data: CaptureDataset, numbers: Sequence[int], progress: Progress) -> Frames:
    """Render frames of a capture by the avatar and the simple baselines."""
    motion, numbers = data.capture.motion, list(numbers)
    methods: dict[str, Iterable[np.ndarray]] = {
        "avatar": follow(render_frames(avatar, motion, numbers), progress, "Rendering", len(numbers)),
        "textured_mesh": textured_mesh(avatar, motion[numbers]),
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
    metrics, size = ImageMetrics.load(), avatar.size
    methods = measure_images(frames, truth, metrics, progress)
    expected = _detect(truth.frames, "the video", progress)
    for method, rendered in frames.items():
        name, masks = method_label(method).lower(), truth.regions.masks
        step = _counted(partial(progress.step, f"Flicker: {name}"), len(rendered))
        methods[method]["time"] = measure_flicker(rendered, truth.frames, masks, metrics.st_lpips, step, numbers)
        methods[method]["control"] = measure_control(_detect(rendered, name, progress), expected)
    methods["avatar"]["time"]["own_noise"] = _still_noise(avatar, capture.motion[list(numbers)])
    reference = "landmarks detected in the video at the same size"
    return Evaluation(
        avatar=avatar.name,
        driver=capture.source,
        own=True,
        first_frame=numbers[0],
        fps=capture.motion.fps,
        size=size,
        protocol=_protocol(avatar, frames, reference) | dict(facts or {}),
        methods=methods,
        left_out=sorted(set(range(numbers[0], numbers[-1])) - set(numbers)),
    )


def _evaluate_driven(avatar: Avatar, capture: Capture, progress: Progress) -> tuple[Evaluation, Frames]:
    """Drive the avatar with another person's motion and measure control; there are no true frames."""
    on_cpu = avatar.template.to("cpu")
    source = Person.of(capture.shown_motion, on_cpu, capture.identity)
    motion = retarget(capture.motion, on_cpu, source, avatar.person)
    size = avatar.size
    rendered = render(avatar, motion, close_up=True)
    frames = {
        "avatar": np.stack(list(follow(rendered, progress, "Rendering", len(motion)))),
        "textured_mesh": np.stack(list(textured_mesh(avatar, motion))),
    }
    squares = map(avatar.framing.square, motion.root_translation.numpy())
    cameras = [square.camera(avatar.camera, size) for square in squares]
    expected = expected_landmarks(on_cpu, avatar.identity.cpu(), cameras, motion)
    methods: dict[str, dict[str, Series]] = {}
    for method, images in frames.items():
        found = _detect(images, method_label(method).lower(), progress)
        methods[method] = {"control": measure_control(found, expected)}
    methods["avatar"]["time"] = {"own_noise": _still_noise(avatar, motion)}
    reference = "the template's landmarks in the motion that drives the avatar"
    evaluation = Evaluation(
        avatar=avatar.name,
        driver=capture.source,
        own=False,
        first_frame=0,
        fps=motion.fps,
        size=size,
        protocol=_protocol(avatar, frames, reference),
        methods=methods,
    )
    driver = np.stack([fit(frame, size, size) for frame, _ in capture.frames()])
    return evaluation, {"driver": driver, **frames}


def _detect(frames: np.ndarray, what: str, progress: Progress) -> list[Landmarks]:
    step = partial(progress.step, f"Detecting: {what}")
    return detect_frames(frames, on_frame=_counted(step, len(frames)))


def _still_noise(avatar: Avatar, motion: Motion) -> np.ndarray:
    """Return `own_noise` [N] of the middle pose held for up to `_STILL` frames, NaN in the rest."""
    held = motion[[len(motion) // 2] * min(_STILL, len(motion))]
    noise = np.full(len(motion), np.nan)
    noise[: len(held)] = own_noise(np.stack(list(render(avatar, held, close_up=True))))
    return noise


def _protocol(avatar: Avatar, frames: Frames, reference: str) -> dict[str, str]:
    trained = avatar.training
    packages = (
        "ram-avatar",
        "torch",
        "mediapipe",
        "anny",
        "stlpips_pytorch",
        "opencv-contrib-python",
        "flip-evaluator",
    )
    facts = {
        "preset": avatar.preset,
        "training": f"{trained['step']} of {trained['steps']} steps on {trained['frames']} frames of "
        f"{trained['source']}, {trained['seconds']:.0f} s",
        "pictures": f"close-ups that follow the person, {avatar.size} x {avatar.size} pixels, 8 bits per channel",
        "range": "the last fifth of the frames that show the person, held out of training",
        "mask": "the capture's mattes, above 0.5",
        "control": f"compared with {reference}",
        "baselines": ", ".join(
            f"{method_label(method)}: {METHODS[method][1]}"
            for method in METHODS
            if method in frames and method != "avatar"
        ),
        "versions": describe_versions(*packages),
        "machine": describe_machine(),
    }
    return facts | {f"not measured: {name}": why for name, why in unavailable().items()}


def _counted(step: Callable[[int, int], object], total: int) -> Callable[[int], None]:
    """Bind the total of a progress step."""

    def count(done: int) -> None:
        step(done, total)

    return count
