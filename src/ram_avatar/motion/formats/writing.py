"""Writing motions in any registered format."""

from pathlib import Path

from torch import Tensor

from ...body.template import BodyTemplate
from ...core.progress import SILENT, Progress
from ..motion import Motion
from .registry import find_written_format


def check_suffix(path: str | Path) -> None:
    """Check that a motion can be written to a path.

    Raises:
        UserError: no format that is written has its suffix.
    """
    find_written_format(Path(path))


def write_motion(
    path: str | Path,
    motion: Motion,
    template: BodyTemplate,
    identity: Tensor | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write a motion in the format of the path's suffix (`registry.FORMATS`), replacing a file that exists.

    Args:
        identity: [I] whose proportions a skeleton gets; None for `template.default_identity()`.
        progress: receives notes on what the format cannot hold.

    Raises:
        UserError: unknown suffix, nothing to write in this format, or a disk error.
    """
    path = Path(path)
    find_written_format(path).load().write(path, motion, template, identity, progress)
