"""Motion files of other programs, by their suffix, as motions of the template."""

import zipfile
from dataclasses import replace
from pathlib import Path

import roma
import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..errors import UserError
from ..progress import Progress
from .amass import read_amass
from .amc import read_amc
from .arkit import read_live_link
from .bvh import read_bvh
from .joint_map import JointMap
from .motion import Motion
from .skeleton import SkeletalClip
from .transfer import to_template

SUFFIXES = (".npz", ".bvh", ".amc", ".csv")
MAX_FPS = 60.0  # faster clips are resampled to 30 frames a second: cameras of motion capture run at 120
_FPS = 30.0
_SKELETONS = {".bvh": read_bvh, ".amc": read_amc, ".npz": read_amass}


def read_motion(
    path: str | Path,
    template: BodyTemplate,
    identity: Tensor | None = None,
    *,
    joint_names: str | Path | None = None,
    progress: Progress | None = None,
) -> Motion:
    """A motion from a file: our own `.npz`, AMASS and SMPL-X `.npz`, `.bvh`, `.amc` (with its `.asf` beside it), and
    `.csv` of Live Link Face, which moves the face alone.

    Motions of other programs are turned so that the person faces the camera in the middle of the clip.

    Args:
        identity: [I] whose body the motion is put on; `template.default_identity()` without.
        joint_names: a YAML file that says which joint is which, where the shipped tables do not know them.

    Raises:
        UserError: no such file, an unknown suffix, damaged, or of another template.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: no motion file that is known; there are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if suffix == ".csv":
        return _face_alone(*read_live_link(path, template.action_names, progress), template)
    if suffix == ".npz" and _is_own(path):
        motion = Motion.load(path)
        if motion.template != template.name:
            raise UserError(f"{path}: a motion of template '{motion.template}', not '{template.name}'")
        return motion
    clip: SkeletalClip = _SKELETONS[suffix](path)
    if clip.fps > MAX_FPS:
        clip = clip.resampled(_FPS)
    return facing_camera(to_template(clip, JointMap.find(clip.names, joint_names), template, identity))


def facing_camera(motion: Motion) -> Motion:
    """The motion, turned about the vertical so that its middle frame faces the camera (-y)."""
    forward = roma.rotvec_to_rotmat(motion.root_rotation[len(motion) // 2]) @ torch.tensor([0.0, -1.0, 0.0])
    yaw = torch.atan2(forward[0], -forward[1])  # 0 where it faces -y already
    turn = roma.rotvec_to_rotmat(torch.stack([torch.zeros(()), torch.zeros(()), -yaw]))
    turned = turn @ roma.rotvec_to_rotmat(motion.root_rotation)
    return replace(
        motion,
        root_rotation=roma.rotmat_to_rotvec(turned),
        root_translation=motion.root_translation @ turn.T,
    )


def _is_own(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "facial_actions.npy" in archive.namelist()
    except zipfile.BadZipFile:
        raise UserError(f"{path}: not a motion file, or damaged") from None


def _face_alone(actions: Tensor, fps: float, template: BodyTemplate) -> Motion:
    """Facial actions [N, A] on a body at rest; the body and the hands have no confidence."""
    frames = len(actions)
    return Motion(
        template=template.name,
        fps=fps,
        root_rotation=torch.zeros(frames, 3),
        root_translation=torch.zeros(frames, 3),
        pose=torch.zeros(frames, len(template.pose_joints), 3),
        facial_actions=actions,
        confidence=torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(frames, 1),
    )
