"""From a capture to an avatar: the textured template, training, its motion, and how good it became."""

from pathlib import Path

import torch
from lightning_fabric import Fabric

from ..avatar import AVATAR_FILE, Avatar, is_avatar
from ..body import load_template
from ..capture.capture import Capture
from ..capture.dataset import CaptureDataset
from ..config import Preset, load_preset
from ..core.device import check_devices, choose_device, choose_precision
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.progress import SILENT, Progress, Silent
from ..motion.alignment.aligner import ALIGNMENT_FILE
from ..motion.alignment.fitting import fit_alignment
from ..motion.alignment.prior_file import load_prior
from ..motion.pose_features import PoseFeatures
from ..training.first_avatar import first_avatar
from ..training.launch import launched
from ..training.trainer import CHECKPOINT_FILE, Trainer
from .draft import is_draft
from .outcome import judge, write_preview

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
    progress: Progress = SILENT,
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
    folder, device = Path(avatar), choose_device(accelerator)
    preset = load_preset(preset) if isinstance(preset, str) else preset
    capture = capture if isinstance(capture, Capture) else Capture.load(capture)
    if (shown := int(capture.shown.sum())) < MIN_FRAMES:
        told = f"the person is in only {count_frames(shown)}; an avatar takes at least {MIN_FRAMES}"
        raise UserError(f"{capture.folder}: {told}")
    template = load_template(capture.motion.template, progress=progress)
    check_devices(devices, device, preset.training.batch_size)
    precision = choose_precision(precision, preset.precision, device)
    draft = is_draft(folder)  # to be replaced
    if is_avatar(folder) and not overwrite and not draft:
        made = Avatar.load(folder, progress=progress)
        if made.preset != preset.name:
            raise UserError(f"{folder}: holds an avatar of preset '{made.preset}'; train with it, or --overwrite")
        if is_finished(made, folder):
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
            write_preview(made, capture, fresh, progress)
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
    judge(made, data, folder, progress)
    (folder / CHECKPOINT_FILE).unlink()  # twice the size of the avatar, and of no use any more
    return made


def count_frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def is_finished(avatar: Avatar, folder: Path) -> bool:
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


def _dataset(avatar: Avatar, capture: Capture, device: torch.device, progress: Progress) -> CaptureDataset:
    template = avatar.template.to(device)
    on_device = Capture(**{**vars(capture), "identity": capture.identity.to(device)})
    return CaptureDataset(on_device, template, avatar.texture.to(device), avatar.size, device, progress)
