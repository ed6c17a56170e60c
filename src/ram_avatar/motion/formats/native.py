"""The package's own motion files (`Motion.save`), which hold everything and come back exactly."""

from pathlib import Path

from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.progress import Progress
from ...core.untrusted.arrays import open_arrays
from ..motion import MAX_BYTES, Motion
from .options import ReadOptions
from .rates import resampled


def sniff(path: Path) -> bool:
    """Return whether an .npz file is one of ours.

    Raises:
        UserError: it is not an archive, or is damaged.
    """
    with open_arrays(path, MAX_BYTES, "a motion") as arrays:
        return "facial_actions" in arrays


def read(
    path: Path, template: BodyTemplate, identity: Tensor | None, options: ReadOptions, progress: Progress
) -> Motion:
    """Read a motion of the template.

    Raises:
        UserError: see `Motion.load`; the motion is another template's, or has no frames.
    """
    motion = Motion.load(path)
    if motion.template != template.name:
        raise UserError(f"{path}: a motion of template '{motion.template}', not '{template.name}'")
    shapes = (len(template.pose_joints), len(template.action_names))
    if motion.pose.shape[1:] != (shapes[0], 3) or motion.facial_actions.shape[1] != shapes[1]:
        raise UserError(f"{path}: not {shapes[0]} joints and {shapes[1]} facial actions, as '{template.name}' has")
    if not len(motion):
        raise UserError(f"{path}: holds no frames")
    return resampled(path, motion, options.fps)


def write(path: Path, motion: Motion, template: BodyTemplate, identity: Tensor | None, progress: Progress) -> None:
    """Write all of a motion."""
    motion.save(path)
