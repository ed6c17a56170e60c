"""Motions as files, by their suffix."""

from pathlib import Path

from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.progress import SILENT, Progress
from ..conversion.calibration import Reference
from ..conversion.template_skeleton import TemplateSkeleton
from ..motion import Motion
from .arkit import write_live_link
from .bvh import write_bvh

SUFFIXES = (".npz", ".bvh", ".csv")
_SHORTEST = 1.0  # seconds: the clock of a face's recording has to turn, or nobody can tell its rate


def check_suffix(path: str | Path) -> None:
    """Raises UserError where no motion can be written under this name."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a motion is written as one of {', '.join(SUFFIXES)}")


def write_motion(
    path: str | Path,
    motion: Motion,
    template: BodyTemplate,
    identity: Tensor | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write a motion: all of it as our own `.npz`; the template's skeleton as `.bvh`; the face as `.csv` of Live Link
    Face. `progress` is told what stays behind. A file that exists is replaced: see `files.check_output`.

    Args:
        identity: [I] whose proportions the skeleton of a `.bvh` has; `template.default_identity()` without.

    Raises:
        UserError: an unknown suffix, a face that is too short, or a disk that refuses.
    """
    check_suffix(path)
    suffix = Path(path).suffix.lower()
    moves = {"face": bool((motion.facial_actions > 0).any()), "body": bool((motion.confidence[:, :3] > 0).any())}
    if suffix == ".npz":
        motion.save(path)
    elif suffix == ".bvh":
        if not moves["body"]:
            raise UserError(f"{path}: only the face moves here, and a .bvh has none; write a .csv or .npz")
        write_bvh(path, TemplateSkeleton(Reference(template, identity)).clip(motion))
        if moves["face"]:
            progress.note(f"{path}: the face stays behind, a .bvh has none; a .csv takes it")
    else:
        if len(motion) <= _SHORTEST * motion.fps:
            raise UserError(f"{path}: a face's recording must be longer than {_SHORTEST:g} second")
        write_live_link(path, motion.facial_actions, template.action_names, motion.fps)
        if moves["body"]:
            progress.note(f"{path}: the body stays behind, Live Link Face has the face alone")
