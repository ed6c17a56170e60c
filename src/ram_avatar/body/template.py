"""The body template: turns identity, pose and facial actions into a posed mesh.

World axes, everywhere in this package: x to the template's left, y to its back, z up, in metres; an upright template
faces -y. The camera stands at the origin and looks along +y.

Templates keep their makers' joint names. The rest of the package addresses joints by role: `hips` (the root),
`spine1` .. `spine3` (upward; the last one carries the chest), `neck1`, `neck2`, `head`, and with `.L` and `.R`
`clavicle`, `upper_arm`, `upper_arm_twist`, `forearm`, `forearm_twist`, `hand`, `thigh`, `thigh_twist`, `shin`, `foot`,
`toes`, `eye`, and three joints of each finger, `index1` .. `index3`. As in `motion.joint_map`, a role names the bone
that begins at the joint: `forearm` is the elbow joint; a twist joint lies within the bone. A template may lack the
roles in `OPTIONAL_ROLES`.
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
MAX_CLOTHING = 0.4  # metres from the body to what is worn, or hair; twice what is ever measured
OPTIONAL_ROLES = (
    "neck2",
    *(f"{role}.{side}" for side in SIDES for role in ("upper_arm_twist", "forearm_twist", "thigh_twist")),
)


@dataclass
class Posed:
    """A body in B poses, in world axes and metres."""

    vertices: Tensor  # [B, V, 3]
    joints: Tensor  # [B, J, 4, 4] pose of every joint of the skeleton
    turns: Tensor  # [B, J, 3, 3] rotation of every joint from the reference pose

    def __getitem__(self, bodies: slice) -> "Posed":
        """Return some of the B poses."""
        return Posed(self.vertices[bodies], self.joints[bodies], self.turns[bodies])

    def joint_positions(self, indices: Tensor | list[int]) -> Tensor:
        """Return the positions [B, n, 3] of some joints."""
        return self.joints[:, indices, :3, 3]


@dataclass(frozen=True)
class IdentityRange:
    """The limits of identities, and an unconstrained parameterization, for optimization."""

    low: Tensor  # [I]
    high: Tensor  # [I]
    pace: Tensor  # [I] change of the identity per unit step, halfway between the limits

    def to_identity(self, free: Tensor) -> Tensor:
        """Map unconstrained numbers [I] to an identity within the limits; 0 maps halfway between them."""
        half = (self.high - self.low) / 2
        return (self.low + self.high) / 2 + half * (free * self.pace / half).tanh()

    def to_free(self, identity: Tensor, edge: float = 0.0) -> Tensor:
        """Invert `to_identity`. Values closer to a limit than a share `edge` of the half range are moved inward."""
        half = (self.high - self.low) / 2
        share = (identity - (self.low + self.high) / 2) / half
        return share.clamp(edge - 1, 1 - edge).atanh() * half / self.pace


class Body(Protocol):
    """A template with a fixed identity."""

    rest_vertices: Tensor  # [V, 3] in the pose that skinning starts from
    rest_joints: Tensor  # [J, 4, 4] joint poses in that pose

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
        """Return the body in the reference pose: root at the origin, neutral face."""
        ...

    def reference_vertices(self) -> Tensor:
        """Return the canonical surface [V, 3]: the mesh in the reference pose, root at the origin."""
        return self.at_reference().vertices[0]


class BodyTemplate(Protocol):
    """A rigged, UV-mapped mesh with identity parameters and facial actions."""

    name: str  # includes the version that its parameters belong to
    joint_names: list[str]  # J, the whole skeleton, parents before children
    joint_parents: list[int]  # J, -1 for the root
    roles: dict[str, str]  # from `ROLES` to the names of the joints that have them
    pose_joints: list[str]  # P, those that a motion rotates, each with a role; the others keep their reference pose
    action_names: list[str]  # A; names that ARKit has mean the same as there
    identity_names: list[str]  # I
    faces: Tensor  # [F, 3] int64 vertex indices
    uv: Tensor  # [U, 2] texture coordinates in [0, 1], v up
    uv_faces: Tensor  # [F, 3] int64 indices into `uv`
    skin_weights: Tensor  # [V, J], rows sum to 1
    identity_range: IdentityRange

    def default_identity(self) -> Tensor:
        """Return the identity [I] of an average adult."""
        ...

    def identity_cost(self, identity: Tensor) -> Tensor:
        """Return how unusual an identity [I] is: a scalar, 0 for the default one; differentiable."""
        ...

    def various_identities(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw identities [count, I] of varied adults at random."""
        ...

    def keypoints(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return each of `KEYPOINTS` as vertex indices [K] and weights [K]."""
        ...

    def body(self, identity: Tensor) -> Body:
        """Return the template with a fixed identity [I]; differentiable in it."""
        ...

    def points(self, regressor: Tensor) -> "BodyTemplate":
        """Return the template with K points instead of its vertices.

        Points are skinned with the mixed weights of their vertices, which is exact where those move rigidly together.

        Args:
            regressor: [K, V]; each point is a weighted sum of vertices.
        """
        ...

    def dressed(self, clothing: Tensor) -> "BodyTemplate":
        """Return the template with its surface moved [V, 3] in the pose that skinning starts from, metres.

        Joints stay where they are, so that a motion moves both alike. For drawing only: trackers and retargeting know
        the person without clothes.
        """
        ...

    def to(self, device: torch.device | str) -> "BodyTemplate":
        """Return the template with its tensors on a device."""
        ...

    # Derived from the above ---------------------------------------------------------------------------------------

    def check_identity(self, identity: Tensor) -> None:
        """Raise a ValueError unless a tensor is an identity [I] of this template."""
        if identity.shape != (len(self.identity_names),):
            raise ValueError(f"identity: expected {len(self.identity_names)} numbers, found {list(identity.shape)}")
        low, high = self.identity_range.low.to(identity), self.identity_range.high.to(identity)
        margin = (high - low) / 2  # earlier versions may have had other limits
        if not ((low - margin <= identity) & (identity <= high + margin)).all():  # NaN fails, too
            raise ValueError(f"identity: holds numbers that no body of template {self.name} has")

    def check_clothing(self, clothing: Tensor | None) -> None:
        """Raise a ValueError unless a tensor [V, 3] moves no vertex by more than `MAX_CLOTHING`; None is fine."""
        if clothing is None:
            return
        if clothing.shape != (len(self.skin_weights), 3):
            raise ValueError(f"clothing: expected [{len(self.skin_weights)}, 3], found {list(clothing.shape)}")
        if not (clothing.norm(dim=1) <= MAX_CLOTHING).all():  # NaN fails, too
            raise ValueError(f"clothing: expected at most {MAX_CLOTHING} m from the body")

    def check_face(self, actions: tuple[float, ...] | None) -> None:
        """Raise a ValueError unless there are as many facial actions as this template has, or None."""
        if actions is not None and len(actions) != len(self.action_names):
            raise ValueError(f"neutral_face: expected {len(self.action_names)} numbers, found {len(actions)}")

    @property
    def pose_roles(self) -> list[str]:
        """The roles of the P pose joints."""
        role_of = {joint: role for role, joint in self.roles.items()}
        return [role_of[joint] for joint in self.pose_joints]

    @cached_property
    def fingertips(self) -> Tensor:
        """Six vertices around each fingertip [10, 6]: left thumb to little finger, then right."""
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
        """Return the index of a joint by its name."""
        return self.joint_names.index(name)

    def joint_of(self, role: str) -> int:
        """Return the index of the joint with a role. Raises KeyError if the template lacks it."""
        return self.joint(self.roles[role])

    def joints_of(self, *prefixes: str, side: str = "") -> list[int]:
        """Return the indices of joints whose roles start with a prefix, of one side ("L" or "R") or both."""
        return [
            self.joint(name) for role, name in self.roles.items() if role.startswith(prefixes) and role.endswith(side)
        ]

    def role_weight(self, *prefixes: str) -> Tensor:
        """Return how much of each vertex [V] belongs to roles that start with one of the prefixes.

        A joint without a role counts for the nearest one above that has one: toes for the foot, a jaw for the head.
        """
        role_of = {joint: role for role, joint in self.roles.items()}
        owners: list[str] = []
        for name, parent in zip(self.joint_names, self.joint_parents, strict=True):
            owners.append(role_of[name] if name in role_of else owners[parent])
        return self.skin_weights[:, [i for i, role in enumerate(owners) if role.startswith(prefixes)]].sum(1)
