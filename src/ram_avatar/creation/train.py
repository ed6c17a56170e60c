"""From a capture to an avatar."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from ..avatar import AVATAR_FILE, Avatar, is_avatar
from ..body import load_template
from ..capture.capture import Capture
from ..capture.dataset import CaptureDataset
from ..config import Preset, load_preset, preset_names
from ..core.device import best_preset, check_devices, choose_device, choose_precision
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.progress import SILENT, Progress
from ..core.sole_writer import sole_writer
from ..motion.alignment.aligner import ALIGNMENT_FILE
from ..motion.alignment.fitting import fit_alignment
from ..motion.alignment.prior_file import load_prior
from ..motion.pose_features import PoseFeatures
from ..options import AUTO
from ..training.avatar_data import avatar_data
from ..training.first_avatar import first_avatar
from ..training.launch import launched
from ..training.trainer import CHECKPOINT_FILE, Trainer
from .draft import is_draft
from .model_card import write_model_card
from .options import TrainOptions
from .outcome import judge, write_preview

MIN_FRAMES = 24
"""Fewest frames showing the person that an avatar can be learned from."""


@dataclass(frozen=True)
class TrainingPlan:
    """What to train, on what: options, resolved for this machine."""

    preset: Preset
    device: torch.device
    devices: int
    precision: str  # Lightning Fabric's: "32-true" or "bf16-mixed"

    @classmethod
    def of(cls, options: TrainOptions) -> "TrainingPlan":
        """Resolve options.

        Raises:
            UserError: an unknown preset, a device that is not there, or a batch that the devices cannot share evenly.
        """
        device = choose_device(options.accelerator)
        preset = options.recipe(best_preset(device)[0])
        check_devices(options.devices, device, preset.training.batch_size)
        return cls(preset, device, options.devices, choose_precision(options.precision, preset.precision, device))


def train(
    capture: Capture | str | Path,
    avatar: str | Path,
    options: TrainOptions = TrainOptions(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Avatar:
    """Learn an avatar from a capture.

    The textured template comes first: it is a driveable avatar within seconds, saved before training starts. To resume
    an interrupted run, call it again. A finished avatar without an alignment (from an earlier version) gets one.

    Args:
        overwrite: start over if there is an avatar already.

    Raises:
        UserError: the capture is damaged, too short, or of an unknown template; the avatar's folder holds something
            else, or a finished avatar; another process makes it; see also `TrainingPlan.of`.
    """
    folder, plan = Path(avatar), TrainingPlan.of(options)
    with sole_writer(folder):
        capture = capture if isinstance(capture, Capture) else Capture.load(capture)
        _check_shown(capture)
        draft = is_draft(folder)
        if is_avatar(folder) and not overwrite and not draft:
            made = Avatar.load(folder, smplx_model=options.smplx_model, progress=progress)
            capture.check_template(made.template)
            if options.preset == AUTO and made.preset in preset_names():
                plan = replace(plan, preset=load_preset(made.preset))  # go on as begun
            _check_resumable(made, folder, capture, plan.preset)
            if is_finished(made, folder):
                learn_motion(made, capture, folder, progress)
                return made
            data = avatar_data(made, capture, plan.device, progress, large=plan.preset.training.large_size)
        else:
            template = load_template(capture.motion.template, smplx_model=options.smplx_model, progress=progress)
            capture.check_template(template)
            if options.preset == AUTO:
                progress.note("Preset '{}': {}".format(*best_preset(plan.device)))
            with atomic_folder(folder, overwrite or draft, marker=AVATAR_FILE) as fresh:
                made = first_avatar(capture, template, plan.preset, progress)
                made.save(fresh)
                data = avatar_data(made, capture, plan.device, progress, large=plan.preset.training.large_size)
                write_preview(made, capture, fresh, progress)
            if not draft:
                progress.note(f"First avatar ready, driveable now: {folder} (look at {folder / 'preview.mp4'})")
        if options.instant:
            return made
        _run_trainer(made, data, folder, plan, options.smplx_model, progress)
        learn_motion(made, capture, folder, progress)
        metrics = judge(made, capture, folder, progress)
        write_model_card(made, metrics, folder)
        write_preview(made, capture, folder, progress)
        (folder / CHECKPOINT_FILE).unlink()  # twice the size of the avatar; its absence marks a finished one
        return made


def count_frames(count: int) -> str:
    """Return "1 frame", "2 frames", ..."""
    return f"{count} frame{'' if count == 1 else 's'}"


def is_finished(avatar: Avatar, folder: Path) -> bool:
    """Return whether an avatar is trained and judged: the checkpoint is removed last."""
    return avatar.training["step"] >= avatar.training["steps"] and not (folder / CHECKPOINT_FILE).exists()


def learn_motion(avatar: Avatar, capture: Capture, folder: Path, progress: Progress) -> None:
    """Fit the avatar's alignment to the motion of its training frames, and save it."""
    template = avatar.template.to("cpu")
    try:
        prior, _ = load_prior(None, template.name, PoseFeatures(template).names)
        motion, held_out = capture.train_motion, capture.held_out_motion
        avatar.alignment = fit_alignment(motion, held_out, template, prior, progress)
    except UserError as error:  # an avatar works without one
        progress.note(f"Poses that drive this avatar will not be aligned to its own: {error}")
    else:
        avatar.alignment.save(folder / ALIGNMENT_FILE, template)


def _check_shown(capture: Capture) -> None:
    if (shown := int(capture.shown.sum())) < MIN_FRAMES:
        found = f"the person is in only {count_frames(shown)}; an avatar takes at least {MIN_FRAMES}"
        raise UserError(f"{capture.folder}: {found}")


def _check_resumable(avatar: Avatar, folder: Path, capture: Capture, preset: Preset) -> None:
    """Raise a UserError unless there is something left to do for an avatar."""
    if avatar.preset != preset.name:
        raise UserError(f"{folder}: holds an avatar of preset '{avatar.preset}'; train with it, or --overwrite")
    if is_finished(avatar, folder):
        if avatar.alignment:
            raise UserError(f"{folder}: this avatar is trained to its end; choose another name or pass --overwrite")
        if avatar.training["source"] != capture.source:
            raise UserError(f"{folder}: learned from '{avatar.training['source']}', not from '{capture.source}'")


def _run_trainer(
    avatar: Avatar, data: CaptureDataset, folder: Path, plan: TrainingPlan, smplx_model: Path | None, progress: Progress
) -> None:
    """Train from the last checkpoint, if any, to the last step."""
    shared = (folder, data.capture.folder, plan.preset, smplx_model)
    with launched(plan.device, plan.devices, plan.precision, _train_share, *shared) as fabric:
        trainer = Trainer(avatar.to(fabric.device), data, plan.preset, folder, fabric)
        if trainer.resume():
            progress.note(f"Resuming from step {trainer.step} of {plan.preset.training.steps}")
        trainer.run(progress)


def _train_share(fabric: Fabric, folder: Path, capture: Path, preset: Preset, smplx_model: Path | None) -> None:
    """Train on one share of every batch, in a process of its own."""
    avatar = Avatar.load(folder, smplx_model=smplx_model)
    data = avatar_data(avatar, Capture.load(capture), fabric.device, large=preset.training.large_size)
    trainer = Trainer(avatar.to(fabric.device), data, preset, folder, fabric)
    trainer.resume()
    trainer.run(SILENT)
