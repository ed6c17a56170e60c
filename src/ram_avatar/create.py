"""The whole path: a video to a capture, a capture to an avatar, an avatar driven by a motion."""

import json
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from .avatar import AVATAR_FILE, Avatar, is_avatar
from .body import BodyTemplate, load_template
from .config import Preset, load_preset
from .errors import UserError
from .evaluation.evaluate import Truth, judge_pictures, render_frames, render_ways
from .evaluation.images import Judges
from .evaluation.metrics import StLpips
from .files import atomic_folder, check_output, disk_errors
from .hardware import check_devices, choose_device, choose_precision
from .model_card import model_card
from .motion.alignment import ALIGNMENT_FILE
from .motion.pose_features import PoseFeatures
from .motion.prior_file import load_prior
from .progress import Progress, Silent, follow
from .tracking.capture import Capture, is_capture, preview_size
from .tracking.track import track
from .training.alignment import fit_alignment
from .training.dataset import CaptureDataset
from .training.draft import draft_avatar, is_draft
from .training.first_avatar import first_avatar
from .training.launch import launched
from .training.trainer import CHECKPOINT_FILE, Trainer
from .video import VideoWriter, probe

METRICS_FILE = "metrics.json"
METRICS = {
    "psnr": ("full", "psnr"),
    "psnr_person": ("person", "psnr"),
    "psnr_inside": ("inside", "psnr"),
    "ssim": ("full", "ssim"),
    "st_lpips_person": ("person", "st_lpips"),
}
"""What metrics.json tells: region and figure of each (see `evaluation.images`)."""
MIN_FRAMES = 24
"""That show the person, to learn an avatar from."""


def train(
    capture: Capture | str | Path,
    avatar: str | Path,
    *,
    preset: Preset | str = "lite",
    instant: bool = False,
    overwrite: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    progress: Progress | None = None,
) -> Avatar:
    """Learn an avatar from a capture. A folder that holds an unfinished one of this capture is gone on with; one that
    is finished but for its motion (`learn_motion`) gets that.

    The textured template comes first: it is a driveable avatar within seconds, saved before training starts.

    Args:
        instant: stop there.
        overwrite: begin anew where there is an avatar already.
        devices: GPUs (or, on a CPU, processes) that share every batch.
        precision: Lightning Fabric's: "32-true" or "bf16-mixed"; "auto" is what the hardware does fast.

    Raises:
        UserError: the batch cannot be shared evenly; the capture is damaged or its template unknown; the avatar's
            folder holds something else.
    """
    progress, folder, device = progress or Silent(), Path(avatar), choose_device(accelerator)
    preset = load_preset(preset) if isinstance(preset, str) else preset
    capture = capture if isinstance(capture, Capture) else Capture.load(capture)
    if (shown := int(capture.shown.sum())) < MIN_FRAMES:
        told = f"the person is in only {_frames(shown)}; an avatar takes at least {MIN_FRAMES}"
        raise UserError(f"{capture.folder}: {told}")
    template = load_template(capture.motion.template, progress.wait)
    check_devices(devices, device, preset)
    precision = choose_precision(precision, preset, device)
    draft = is_draft(folder)  # to be replaced
    if is_avatar(folder) and not overwrite and not draft:
        made = Avatar.load(folder, status=progress.wait)
        if made.preset != preset.name:
            raise UserError(f"{folder}: holds an avatar of preset '{made.preset}'; train with it, or --overwrite")
        if _is_finished(made, folder):
            if made.alignment:
                raise UserError(f"{folder}: this avatar is trained to its end; choose another name or pass --overwrite")
            if made.training["source"] != capture.source:
                raise UserError(f"{folder}: learned from '{made.training['source']}', not from '{capture.source}'")
            learn_motion(made, capture, folder, progress)
            return made
        data = _dataset(made, capture, device, progress)
    else:
        with atomic_folder(folder, overwrite or draft, marker=AVATAR_FILE) as fresh:
            made = first_avatar(capture, template, preset, progress)
            made.save(fresh)
            data = _dataset(made, capture, device, progress)
            _write_preview(made, capture, fresh, progress)
        if not draft:
            progress.note(f"First avatar ready, driveable now: {folder} (look at {folder / 'preview.mp4'})")
    if instant:
        return made
    with launched(device, devices, precision, _take_share, folder, capture.folder, preset) as fabric:
        trainer = Trainer(made.to(fabric.device), data, preset, folder, fabric)
        if trainer.resume():
            progress.note(f"Going on from step {trainer.step} of {preset.training.steps}")
        trainer.run(progress)
    learn_motion(made, capture, folder, progress)
    finish(made, data, folder, progress)
    (folder / CHECKPOINT_FILE).unlink()  # twice the size of the avatar, and of no use any more
    return made


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _is_finished(avatar: Avatar, folder: Path) -> bool:
    """Whether nothing is left to do: the checkpoint goes last, when the avatar is judged."""
    return avatar.training["step"] >= avatar.training["steps"] and not (folder / CHECKPOINT_FILE).exists()


def _take_share(fabric: Fabric, folder: Path, capture: Path, preset: Preset) -> None:
    """What the processes beside the first do in training: their share of every batch."""
    made = Avatar.load(folder)
    data = _dataset(made, Capture.load(capture), fabric.device, Silent())
    trainer = Trainer(made.to(fabric.device), data, preset, folder, fabric)
    trainer.resume()
    trainer.run(Silent())


def learn_motion(avatar: Avatar, capture: Capture, folder: Path, progress: Progress) -> None:
    """Let an avatar know its own motion, that of the training frames, so that others can be aligned to it."""
    template = avatar.template.to("cpu")
    try:
        prior, _ = load_prior(None, template.name, PoseFeatures(template).names)
        motion, held_out = capture.train_motion, capture.held_out_motion
        avatar.alignment = fit_alignment(motion, held_out, template, prior, progress)
    except UserError as error:  # an avatar that cannot be aligned is an avatar all the same
        progress.note(f"Poses that drive this avatar will not be aligned to its own: {error}")
    else:
        avatar.alignment.save(folder / ALIGNMENT_FILE, template)


def finish(avatar: Avatar, data: CaptureDataset, folder: Path, progress: Progress) -> None:
    """Judge a trained avatar on the held-out frames; write metrics.json, preview.mp4 and its model card."""
    numbers = data.capture.held_out
    frames, truth = render_ways(avatar, data, numbers, progress), Truth.of(data, numbers)
    judged = judge_pictures(frames, truth, Judges(StLpips(), flip=None, lpips=None), progress)
    told = {
        way: {name: _mean(groups[group][figure]) for name, (group, figure) in METRICS.items()}
        for way, groups in judged.items()
    }
    figures = {"frames": len(truth.frames)} | told.pop("avatar")
    figures |= {"train_seconds": avatar.training["seconds"], "size": avatar.size} | told
    with disk_errors(folder):
        (folder / METRICS_FILE).write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        (folder / "README.md").write_text(model_card(avatar, figures))
    _write_preview(avatar, data.capture, folder, progress)


def _mean(values: np.ndarray) -> float | None:
    """Of the frames that have the figure; None where none has."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _dataset(avatar: Avatar, capture: Capture, device: torch.device, progress: Progress) -> CaptureDataset:
    template = avatar.template.to(device)
    on_device = Capture(**{**vars(capture), "identity": capture.identity.to(device)})
    return CaptureDataset(on_device, template, avatar.texture.to(device), avatar.size, device, progress)


def _write_preview(avatar: Avatar, capture: Capture, folder: Path, progress: Progress) -> None:
    """Write held-out frames, as the scene's camera would have seen them, beside what the avatar makes of them."""
    numbers, size = capture.held_out, preview_size(*capture.scene_size)
    wanted = set(numbers)
    frames = (
        capture.footage.in_scene(index, frame, size)
        for index, (frame, _) in enumerate(capture.frames())
        if index in wanted
    )
    shown = render_frames(avatar, capture.motion, numbers, size=size)
    with VideoWriter(folder / "preview.mp4", 2 * size[0], size[1], avatar.fps, metadata=generated_by(avatar)) as video:
        for pair in follow(zip(frames, shown, strict=True), progress, "Preview", len(numbers)):
            video.write(np.concatenate(pair, 1))


def _draft(
    video: Path,
    folder: Path,
    template: BodyTemplate | None,
    preset: Preset,
    face_model: str | Path | None,
    rotate: int,
    progress: Progress,
) -> None:
    """Leave a draft of the avatar, without a preview, where there is none yet."""
    template = template or load_template(status=progress.wait)
    made = draft_avatar(video, template, preset, progress, face_model=face_model, rotate=rotate)
    if made is None:
        return
    with atomic_folder(folder, marker=AVATAR_FILE) as fresh:
        made.save(fresh)
    progress.note(f"First avatar ready, driveable now: {folder}; a better one takes its place")


def generated_by(avatar: Avatar) -> dict[str, str]:
    """Metadata for every file that shows an avatar."""
    return {"title": avatar.name, "comment": f"Generated by RAM-Avatar: not a recording. Avatar: {avatar.name}"}


def create(
    video: str | Path,
    avatar: str | Path,
    *,
    preset: Preset | str = "lite",
    instant: bool = False,
    overwrite: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    template: BodyTemplate | None = None,
    face_model: str | Path | None = None,
    rotate: int = 0,
    finished_is_fine: bool = False,
    progress: Progress | None = None,
) -> Avatar:
    """Track a video and learn an avatar from it: `track` and `train` in one.

    The capture lies beside the avatar, in `AVATAR-capture`. Where a run was stopped, the same call goes on.

    Args:
        template: the body; without, Anny, or what the capture has that is gone on with.
        rotate: degrees clockwise to turn the video by, see `video.probe`.
        finished_is_fine: return an avatar that is trained to its end already, where it would be refused.

    Raises:
        UserError: see `track` and `train`.
    """
    video, avatar = Path(video), Path(avatar)
    preset = load_preset(preset) if isinstance(preset, str) else preset
    device = choose_device(accelerator)  # what cannot be is said before minutes of tracking
    check_devices(devices, device, preset)
    choose_precision(precision, preset, device)
    kept = avatar.with_name(f"{avatar.name}-capture")
    if overwrite or not is_capture(kept):
        check_output(avatar, overwrite or is_avatar(avatar), marker=AVATAR_FILE)
        if (frames := probe(video, rotate).frames) < MIN_FRAMES:
            raise UserError(f"{video}: only {_frames(frames)}; an avatar takes at least {MIN_FRAMES}")
        if not avatar.exists():
            _draft(video, avatar, template, preset, face_model, rotate, progress or Silent())
        track(
            video,
            kept,
            template=template,
            face_model=face_model,
            rotate=rotate,
            overwrite=overwrite,
            progress=progress,
        )
    capture = Capture.load(kept)
    if capture.source != video.name:
        raise UserError(f"{kept}: made from '{capture.source}', not from {video}; remove it or pass --overwrite")
    if (was := capture.report.get("rotated", 0)) != rotate:
        raise UserError(f"{kept}: made with --rotate {was}, not {rotate}; remove it or pass --overwrite")
    if template is not None and capture.motion.template != template.name:
        raise UserError(f"{kept}: of body template '{capture.motion.template}'; remove it or pass --overwrite")
    if finished_is_fine and not overwrite and is_avatar(avatar):
        made = Avatar.load(avatar)
        if _is_finished(made, avatar):
            return made
    return train(
        capture,
        avatar,
        preset=preset,
        instant=instant,
        overwrite=overwrite,
        accelerator=accelerator,
        devices=devices,
        precision=precision,
        progress=progress,
    )
