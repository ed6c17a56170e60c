"""Motion files of other programs, by their suffix, as motions of the template."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import roma
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.archives import open_archive
from ...core.errors import UserError
from ...core.progress import SILENT, Progress
from ..conversion.calibration import Reference
from ..conversion.template_skeleton import TemplateSkeleton
from ..conversion.transfer import to_template
from ..conversion.upright import (
    AXES,
    find_up,
    stand_up,
    tell_up,
)
from ..joint_map import JointMap
from ..motion import Motion, confidence_of
from ..skeleton import SkeletalClip
from .amass import read_amass
from .amc import read_amc
from .arkit import read_live_link
from .bvh import read_bvh

SUFFIXES = (".npz", ".bvh", ".amc", ".csv")
MAX_FPS = 60.0  # faster clips are resampled to 30 frames a second: cameras of motion capture run at 120
_FPS = 30.0
_HIGHEST_FPS = 1000.0  # that may be asked for
_MAX_FRAMES = 1_000_000  # that resampling makes
_USUAL_UP = "y"  # of BVH and Acclaim


@dataclass(frozen=True)
class ReadOptions:
    """What a user may say about a motion file that the file does not say.

    Raises:
        UserError: a rate or an axis that cannot be.
    """

    joint_names: str | Path | None = None  # a YAML file, see `joint_map`, where the shipped tables do not know them
    up: str | None = None  # the axis of the file that points up, a key of `upright.AXES`; found where it is None
    # The rate of a file that has none, and the one that others are resampled to; None keeps a file's own, but makes it
    # 30 for skeletons of other programs faster than `MAX_FPS`.
    fps: float | None = None

    def __post_init__(self):
        if self.fps is not None and not 0 < self.fps <= _HIGHEST_FPS:
            raise UserError(
                f"{self.fps:g} frames a second are not possible; more than 0, and at most {_HIGHEST_FPS:g} are"
            )
        if self.up is not None and self.up not in AXES:
            raise UserError(f"up is one of {', '.join(AXES)}, not '{self.up}'")

    def check_unused(self, source: object, *, rate: bool = False) -> None:
        """Check that nothing was said about a capture or a video, which tell all of it themselves.

        Args:
            source: what it is, for the message.
            rate: whether `fps` is used for it.

        Raises:
            UserError: an option that has no use.
        """
        unused = {"--joint-names": self.joint_names, "--up": self.up, "--fps": None if rate else self.fps}
        for option, value in unused.items():
            if value is not None:
                raise UserError(f"{source}: {option} is for motion files of other programs; leave it out")


def read_motion(
    path: str | Path,
    template: BodyTemplate,
    identity: Tensor | None = None,
    options: ReadOptions | None = None,
    progress: Progress = SILENT,
) -> Motion:
    """Read a motion file: our own `.npz`, `.npz` of AMASS and of SMPL or SMPL-X parameters, `.bvh`, `.amc` (with its
    `.asf` beside it), and `.csv` of Live Link Face or Audio2Face, which moves the face alone.

    Motions of other programs are turned so that the person faces the camera in the middle of the clip; the template's
    own skeleton (`template_skeleton`) comes back as it was written.

    Args:
        identity: [I] whose body the motion is put on; `template.default_identity()` without.
        options: what the file does not say; the defaults without.
        progress: told what was inferred: the axis that is up, the rate of timecodes.

    Raises:
        UserError: no such file, an unknown suffix, damaged, of another template, or without a rate; `options.up`
            for a file that has its own axes.
    """
    path, options = Path(path), options or ReadOptions()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: no motion file that is known; there are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    own = suffix == ".npz" and _is_own(path)
    if options.up and (own or suffix == ".csv"):
        raise UserError(f"{path}: --up is for skeletons of other programs; leave it out")
    if own:
        motion = _own(path, template)
    elif suffix == ".csv":
        motion = _face_alone(*read_live_link(path, template.action_names, progress, options.fps), template)
    else:
        return _from_skeleton(path, suffix, Reference(template, identity), options, progress)
    return motion if options.fps is None else _resampled(path, motion, options.fps)


def _from_skeleton(path: Path, suffix: str, reference: Reference, options: ReadOptions, progress: Progress) -> Motion:
    own = TemplateSkeleton(reference)
    read = {".bvh": read_bvh, ".amc": read_amc}.get(suffix)
    clip = read(path) if read else read_amass(path, options.fps, options.up, progress)
    motion = own.motion(clip) if suffix == ".bvh" and options.up in (None, _USUAL_UP) else None
    if motion is None:
        with _naming(path):
            mapping = JointMap.find(clip.names, options.joint_names)
        up = _USUAL_UP
        if read:
            up = options.up or _find_up(path, clip, mapping, progress)
            clip = stand_up(clip, mapping, up)
        motion = own.motion(clip) if suffix == ".bvh" and up != _USUAL_UP else None
    if motion is not None:  # the template's own, as we wrote it or as another program saved it again
        return motion if options.fps is None else _resampled(path, motion, options.fps)
    clip = at_usual_rate(clip) if options.fps is None else _resampled(path, clip, options.fps)
    with _naming(path):
        return facing_camera(to_template(clip, mapping, reference))


def _find_up(path: Path, clip: SkeletalClip, mapping: JointMap, progress: Progress) -> str:
    up = find_up(clip, mapping, _USUAL_UP)
    tell_up(path, up, _USUAL_UP, progress)
    return up.axis


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
    """Tell what is wrong with a skeleton with its file's name."""
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
        with open_archive(path) as archive:
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
