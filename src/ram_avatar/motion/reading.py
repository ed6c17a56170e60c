"""Motion files of other programs, by their suffix, as motions of the template."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

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
from .calibration import Reference
from .joint_map import JointMap
from .motion import Motion, confidence_of
from .skeleton import SkeletalClip
from .template_skeleton import TemplateSkeleton
from .transfer import to_template

SUFFIXES = (".npz", ".bvh", ".amc", ".csv")
MAX_FPS = 60.0  # faster clips are resampled to 30 frames a second: cameras of motion capture run at 120
_FPS = 30.0
_MAX_FRAMES = 1_000_000  # that resampling makes
_SKELETONS = {".bvh": read_bvh, ".amc": read_amc, ".npz": read_amass}


def read_motion(
    path: str | Path,
    template: BodyTemplate,
    identity: Tensor | None = None,
    *,
    joint_names: str | Path | None = None,
    fps: float | None = None,
    progress: Progress | None = None,
) -> Motion:
    """A motion from a file: our own `.npz`, AMASS and SMPL-X `.npz`, `.bvh`, `.amc` (with its `.asf` beside it), and
    `.csv` of Live Link Face, which moves the face alone.

    Motions of other programs are turned so that the person faces the camera in the middle of the clip; the template's
    own skeleton (`template_skeleton`) comes back as it was written.

    Args:
        identity: [I] whose body the motion is put on; `template.default_identity()` without.
        joint_names: a YAML file that says which joint is which, where the shipped tables do not know them.
        fps: the rate to bring it to; without, a file's own, but 30 for skeletons of other programs faster than
            `MAX_FPS`.

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
        motion = _face_alone(*read_live_link(path, template.action_names, progress), template)
    elif suffix == ".npz" and _is_own(path):
        motion = _own(path, template)
    else:
        clip: SkeletalClip = _SKELETONS[suffix](path)
        reference = Reference(template, identity)
        motion = TemplateSkeleton(reference).motion(clip) if suffix == ".bvh" else None
        if motion is None:
            clip = at_usual_rate(clip) if fps is None else _resampled(path, clip, fps)
            with _naming(path):
                return facing_camera(to_template(clip, JointMap.find(clip.names, joint_names), reference))
    return motion if fps is None else _resampled(path, motion, fps)


def at_usual_rate(clip: SkeletalClip) -> SkeletalClip:
    """The clip, at 30 frames a second if it has more than `MAX_FPS`."""
    return clip.resampled(_FPS) if clip.fps > MAX_FPS else clip


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


Sampled = TypeVar("Sampled", Motion, SkeletalClip)


def _resampled(path: Path, clip: Sampled, fps: float) -> Sampled:
    if len(clip) / clip.fps * fps > _MAX_FRAMES:
        raise UserError(f"{path}: {len(clip) / clip.fps:.0f} seconds at {fps:g} frames a second are too many frames")
    return clip.resampled(fps)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What is wrong with a skeleton, told with its file's name."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _own(path: Path, template: BodyTemplate) -> Motion:
    motion = Motion.load(path)
    if motion.template != template.name:
        raise UserError(f"{path}: a motion of template '{motion.template}', not '{template.name}'")
    shapes = (len(template.pose_joints), len(template.action_names))
    if motion.pose.shape[1:] != (shapes[0], 3) or motion.facial_actions.shape[1] != shapes[1]:
        raise UserError(f"{path}: not {shapes[0]} joints and {shapes[1]} facial actions, as '{template.name}' has")
    if not len(motion):
        raise UserError(f"{path}: holds no frames")
    return motion


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
        confidence=torch.from_numpy(confidence_of(0.0, face=1.0)).float().repeat(frames, 1),
    )
