"""From a video to an avatar: draft, track, train."""

from pathlib import Path

from ..avatar import AVATAR_FILE, Avatar, is_avatar
from ..body import BodyTemplate, load_template
from ..capture.capture import Capture, is_capture
from ..config import Preset, load_preset
from ..core.device import check_devices, choose_device, choose_precision
from ..core.errors import UserError
from ..core.files import atomic_folder, check_output
from ..core.progress import SILENT, Progress
from ..tracking.offline.track import track
from ..video import probe
from .draft import draft_avatar
from .train import MIN_FRAMES, count_frames, is_finished, train


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
    progress: Progress = SILENT,
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
    check_devices(devices, device, preset.training.batch_size)
    choose_precision(precision, preset.precision, device)
    kept = avatar.with_name(f"{avatar.name}-capture")
    if overwrite or not is_capture(kept):
        check_output(avatar, overwrite or is_avatar(avatar), marker=AVATAR_FILE)
        if (frames := probe(video, rotate).frames) < MIN_FRAMES:
            raise UserError(f"{video}: only {count_frames(frames)}; an avatar takes at least {MIN_FRAMES}")
        if not avatar.exists():
            _draft(video, avatar, template, preset, face_model, rotate, progress)
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
        if is_finished(made, avatar):
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
    template = template or load_template(progress=progress)
    made = draft_avatar(video, template, preset, progress, face_model=face_model, rotate=rotate)
    if made is None:
        return
    with atomic_folder(folder, marker=AVATAR_FILE) as fresh:
        made.save(fresh)
    progress.note(f"First avatar ready, driveable now: {folder}; a better one takes its place")
