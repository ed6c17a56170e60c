"""What readers of skeletal formats share: from a clip in a file's own joints and axes to a motion of the template."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import roma
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.progress import Progress
from ..conversion.calibration import Reference
from ..conversion.transfer import to_template
from ..conversion.upright import find_up, note_up, stand_up
from ..joint_map import JointMap
from ..motion import Motion
from ..skeleton import SkeletalClip
from .options import ReadOptions
from .rates import at_usual_rate, resampled

USUAL_UP = "y"
"""The up axis of BVH and Acclaim files."""


class SkeletonReader:
    """Converts the clip of one file to the template.

    Args:
        path: named in messages.
        identity: [I] of the body that is moved; None for the template's default.
    """

    def __init__(
        self, path: Path, template: BodyTemplate, identity: Tensor | None, options: ReadOptions, progress: Progress
    ):
        self.reference = Reference(template, identity)
        self._path, self._options, self._progress = path, options, progress

    def joint_map(self, clip: SkeletalClip) -> JointMap:
        """Find out which joint is which.

        Raises:
            UserError: a required joint is missing or has an unknown name.
        """
        with self._naming_file():
            return JointMap.find(clip.names, self._options.joint_names)

    def upright(self, clip: SkeletalClip, mapping: JointMap) -> tuple[SkeletalClip, str]:
        """Turn a clip that was read as if y were up so that its true up axis is up; return it and that axis."""
        axis: str | None = self._options.up
        if axis is None:
            up = find_up(clip, mapping, USUAL_UP)
            note_up(self._path, up, USUAL_UP, self._progress)
            axis = up.axis
        return stand_up(clip, mapping, axis), axis

    def motion(self, clip: SkeletalClip, mapping: JointMap) -> Motion:
        """Transfer an upright clip to the template, facing the camera in the middle of the clip.

        Raises:
            UserError: a required bone has no length, or resampling would give too many frames.
        """
        fps = self._options.fps
        clip = at_usual_rate(clip) if fps is None else resampled(self._path, clip, fps)
        with self._naming_file():
            return facing_camera(to_template(clip, mapping, self.reference))

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            raise UserError(f"{self._path}: {error}") from None


def facing_camera(motion: Motion) -> Motion:
    """Turn a motion about the vertical so that its middle frame faces the camera (-y)."""
    forward = roma.rotvec_to_rotmat(motion.root_rotation[len(motion) // 2]) @ torch.tensor([0.0, -1.0, 0.0])
    yaw = torch.atan2(forward[0], -forward[1])  # 0 where it already faces -y
    turn = roma.rotvec_to_rotmat(torch.stack([torch.zeros(()), torch.zeros(()), -yaw]))
    turned = turn @ roma.rotvec_to_rotmat(motion.root_rotation)
    return replace(
        motion,
        root_rotation=roma.rotmat_to_rotvec(turned),
        root_translation=motion.root_translation @ turn.T,
    )
