"""The body template: what turns identity, pose and facial actions into a posed mesh.

World axes, everywhere in this package: x to the template's left, y to its back, z up, in metres; an
upright template faces -y. `rendering.camera` looks along +y from the origin.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass
class Posed:
    """A body in B poses, in world axes (metres)."""

    vertices: Tensor  # [B, V, 3]
    joints: Tensor  # [B, J, 4, 4] pose of every joint of the skeleton
    turns: Tensor  # [B, J, 3, 3] rotation of every joint from the reference pose

    def joint_positions(self, indices: Tensor | list[int]) -> Tensor:
        return self.joints[:, indices, :3, 3]


class Body(Protocol):
    """A template with a fixed identity."""

    rest_vertices: Tensor  # [V, 3]

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

    def reference_vertices(self) -> Tensor:
        """[V, 3]: the mesh in the reference pose, root at the origin: the canonical surface."""
        ...


class BodyTemplate(Protocol):
    """A rigged, UV-mapped mesh with identity parameters and facial actions."""

    name: str  # with the version that its parameters belong to
    joint_names: list[str]  # J, the whole skeleton
    joint_parents: list[int]  # J, -1 for the root
    pose_joints: list[str]  # P, those that a motion turns; the rest stay at their reference
    action_names: list[str]  # A, ARKit names
    identity_names: list[str]  # I
    faces: Tensor  # [F, 3] int64 into the vertices
    uv: Tensor  # [U, 2] texture coordinates in [0, 1], v up
    uv_faces: Tensor  # [F, 3] int64 into `uv`
    skin_weights: Tensor  # [V, J], rows sum to 1
    fingertips: Tensor  # [10, K] vertices about each fingertip, left thumb to little finger, then right

    def default_identity(self) -> Tensor:
        """[I]: an average adult."""
        ...

    def body(self, identity: Tensor) -> Body:
        """The template with the identity [I]; differentiable in it."""
        ...

    def part_weight(self, *joint_prefixes: str) -> Tensor:
        """[V]: how much of each vertex belongs to joints whose names start with one of the prefixes."""
        ...
