"""How good an avatar is: every instrument on the frames that it was not trained on, or on somebody else's motion."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..avatar import Avatar
from ..capture.capture import Capture
from ..capture.dataset import CaptureDataset
from ..core.device import describe_machine, describe_versions
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.images import fit, to_array
from ..core.progress import SILENT, Progress, follow
from ..inference.render import render
from ..motion.motion import PARTS, Motion
from ..motion.retargeting.retarget import Person, retarget
from ..tracking.detection.landmarks import Landmarks
from ..tracking.offline.scenes import runs
from .baselines import nearest_frame, textured_mesh
from .control import detect_frames, expected_landmarks, judge_control
from .document import WAYS, Evaluation, way_label
from .flicker import judge_flicker, own_noise
from .metric_catalog import Series
from .metrics import unavailable
from .report import write_report
from .similarity import Judges, Regions, judge_images

EVALUATION_FILE, REPORT_FILE = "evaluation.json", "report.html"
_SEEN = 0.5  # confidence from which a hand or a face counts as shown
_STILL = 24  # frames of a motion held still

Frames = dict[str, np.ndarray]
"""Frames [N, S, S, 3] uint8 RGB by way: "avatar" and baselines."""


@dataclass(frozen=True)
class Truth:
    """What the judged frames are compared with."""

    frames: np.ndarray  # [N, S, S, 3] uint8 RGB
    regions: Regions

    @classmethod
    def of(cls, data: CaptureDataset, numbers: Sequence[int]) -> "Truth":
        """Take the close-ups of a capture with these numbers; beyond the video's edge they show the plate."""
        numbers = list(numbers)
        inside = data.inside[numbers, 0].numpy()
        plates = to_array(data.plates(torch.tensor(numbers)).cpu())
        frames = np.where(inside[..., None], data.frames[numbers].numpy(), plates)
        seen = data.capture.motion.confidence[numbers] > _SEEN
        regions = Regions(
            masks=data.masks[numbers, 0].numpy(),
            inside=inside,
            boxes={name: box[numbers].numpy() for name, box in data.boxes.items()},
            seen={name: seen[:, PARTS.index(name)].numpy() for name in data.boxes},
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
    """Judge an avatar; write `evaluation.json` and `report.html` into the folder `out`.

    Where the capture shows the avatar's own person through the avatar's own camera, the frames that it was not
    trained on are the truth. Of anybody else only the motion is taken: then it is judged whether the avatar does
    what it is told.

    Raises:
        UserError: `out` exists; the capture is of another template.
    """
    if capture.motion.template != avatar.template.name:
        raise UserError(f"{capture.folder}: a motion of template '{capture.motion.template}' cannot drive this avatar")
    with atomic_folder(out, overwrite, marker=EVALUATION_FILE) as folder:
        if shows_avatar(capture, avatar):
            data = CaptureDataset(capture, avatar.template, avatar.texture, avatar.size, avatar.device, progress)
            numbers = unseen_frames(capture, avatar)
            frames = render_ways(avatar, data, numbers, progress)
            truth = Truth.of(data, numbers)
            evaluation = judge_own(avatar, capture, numbers, frames, truth, progress)
            pictures, boxes = {"truth": truth.frames, **frames}, truth.regions.boxes
        else:
            evaluation, pictures = _judge_driven(avatar, capture, progress)
            boxes = None
        (folder / EVALUATION_FILE).write_text(json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n")
        write_report(folder / REPORT_FILE, evaluation, pictures, boxes)
    return evaluation


def shows_avatar(capture: Capture, avatar: Avatar) -> bool:
    """Whether a capture is of the avatar's own person, through its own camera."""
    same = capture.identity.shape == avatar.identity.shape and torch.allclose(
        capture.identity, avatar.identity.cpu(), atol=1e-4
    )
    here, there = capture.camera, avatar.camera
    close = [abs(a - b) < 1e-2 for a, b in zip(here.as_dict().values(), there.as_dict().values(), strict=True)]
    return same and all(close)


def unseen_frames(capture: Capture, avatar: Avatar) -> list[int]:
    """Numbers of the frames that show the person and that the avatar was not trained on: all in another clip."""
    trained = capture.source == avatar.training["source"] and len(capture.train_frames) == avatar.training["frames"]
    return capture.held_out if trained else np.flatnonzero(capture.shown).tolist()


def render_frames(
    avatar: Avatar, motion: Motion, numbers: Sequence[int], size: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Render some frames of a motion; after a gap the avatar starts anew, as it does in training.

    Args:
        size: width and height of pictures of the scene; close-ups [S, S, 3] without.
    """
    for run in runs(numbers):
        yield from render(avatar, motion[run[0] : run[-1] + 1], size=size, close_up=size is None)


def render_ways(avatar: Avatar, data: CaptureDataset, numbers: Sequence[int], progress: Progress) -> Frames:
    """The frames of a capture with these numbers, as the avatar and the simple baselines show them."""
    motion, numbers = data.capture.motion, list(numbers)
    ways: dict[str, Iterable[np.ndarray]] = {
        "avatar": follow(render_frames(avatar, motion, numbers), progress, "Rendering", len(numbers)),
        "textured_mesh": textured_mesh(avatar, motion[numbers]),
    }
    if numbers == data.capture.held_out:
        ways["nearest_frame"] = nearest_frame(data)
    return {name: np.stack(list(frames)) for name, frames in ways.items()}


def judge_pictures(frames: Frames, truth: Truth, judges: Judges, progress: Progress) -> dict[str, dict[str, Series]]:
    """The image figures of every way, by group and name."""
    found = {}
    for way, shown in frames.items():
        step = partial(progress.step, f"Judging: {way_label(way).lower()}")
        found[way] = judge_images(shown, truth.frames, truth.regions, judges, _counted(step, len(shown)))
    return found


def judge_own(
    avatar: Avatar,
    capture: Capture,
    numbers: Sequence[int],
    frames: Frames,
    truth: Truth,
    progress: Progress,
    facts: Mapping[str, str] | None = None,
) -> Evaluation:
    """All instruments on frames of the avatar's own person.

    Args:
        numbers: of the judged frames in the clip.
        frames: of the avatar and of any baselines.
        facts: more about how it was judged, for the report.
    """
    judges, size = Judges.load(), avatar.size
    ways = judge_pictures(frames, truth, judges, progress)
    wanted = _detect(truth.frames, "the video", progress)
    for way, shown in frames.items():
        step = _counted(partial(progress.step, f"Flicker: {way_label(way).lower()}"), len(shown))
        ways[way]["time"] = judge_flicker(shown, truth.frames, truth.regions.masks, judges.st_lpips, step, numbers)
        ways[way]["control"] = judge_control(_detect(shown, way_label(way).lower(), progress), wanted)
    ways["avatar"]["time"]["own_noise"] = _still_noise(avatar, capture.motion[list(numbers)])
    told = "landmarks that the detector finds in the video, at the same size"
    return Evaluation(
        avatar=avatar.name,
        driver=capture.source,
        own=True,
        first_frame=numbers[0],
        fps=capture.motion.fps,
        size=size,
        protocol=_protocol(avatar, frames, told) | dict(facts or {}),
        ways=ways,
        left_out=sorted(set(range(numbers[0], numbers[-1])) - set(numbers)),
    )


def _judge_driven(avatar: Avatar, capture: Capture, progress: Progress) -> tuple[Evaluation, Frames]:
    """Another person's motion: there is no true picture, but there is what the avatar was told to do."""
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
    wanted = expected_landmarks(on_cpu, avatar.identity.cpu(), cameras, motion)
    ways = {}
    for way, shown in frames.items():
        ways[way] = {"control": judge_control(_detect(shown, way_label(way).lower(), progress), wanted)}
    ways["avatar"]["time"] = {"own_noise": _still_noise(avatar, motion)}
    told = "the template's own landmarks in the motion that the avatar was given"
    evaluation = Evaluation(
        avatar=avatar.name,
        driver=capture.source,
        own=False,
        first_frame=0,
        fps=motion.fps,
        size=size,
        protocol=_protocol(avatar, frames, told),
        ways=ways,
    )
    driver = np.stack([fit(frame, size, size) for frame, _ in capture.frames()])
    return evaluation, {"driver": driver, **frames}


def _detect(frames: np.ndarray, what: str, progress: Progress) -> list[Landmarks]:
    step = partial(progress.step, f"Detecting: {what}")
    return detect_frames(frames, on_frame=_counted(step, len(frames)))


def _still_noise(avatar: Avatar, motion: Motion) -> np.ndarray:
    """[N] `own_noise` of the middle pose held still for up to `_STILL` frames; NaN in the others."""
    held = motion[[len(motion) // 2] * min(_STILL, len(motion))]
    noise = np.full(len(motion), np.nan)
    noise[: len(held)] = own_noise(np.stack(list(render(avatar, held, close_up=True))))
    return noise


def _protocol(avatar: Avatar, frames: Frames, told: str) -> dict[str, str]:
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
        "pictures": f"close-ups that follow the person, {avatar.size} x {avatar.size} pixels, 8 bits a channel",
        "range": "the last fifth of the frames that show the person is held out of training; only that is judged",
        "mask": "MediaPipe's segmentation, above one half",
        "control": f"compared with {told}",
        "baselines": ", ".join(
            f"{way_label(way)}: {WAYS[way][1]}" for way in WAYS if way in frames and way != "avatar"
        ),
        "versions": describe_versions(*packages),
        "machine": describe_machine(),
    }
    return facts | {f"not measured: {name}": why for name, why in unavailable().items()}


def _counted(step, total: int):
    return lambda done: step(done, total)
