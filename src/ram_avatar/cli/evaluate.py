"""`ram-avatar evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..core.errors import UserError
from ..options import AvatarOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


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
    options: Flat[AvatarOptions] = AvatarOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Measure an avatar's quality: writes metrics (evaluation.json) and a page with images (report.html).

    On the capture it was learned from, its held-out frames are the ground truth. On another person's capture, measures
    how closely the avatar follows the driver, as `animate` draws it by default. On several, or a folder of them, makes
    a table of the drivers, worst first (drivers.json), besides.
    """
    from ..capture.capture import Capture, is_capture
    from ..evaluation.drivers import evaluate_drivers, find_captures
    from ..evaluation.evaluate import REPORT_FILE
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.report import summary_text
    from .drivers import note_drivers
    from .loading import load_avatar

    own = avatar.with_name(f"{avatar.name}-capture")
    if not captures and not own.is_dir():
        raise UserError(f"{own}: no such folder; name the capture to evaluate on")
    chosen = captures or (own,)
    out = out or _default_out(avatar, own, chosen)
    several = len(chosen) > 1 or (chosen[0].is_dir() and not is_capture(chosen[0]))
    paths = find_captures(chosen) if several else list(chosen)
    with TerminalProgress() as progress:
        loaded = load_avatar(avatar, options, progress)
        if several:
            note_drivers(evaluate_drivers(loaded, paths, out, overwrite=overwrite, progress=progress), progress)
        else:
            evaluation = run(loaded, Capture.load(paths[0]), out, overwrite=overwrite, progress=progress)
            progress.note(summary_text(evaluation))
        progress.note(f"{out / REPORT_FILE}: ready")


def _default_out(avatar: Path, own: Path, chosen: Sequence[Path]) -> Path:
    """Return where an evaluation is written unless `--out` says otherwise."""
    if len(chosen) > 1:
        return avatar / "evaluation-drivers"
    name = chosen[0].resolve().name
    return avatar / ("evaluation" if chosen[0].resolve() == own.resolve() else f"evaluation-{name}")
