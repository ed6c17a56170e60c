"""From a video to an avatar."""

from pathlib import Path

from ..avatar import AVATAR_FILE, Avatar, is_avatar
from ..body import load_template
from ..capture.capture import Capture, is_capture
from ..core.errors import UserError
from ..core.files import check_output
from ..core.progress import SILENT, Progress
from ..core.sole_writer import sole_writer
from ..core.text import printable
from ..tracking.offline.track import track
from ..video import probe
from .draft import save_draft
from .options import CreateOptions
from .train import MIN_FRAMES, TrainingPlan, count_frames, is_finished, train


def create(
    video: str | Path,
    avatar: str | Path,
    options: CreateOptions = CreateOptions(),
    *,
    overwrite: bool = False,
    finished_is_fine: bool = False,
    progress: Progress = SILENT,
) -> Avatar:
    """Track a video of one person and learn an avatar from it: `track`, then `train`.

    The capture is kept beside the avatar, in `AVATAR-capture`. To resume an interrupted run, call it again.

    Args:
        overwrite: start over if there is an avatar or a capture already.
        finished_is_fine: return a fully trained avatar instead of raising an error.

    Raises:
        UserError: see `track` and `train`; the capture is of another video, or was made with other options.
    """
    video, avatar = Path(video), Path(avatar)
    capture_folder = avatar.with_name(f"{avatar.name}-capture")
    TrainingPlan.of(options)  # fail before minutes of tracking
    with sole_writer(avatar), sole_writer(capture_folder):
        if overwrite or not is_capture(capture_folder):
            check_output(avatar, overwrite or is_avatar(avatar), marker=AVATAR_FILE)
            _check_length(video, options)
            template = load_template(options.template, smplx_model=options.smplx_model, progress=progress)
            if not avatar.exists():
                save_draft(avatar, video, template, options, progress)
            track(video, capture_folder, options, template=template, overwrite=overwrite, progress=progress)
        capture = Capture.load(capture_folder)
        _check_origin(capture, video, options)
        if finished_is_fine and not overwrite and is_avatar(avatar):
            finished = Avatar.load(avatar, smplx_model=options.smplx_model, progress=progress)
            if is_finished(finished, avatar):
                return finished
        return train(capture, avatar, options, overwrite=overwrite, progress=progress)


def _check_length(video: Path, options: CreateOptions) -> None:
    if (frames := probe(video, options.rotate).frames) < MIN_FRAMES:
        raise UserError(f"{video}: only {count_frames(frames)}; an avatar takes at least {MIN_FRAMES}")


def _check_origin(capture: Capture, video: Path, options: CreateOptions) -> None:
    """Raise a UserError unless the capture was made from this video, with these options."""
    folder, mended = capture.folder, "remove it or pass --overwrite"
    if capture.source != printable(video.name):
        raise UserError(f"{folder}: made from '{capture.source}', not from {video}; {mended}")
    if (rotated := capture.report.get("rotated", 0)) != options.rotate:
        raise UserError(f"{folder}: made with --rotate {rotated}, not {options.rotate}; {mended}")
    if options.template != "anny":  # the default: accept whichever template the capture has
        wanted = load_template(options.template, smplx_model=options.smplx_model)
        if capture.motion.template != wanted.name:
            raise UserError(f"{folder}: of body template '{capture.motion.template}'; {mended}")
