"""`ram-avatar evaluate`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..core.errors import UserError
from ..options import AvatarOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def evaluate(
    avatar: Positional[Path],
    capture: Annotated[Positional[Path | None], arg(help="default: AVATAR-capture, which `create` leaves")] = None,
    out: Annotated[
        Path | None, arg(help="folder to make; default: AVATAR/evaluation or AVATAR/evaluation-CAPTURE")
    ] = None,
    options: Flat[AvatarOptions] = AvatarOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Measure an avatar's quality: writes metrics (evaluation.json) and a page with images (report.html).

    On the capture it was learned from, its held-out frames are the ground truth. On another person's capture, measures
    how closely the avatar follows the driver.
    """
    from ..capture.capture import Capture
    from ..evaluation.evaluate import REPORT_FILE
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.report import summary_text
    from .loading import load_avatar

    own = avatar.with_name(f"{avatar.name}-capture")
    if capture is None and not own.is_dir():
        raise UserError(f"{own}: no such folder; name the capture to evaluate on")
    out = out or avatar / (f"evaluation-{capture.name}" if capture and capture != own else "evaluation")
    with TerminalProgress() as progress:
        loaded = load_avatar(avatar, options, progress)
        evaluation = run(loaded, Capture.load(capture or own), out, overwrite=overwrite, progress=progress)
        progress.note(summary_text(evaluation))
        progress.note(f"{out / REPORT_FILE}: ready")
