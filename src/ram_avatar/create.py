"""The whole path: a video to a capture, a capture to an avatar, an avatar driven by a motion."""

import json
from pathlib import Path

import torch
from lightning_fabric import Fabric

from .avatar import AVATAR_FILE, Avatar, is_avatar
from .body import load_template
from .config import Preset, load_preset
from .errors import UserError
from .evaluation.held_out import compare_pictures, evaluate_held_out
from .files import atomic_folder, check_output, disk_errors
from .hardware import choose_device, choose_precision
from .model_card import model_card
from .progress import Progress, Silent, follow
from .tracking.capture import Capture, is_capture
from .tracking.track import track
from .training.dataset import CaptureDataset
from .training.first_avatar import first_avatar
from .training.trainer import CHECKPOINT_FILE, Trainer
from .video import VideoWriter

METRICS_FILE = "metrics.json"


def train(
    capture: Capture | str | Path,
    avatar: str | Path,
    *,
    preset: Preset | str = "lite",
    instant: bool = False,
    overwrite: bool = False,
    accelerator: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
) -> Avatar:
    """Learn an avatar from a capture. A folder that holds an unfinished one of this capture is gone on with.

    The textured template comes first: it is a driveable avatar within seconds, saved before training starts.

    Args:
        instant: stop there.
        overwrite: begin anew where there is an avatar already.

    Raises:
        UserError: the capture is damaged or its template unknown; the avatar's folder holds something else.
    """
    progress, folder, device = progress or Silent(), Path(avatar), choose_device(accelerator)
    preset = load_preset(preset) if isinstance(preset, str) else preset
    capture = capture if isinstance(capture, Capture) else Capture.load(capture)
    template = load_template(capture.motion.template, progress.wait)
    fabric = Fabric(accelerator=device.type, devices=1, precision=choose_precision(precision, preset, device))
    if is_avatar(folder) and not overwrite:
        made = Avatar.load(folder, status=progress.wait)
        if made.preset != preset.name:
            raise UserError(f"{folder}: holds an avatar of preset '{made.preset}'; train with it, or --overwrite")
        if made.training["step"] >= made.training["steps"]:
            raise UserError(f"{folder}: this avatar is trained to its end; choose another name or pass --overwrite")
        data = _dataset(made, capture, fabric.device, progress)
    else:
        with atomic_folder(folder, overwrite, marker=AVATAR_FILE) as fresh:
            made = first_avatar(capture, template, preset, progress)
            made.save(fresh)
            data = _dataset(made, capture, fabric.device, progress)
            _preview(made, data, fresh, progress)
        progress.note(f"First avatar ready, driveable now: {folder} (look at {folder / 'preview.mp4'})")
    if instant:
        return made
    made.to(fabric.device)
    trainer = Trainer(made, data, preset, folder, fabric)
    if trainer.resume():
        progress.note(f"Going on from step {trainer.step} of {preset.training.steps}")
    trainer.run(progress)
    finish(made, data, folder, progress)
    (folder / CHECKPOINT_FILE).unlink()  # twice the size of the avatar, and of no use any more
    return made


def finish(avatar: Avatar, data: CaptureDataset, folder: Path, progress: Progress) -> None:
    """Judge a trained avatar on the held-out frames; write metrics.json, preview.mp4 and its model card."""
    judged = evaluate_held_out(avatar, data, progress)
    figures = {"frames": len(data) - data.capture.train_frames}
    figures |= {name: round(value, 4) for name, value in judged["avatar"].items()}
    figures |= {"train_seconds": avatar.training["seconds"], "size": avatar.camera.width}
    for way in ("nearest_frame", "textured_mesh"):
        figures[way] = {name: round(value, 4) for name, value in judged[way].items()}
    with disk_errors(folder):
        (folder / METRICS_FILE).write_text(json.dumps(figures, indent=2) + "\n")
        (folder / "README.md").write_text(model_card(avatar, figures))
    _preview(avatar, data, folder, progress)


def _dataset(avatar: Avatar, capture: Capture, device: torch.device, progress: Progress) -> CaptureDataset:
    template = avatar.template.to(device)
    on_device = Capture(**{**vars(capture), "identity": capture.identity.to(device)})
    return CaptureDataset(on_device, template, avatar.texture.to(device), avatar.camera.width, device, progress)


def _preview(avatar: Avatar, data: CaptureDataset, folder: Path, progress: Progress) -> None:
    size, fps = avatar.camera.width, avatar.fps
    with VideoWriter(folder / "preview.mp4", 2 * size, size, fps, metadata=generated_by(avatar)) as video:
        for pair in follow(compare_pictures(avatar, data), progress, "Preview", len(data) - data.capture.train_frames):
            video.write(pair)


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
    precision: str = "auto",
    face_model: str | Path | None = None,
    finished_is_fine: bool = False,
    progress: Progress | None = None,
) -> Avatar:
    """Track a video and learn an avatar from it: `track` and `train` in one.

    The capture lies beside the avatar, in `AVATAR-capture`. Where a run was stopped, the same call goes on.

    Args:
        finished_is_fine: return an avatar that is trained to its end already, where it would be refused.

    Raises:
        UserError: see `track` and `train`.
    """
    video, avatar = Path(video), Path(avatar)
    choose_device(accelerator)  # what cannot be is said before minutes of tracking
    preset = load_preset(preset) if isinstance(preset, str) else preset
    kept = avatar.with_name(f"{avatar.name}-capture")
    if overwrite or not is_capture(kept):
        check_output(avatar, overwrite or is_avatar(avatar), marker=AVATAR_FILE)
        track(video, kept, face_model=face_model, overwrite=overwrite, progress=progress)
    capture = Capture.load(kept)
    if capture.source != video.name:
        raise UserError(f"{kept}: made from '{capture.source}', not from {video}; remove it or pass --overwrite")
    if finished_is_fine and not overwrite and is_avatar(avatar):
        made = Avatar.load(avatar)
        if made.training["step"] >= made.training["steps"]:
            return made
    return train(
        capture,
        avatar,
        preset=preset,
        instant=instant,
        overwrite=overwrite,
        accelerator=accelerator,
        precision=precision,
        progress=progress,
    )
