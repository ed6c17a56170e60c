"""Reading motion files of any registered format."""

from pathlib import Path

from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.progress import SILENT, Progress
from ..motion import Motion
from .options import ReadOptions
from .registry import find_format


def read_motion(
    path: str | Path,
    template: BodyTemplate,
    identity: Tensor | None = None,
    options: ReadOptions | None = None,
    progress: Progress = SILENT,
) -> Motion:
    """Read a motion file of any format in `registry.FORMATS`.

    Motions of other programs are turned so that the person faces the camera in the middle of the clip; the template's
    own skeleton (`template_skeleton`) comes back as it was written.

    Args:
        identity: [I] of the body that the motion is put on; None for `template.default_identity()`.
        options: what the file does not say.
        progress: receives notes on what was inferred: the up axis, the rate of timecodes.

    Raises:
        UserError: no such file, unknown suffix, damaged file, another template's motion, no frame rate; or
            `options.up` for a format with fixed axes.
    """
    path, options = Path(path), options or ReadOptions()
    found = find_format(path)
    # A table of joint names may be passed for a whole batch of files; the up axis belongs to one of them.
    if options.up and "up" not in found.options:
        raise UserError(f"{path}: --up is for skeletons of other programs; leave it out")
    return found.load().read(path, template, identity, options, progress)
