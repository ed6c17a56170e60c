"""`ram-avatar evaluate`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..core.errors import UserError
from ..options import AvatarOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress

_SIZES = (64, 2048)


def evaluate(
    avatar: Positional[Path],
    captures: Annotated[
        Positional[tuple[Path, ...]],
        arg(help="a capture, several, or a folder of captures; default: AVATAR-capture, which `create` leaves"),
    ] = (),
    out: Annotated[
        Path | None,
        arg(help="folder to make; default: AVATAR/evaluation, evaluation-CAPTURE or evaluation-FOLDER"),
    ] = None,
    size: Annotated[
        int | None, arg(help="side of the close-ups that are judged, pixels; default: twice what the avatar paints")
    ] = None,
    options: Flat[AvatarOptions] = AvatarOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Measure an avatar's quality: writes metrics (evaluation.json) and a page with images (report.html).

    On the capture it was learned from, its held-out frames are the ground truth. On another person's capture, measures
    how closely the avatar follows the driver, as `animate` draws it by default. On several, or a folder of them, makes
    a table of the drivers, worst first (drivers.json), besides.
    """
    from ..capture.capture import Capture, is_capture
    from ..evaluation.drivers import DriverResult, evaluate_drivers, find_captures, folder_name
    from ..evaluation.evaluate import REPORT_FILE
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.report import summary_text
    from .drivers import note_drivers
    from .loading import load_avatar

    if size is not None and not _SIZES[0] <= size <= _SIZES[1]:
        raise UserError(f"--size: expected {_SIZES[0]} to {_SIZES[1]}, found {size}")
    own = avatar.with_name(f"{avatar.name}-capture")
    if not captures and not own.is_dir():
        raise UserError(f"{own}: no such folder; name the capture to evaluate on")
    chosen = captures or (own,)
    if len(chosen) > 1:
        default = "evaluation-drivers"
    else:
        default = "evaluation" if chosen[0].resolve() == own.resolve() else f"evaluation-{folder_name(chosen[0])}"
    out = out or avatar / default
    several = len(chosen) > 1 or (chosen[0].is_dir() and not is_capture(chosen[0]))
    found = find_captures(chosen) if several else {}
    with TerminalProgress() as progress:
        loaded = load_avatar(avatar, options, progress)
        if found:
            note_drivers(
                evaluate_drivers(loaded, found, out, size=size, overwrite=overwrite, progress=progress), progress
            )
        else:
            evaluation = run(loaded, Capture.load(chosen[0]), out, size=size, overwrite=overwrite, progress=progress)
            if evaluation.figures:
                note_drivers([DriverResult(folder_name(chosen[0]), evaluation)], progress)
            progress.note(summary_text(evaluation))
        progress.note(f"{out / REPORT_FILE}: ready")
