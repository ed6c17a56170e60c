"""Joint anatomy of a template: axes of flexion, abduction and twist, and the stiffness about each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .template import FINGERS, BodyTemplate

# Stiffness about (flexion, abduction, twist), per squared radian, by role; tuned against the residuals of
# real clips. High values mark axes that a joint lacks, or whose rotation a neighbouring joint takes.
STIFFNESS = {
    "spine": (2.5, 2.5, 2.5),
    "neck": (1.0, 1.0, 1.0),
    "head": (1.0, 1.0, 1.0),
    "clavicle": (6.0, 6.0, 6.0),
    "upper_arm": (0.15, 0.15, 0.3),
    "upper_arm_twist": (60.0, 60.0, 1.0),
    "forearm": (0.08, 20.0, 20.0),
    "forearm_twist": (60.0, 60.0, 0.3),
    "hand": (0.5, 0.5, 3.0),
    "thigh": (0.3, 0.5, 1.0),
    "thigh_twist": (60.0, 60.0, 2.0),
    "shin": (0.2, 20.0, 20.0),
    "foot": (1.0, 1.0, 1.0),
    "toes": (4.0, 20.0, 20.0),
    "eye": (1.0, 60.0, 1.0),
    "thumb1": (0.3, 0.5, 1.5),
    "thumb": (0.2, 6.0, 6.0),
    "finger1": (0.15, 1.0, 6.0),
    "finger": (0.15, 12.0, 12.0),
}
RELAXED_FINGER = 0.3  # radians of flexion in each finger joint of a relaxed hand
MAX_FINGER_FLEXION = 1.9
# The joint that a limb joint points to.
_NEXT = {
    "upper_arm": "forearm",
    "upper_arm_twist": "forearm",
    "forearm": "hand",
    "forearm_twist": "hand",
    "hand": "middle1",
    "thigh": "shin",
    "thigh_twist": "shin",
    "shin": "foot",
}


@dataclass(frozen=True)
class Anatomy:
    """Anatomy of a template's pose joints, in the order of `pose_joints` (P)."""

    axes: Tensor  # [P, 3, 3] columns: axes of flexion, abduction and twist, in world axes of the reference pose
    stiffness: Tensor  # [P, 3] about these axes
    relaxed: Tensor  # [P, 3] angles about these axes of a relaxed person, radians
    hinges: Tensor  # [P] bool: elbows, knees and finger joints, which do not bend backwards
    fingers: Tensor  # [P] bool

    def to_pose(self, angles: Tensor) -> Tensor:
        """Convert angles [..., P, 3] about the anatomical axes to rotation vectors about world axes."""
        return torch.einsum("pij,...pj->...pi", self.axes, angles)

    def to_angles(self, pose: Tensor) -> Tensor:
        """Convert rotation vectors [..., P, 3] about world axes to angles about the anatomical axes."""
        return torch.einsum("pij,...pi->...pj", self.axes, pose)


def anatomy_of(template: BodyTemplate) -> Anatomy:
    """Derive the anatomy from the template's reference skeleton."""
    joints = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]
    position = {role: joints[template.joint_of(role)] for role in template.roles}
    roles = template.pose_roles
    fingers = torch.tensor([role.startswith(FINGERS) for role in roles])
    hinges = torch.tensor([role.startswith(("forearm.", "shin.")) or _bends_only(role) for role in roles])
    relaxed = torch.zeros(len(roles), 3)
    relaxed[fingers, 0] = RELAXED_FINGER
    return Anatomy(
        axes=torch.stack([_axes(role, position) for role in roles]),
        stiffness=torch.tensor([_stiffness(role, template) for role in roles]),
        relaxed=relaxed,
        hinges=hinges,
        fingers=fingers,
    )


def _bends_only(role: str) -> bool:
    return role.startswith(FINGERS) and role[-3] != "1"


def _stiffness(role: str, template: BodyTemplate) -> tuple[float, float, float]:
    joint, _, side = role.partition(".")
    if joint.startswith(FINGERS):
        kind = "thumb" if joint.startswith("thumb") else "finger"
        return STIFFNESS[kind + ("1" if joint.endswith("1") else "")]
    flexion, abduction, twist = STIFFNESS[joint.rstrip("0123456789")]
    taken = f"{joint}_twist"
    if taken in STIFFNESS and f"{taken}.{side}" not in template.roles:  # one joint for both: springs in series
        twist = 1 / (1 / twist + 1 / STIFFNESS[taken][2])
    return flexion, abduction, twist


def _axes(role: str, position: dict[str, Tensor]) -> Tensor:
    joint, _, side = role.partition(".")
    at = lambda other: position[f"{other}.{side}"]
    if joint.startswith(FINGERS):
        return _finger_axes(joint[:-1], int(joint[-1]), side, at)
    if joint not in _NEXT:
        return torch.eye(3)
    along = at(_NEXT[joint]) - position[role]
    if joint.startswith("forearm"):  # the elbow's axis is the normal of the slightly bent arm
        flexion = torch.linalg.cross(at("forearm") - at("upper_arm"), at("hand") - at("forearm"))
    else:
        flexion = torch.tensor([1.0, 0.0, 0.0])
    along = along / along.norm()
    flexion = flexion - (flexion @ along) * along
    return _columns([flexion, torch.linalg.cross(along, flexion), along])


def _finger_axes(finger: str, k: int, side: str, at: Callable[[str], Tensor]) -> Tensor:
    here = at(f"{finger}{k}")
    along = at(f"{finger}{k + 1}") - here if k < 3 else here - at(f"{finger}2")
    if finger == "thumb":  # bends across the palm
        normal = torch.linalg.cross(along, at("middle1") - here)
    else:
        normal = torch.linalg.cross(at("index1") - at("hand"), at("little1") - at("hand"))
    normal = normal * (1.0 if side == "L" else -1.0)
    flexion = torch.linalg.cross(normal, along)
    return _columns([flexion, torch.linalg.cross(along, flexion), along])


def _columns(vectors: list[Tensor]) -> Tensor:
    """Normalize vectors [3] and stack them as the columns of a matrix [3, 3]."""
    return torch.stack([vector / vector.norm() for vector in vectors], dim=1)
