"""How a template's joints turn: axes of flexion, abduction and twist, and how unwilling each is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.template import BodyTemplate

# Stiffness about (flexion, abduction, twist), per squared radian, by joint; measured against residuals of
# real clips. Stiff axes are ones that the joint does not have, or whose turning a neighbour takes.
STIFFNESS = {
    "spine": (2.5, 2.5, 2.5),
    "neck": (1.0, 1.0, 1.0),
    "head": (1.0, 1.0, 1.0),
    "clavicle": (6.0, 6.0, 6.0),
    "upperarm01": (0.15, 0.15, 0.3),
    "upperarm02": (60.0, 60.0, 1.0),
    "lowerarm01": (0.08, 20.0, 20.0),
    "lowerarm02": (60.0, 60.0, 0.3),
    "wrist": (0.5, 0.5, 3.0),
    "upperleg01": (0.3, 0.5, 1.0),
    "upperleg02": (60.0, 60.0, 2.0),
    "lowerleg01": (0.2, 20.0, 20.0),
    "foot": (1.0, 1.0, 1.0),
    "eye": (1.0, 60.0, 1.0),
    "finger1-1": (0.3, 0.5, 1.5),
    "finger1": (0.2, 6.0, 6.0),
    "finger-1": (0.15, 1.0, 6.0),
    "finger": (0.15, 12.0, 12.0),
}
RELAXED_FINGER = 0.3  # radians of flexion in each joint of a hand that hangs at rest
MAX_FINGER_FLEXION = 1.9
# The joint that a limb joint points at.
_NEXT = {
    "upperarm01": "lowerarm01",
    "upperarm02": "lowerarm01",
    "lowerarm01": "wrist",
    "lowerarm02": "wrist",
    "wrist": "finger3-1",
    "upperleg01": "lowerleg01",
    "upperleg02": "lowerleg01",
    "lowerleg01": "foot",
}


@dataclass(frozen=True)
class Anatomy:
    """Per pose joint of a template, in the order of `pose_joints` (P)."""

    axes: Tensor  # [P, 3, 3] columns: axis of flexion, abduction, twist, world axes of the reference pose
    stiffness: Tensor  # [P, 3] about these axes
    relaxed: Tensor  # [P, 3] angles about these axes of a person at rest, radians
    hinges: Tensor  # [P] bool: elbows, knees and finger joints, which do not bend backwards
    fingers: Tensor  # [P] bool

    def to_pose(self, angles: Tensor) -> Tensor:
        """Angles about the anatomical axes [..., P, 3] to rotation vectors about world axes."""
        return torch.einsum("pij,...pj->...pi", self.axes, angles)

    def to_angles(self, pose: Tensor) -> Tensor:
        return torch.einsum("pij,...pi->...pj", self.axes, pose)


def anatomy_of(template: BodyTemplate) -> Anatomy:
    """Read the axes off the template's own reference skeleton."""
    joints = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]
    position = {name: joints[i] for i, name in enumerate(template.joint_names)}
    names = template.pose_joints
    fingers = torch.tensor([name.startswith("finger") for name in names])
    hinges = torch.tensor(
        [name[:10] in ("lowerarm01", "lowerleg01") or (name.startswith("finger") and name[8] != "1") for name in names]
    )
    relaxed = torch.zeros(len(names), 3)
    relaxed[fingers, 0] = RELAXED_FINGER
    return Anatomy(
        axes=torch.stack([_axes(name, position) for name in names]),
        stiffness=torch.tensor([_stiffness(name) for name in names]),
        relaxed=relaxed,
        hinges=hinges,
        fingers=fingers,
    )


def _stiffness(name: str) -> tuple[float, float, float]:
    joint = name.split(".")[0]
    if joint.startswith("finger"):
        thumb, first = joint[6] == "1", joint[8] == "1"
        return STIFFNESS[("finger1" if thumb else "finger") + ("-1" if first else "")]
    return STIFFNESS[joint if joint in STIFFNESS else joint.rstrip("0123456789")]


def _axes(name: str, position: dict[str, Tensor]) -> Tensor:
    joint, _, side = name.partition(".")
    at = lambda other: position[f"{other}.{side}"]  # noqa: E731
    if joint.startswith("finger"):
        return _finger_axes(joint, side, at)
    if joint not in _NEXT:
        return torch.eye(3)
    along = at(_NEXT[joint]) - position[name]
    if joint.startswith("lowerarm"):  # the elbow turns about the normal of the slightly bent arm
        flexion = torch.linalg.cross(at("lowerarm01") - at("upperarm01"), at("wrist") - at("lowerarm01"))
    else:
        flexion = torch.tensor([1.0, 0.0, 0.0])
    along = along / along.norm()
    flexion = flexion - (flexion @ along) * along
    return _columns([flexion, torch.linalg.cross(along, flexion), along])


def _finger_axes(joint: str, side: str, at) -> Tensor:
    finger, k = joint[6], int(joint[8])
    here = at(joint)
    along = at(f"finger{finger}-{k + 1}") - here if k < 3 else here - at(f"finger{finger}-2")
    if finger == "1":  # the thumb bends across the palm
        normal = torch.linalg.cross(along, at("finger3-1") - here)
    else:
        normal = torch.linalg.cross(at("finger2-1") - at("wrist"), at("finger5-1") - at("wrist"))
    normal = normal * (1.0 if side == "L" else -1.0)
    flexion = torch.linalg.cross(normal, along)
    return _columns([flexion, torch.linalg.cross(along, flexion), along])


def _columns(vectors: list[Tensor]) -> Tensor:
    """Vectors [3], made unit vectors, as the columns of a matrix [3, 3]."""
    return torch.stack([vector / vector.norm() for vector in vectors], dim=1)
