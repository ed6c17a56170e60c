"""The body template: what turns identity, pose and facial actions into a posed mesh.

World axes, everywhere in this package: x to the template's left, y to its back, z up, in metres; an
upright template faces -y. `rendering.camera` looks along +y from the origin.

Templates name their joints as their makers did. What a joint is to the body is its role, and the rest of the package
asks for roles: `hips` (the root), `spine1` .. `spine3` (upward, the last one carries the chest), `neck1`, `neck2`,
`head`, and with `.L` and `.R` `clavicle`, `upper_arm`, `upper_arm_twist`, `forearm`, `forearm_twist`, `hand`,
`thigh`, `thigh_twist`, `shin`, `foot`, `toes`, `eye`, and three joints of each finger, `index1` .. `index3`. As in
`motion.joint_map`, a bone's role is that of the joint it begins at: the `forearm` turns about the elbow; a twist joint
lies within the bone. A template may lack the roles in `OPTIONAL_ROLES`.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

SIDES = ("L", "R")
FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND_ROLES = ("hand", *(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3)))  # from the wrist outward
ROLES = (
    "hips", "spine1", "spine2", "spine3", "neck1", "neck2", "head",
    *(
        f"{role}.{side}"
        for side in SIDES
        for role in (
            "clavicle", "upper_arm", "upper_arm_twist", "forearm", "forearm_twist", *HAND_ROLES,
            "thigh", "thigh_twist", "shin", "foot", "toes", "eye",
        )
    ),
)  # fmt: skip
KEYPOINTS = ("nose", *(f"{side}_{place}" for place in ("ear", "heel", "big_toe") for side in ("left", "right")))
OPTIONAL_ROLES = (
    "neck2",
    *(f"{role}.{side}" for side in SIDES for role in ("upper_arm_twist", "forearm_twist", "thigh_twist")),
)


@dataclass
class Posed:
    """A body in B poses, in world axes (metres)."""

    vertices: Tensor  # [B, V, 3]
    joints: Tensor  # [B, J, 4, 4] pose of every joint of the skeleton
    turns: Tensor  # [B, J, 3, 3] rotation of every joint from the reference pose

    def joint_positions(self, indices: Tensor | list[int]) -> Tensor:
        return self.joints[:, indices, :3, 3]


@dataclass(frozen=True)
class IdentityRange:
    """The limits between which identities lie, and free numbers in their place for whoever seeks one by descent."""

    low: Tensor  # [I]
    high: Tensor  # [I]
    pace: Tensor  # [I] how far a step of one moves the identity, halfway between the limits

    def to_identity(self, free: Tensor) -> Tensor:
        """Any numbers [I] to an identity within the limits; 0 is halfway between them."""
        half = (self.high - self.low) / 2
        return (self.low + self.high) / 2 + half * (free * self.pace / half).tanh()

    def to_free(self, identity: Tensor, edge: float = 0.0) -> Tensor:
        """The inverse; what is nearer to a limit than a share `edge` of the way from the middle is taken back."""
        half = (self.high - self.low) / 2
        share = (identity - (self.low + self.high) / 2) / half
        return share.clamp(edge - 1, 1 - edge).atanh() * half / self.pace


class Body(Protocol):
    """A template with a fixed identity."""

    rest_vertices: Tensor  # [V, 3] as they are skinned
    rest_joints: Tensor  # [J, 4, 4] poses of the joints that belong to them: skinning moves from there

    def pose(self, root_rotation: Tensor, root_translation: Tensor, pose: Tensor, actions: Tensor) -> Posed:
        """Pose the mesh.

        Args:
            root_rotation: [B, 3] rotation vector (radians) of the root joint in the world.
            root_translation: [B, 3] world position of the root joint, metres.
            pose: [B, P, 3] rotation vectors (radians) of the template's `pose_joints` relative to their
                parents, about world-aligned axes of the reference pose.
            actions: [B, A] weights of the facial actions in [0, 1].
        """
        ...

    def at_reference(self) -> Posed:
        """In the reference pose, the root at the origin, the face at rest."""
        ...

    def reference_vertices(self) -> Tensor:
        """[V, 3]: the mesh in the reference pose, root at the origin: the canonical surface."""
        return self.at_reference().vertices[0]


class BodyTemplate(Protocol):
    """A rigged, UV-mapped mesh with identity parameters and facial actions."""

    name: str  # with the version that its parameters belong to
    joint_names: list[str]  # J, the whole skeleton, parents before children
    joint_parents: list[int]  # J, -1 for the root
    roles: dict[str, str]  # of `ROLES` to the names of the joints that have them
    pose_joints: list[str]  # P, those that a motion turns, each with a role; the rest stay at their reference
    action_names: list[str]  # A; what is called as in ARKit does what it does there
    identity_names: list[str]  # I
    faces: Tensor  # [F, 3] int64 into the vertices
    uv: Tensor  # [U, 2] texture coordinates in [0, 1], v up
    uv_faces: Tensor  # [F, 3] int64 into `uv`
    skin_weights: Tensor  # [V, J], rows sum to 1
    identity_range: IdentityRange

    def default_identity(self) -> Tensor:
        """[I]: an average adult."""
        ...

    def identity_cost(self, identity: Tensor) -> Tensor:
        """A scalar: how unusual an identity [I] is, 0 for the default one; differentiable."""
        ...

    def various_identities(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, I]: adults of many kinds, drawn at random."""
        ...

    def keypoints(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Places of the surface: indices of vertices [K] and their weights [K], of each of `KEYPOINTS`."""
        ...

    def body(self, identity: Tensor) -> Body:
        """The template with the identity [I]; differentiable in it."""
        ...

    def points(self, regressor: Tensor) -> "BodyTemplate":
        """The template with K points in the place of its vertices: weighted sums of them, regressor [K, V].

        Points are skinned by the mixed weights of their vertices: exact where those move rigidly together.
        """
        ...

    def to(self, device: torch.device | str) -> "BodyTemplate":
        """The template with its tensors on a device."""
        ...

    # What follows from the above --------------------------------------------------------------------------------

    @property
    def pose_roles(self) -> list[str]:
        """P: the roles of the pose joints."""
        role_of = {joint: role for role, joint in self.roles.items()}
        return [role_of[joint] for joint in self.pose_joints]

    @cached_property
    def fingertips(self) -> Tensor:
        """[10, 6] vertices about each fingertip, left thumb to little finger, then right."""
        posed = self.body(self.default_identity().to(self.skin_weights.device)).at_reference()
        tips = []
        for side, finger in product(SIDES, FINGERS):
            before, last = (self.joint_of(f"{finger}{k}.{side}") for k in (2, 3))
            along = posed.joints[0, last, :3, 3] - posed.joints[0, before, :3, 3]
            reach = posed.vertices[0] @ along
            reach[self.skin_weights[:, last] < 0.6] = -torch.inf
            tips.append(reach.topk(6).indices)
        return torch.stack(tips)

    def joint(self, name: str) -> int:
        """The index of a joint by its name."""
        return self.joint_names.index(name)

    def joint_of(self, role: str) -> int:
        """The index of the joint that has a role; KeyError where the template lacks it."""
        return self.joint(self.roles[role])

    def joints_of(self, *prefixes: str, side: str = "") -> list[int]:
        """The indices of all joints whose roles start with one of the prefixes, of one side ("L" or "R") or both."""
        return [
            self.joint(name) for role, name in self.roles.items() if role.startswith(prefixes) and role.endswith(side)
        ]

    def role_weight(self, *prefixes: str) -> Tensor:
        """[V]: how much of each vertex belongs to roles that start with one of the prefixes.

        A joint without a role belongs to the nearest one above that has one: toes to the foot, a jaw to the head.
        """
        role_of = {joint: role for role, joint in self.roles.items()}
        owners: list[str] = []
        for name, parent in zip(self.joint_names, self.joint_parents, strict=True):
            owners.append(role_of[name] if name in role_of else owners[parent])
        return self.skin_weights[:, [i for i, role in enumerate(owners) if role.startswith(prefixes)]].sum(1)
