"""Forward kinematics of one frame in NumPy, for live use: joints and a few surface points, without the mesh.

`Body.pose` computes the same for a whole mesh, more slowly. The skeleton is a chain of rotations about fixed offsets:
with D a joint's rotation relative to its parent, G its rotation from the reference pose, x its position, and q its
position in the reference pose,

    G = G_parent D        x = x_parent + G_parent (q - q_parent)

Joints that no motion rotates follow the nearest rotated joint above them, so only the rotated ones are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from .template import BodyTemplate

Array = NDArray[np.float64]
_NO_WEIGHT = 1e-6  # skin weights below this have no measurable effect


@dataclass(frozen=True)
class PosedJoints:
    """The n kept joints of a skeleton in one pose, in world axes and metres."""

    turns: Array  # [n, 3, 3] rotations from the reference pose
    positions: Array  # [n, 3]


class Kinematics:
    """The skeleton of a template with a fixed identity: the root, the pose joints, and any others on request.

    Joints are ordered by depth, the root first, so that each of `levels` is a slice whose parents precede it.

    Args:
        identity: [I].
        joints: names of further joints to keep; they do not rotate.
    """

    names: list[str]  # n kept joints
    parents: NDArray[np.intp]  # [n] the nearest kept joint above each; -1 for the root
    levels: list[slice]  # the joints at each depth below the root
    ancestors: NDArray[np.bool_]  # [n, n] whether the column's joint is the row's or above it, and so moves it
    reference: Array  # [n, 3] positions in the reference pose, the root at the origin
    offsets: Array  # [n, 3] from the parent, in the reference pose; 0 for the root
    pose_indices: NDArray[np.intp]  # [P] indices of the template's pose joints among the kept ones

    @torch.no_grad()
    def __init__(self, template: BodyTemplate, identity: Tensor, joints: Iterable[str] = ()):
        wanted = {template.joint_names[0], *template.pose_joints, *joints}
        self.template, self._body = template, template.body(identity)
        self._reference = self._body.at_reference()
        kept = self._in_depth_order(wanted)
        self.names = [template.joint_names[j] for j in kept]
        self._index = {name: i for i, name in enumerate(self.names)}
        self._owner = [self._index_above(j) for j in range(len(template.joint_names))]  # for every template joint
        above = [template.joint_parents[j] for j in kept]
        self.parents = np.array([self._owner[j] if j >= 0 else -1 for j in above])
        self.pose_indices = np.array([self._index[name] for name in template.pose_joints])
        self.ancestors = np.eye(len(kept), dtype=bool)
        depth = np.zeros(len(kept), int)
        for i, parent in enumerate(self.parents[1:], start=1):
            self.ancestors[i] |= self.ancestors[parent]
            depth[i] = depth[parent] + 1
        ends = np.searchsorted(depth, np.arange(1, depth[-1] + 2))
        self.levels = [slice(a, b) for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
        self.reference = self._reference.joints[0, kept, :3, 3].double().cpu().numpy()
        self.offsets = self.reference - np.where(self.parents[:, None] >= 0, self.reference[self.parents], 0.0)

    def index(self, joint: str) -> int:
        """Return the index of a joint among the kept ones. Raises KeyError if it is not kept."""
        return self._index[joint]

    def pose(self, root_rotation: Array, root_translation: Array, pose: Array) -> PosedJoints:
        """Pose the kept joints.

        Args:
            root_rotation: [3] rotation vector (radians) of the root in the world.
            root_translation: [3] position of the root, metres.
            pose: [P, 3] rotation vectors of the template's pose joints, as for `Body.pose`.
        """
        return self.chain(self.turns(root_rotation, pose), root_translation)

    def turns(self, root_rotation: Array, pose: Array) -> Array:
        """Return the local rotations [n, 3, 3] that `chain` takes. Arguments as for `pose`."""
        vectors = np.zeros((len(self.names), 3))
        vectors[0] = root_rotation
        vectors[self.pose_indices] = pose
        return Rotation.from_rotvec(vectors).as_matrix()

    def changed(self, pose: Array, before: Array, after: Array) -> Array:
        """Update a pose where local rotations have changed.

        Args:
            pose: [P, 3] rotation vectors.
            before, after: [n, 3, 3] local rotations; joints where they are equal keep their rotation vectors.
        """
        rows = (before[self.pose_indices] != after[self.pose_indices]).any((1, 2)).nonzero()[0]
        if len(rows) == 0:
            return pose
        pose = pose.copy()
        pose[rows] = Rotation.from_matrix(after[self.pose_indices[rows]]).as_rotvec()
        return pose

    def chain(self, turns: Array, root_translation: Array) -> PosedJoints:
        """Pose the kept joints from rotations [n, 3, 3] relative to their parents (the root's: to the world)."""
        local = np.zeros((len(turns), 4, 4))  # one product per level: [G | x] = [G_parent | x_parent] [D | offset]
        local[:, :3, :3], local[:, :3, 3], local[:, 3, 3] = turns, self.offsets, 1.0
        local[0, :3, 3] = root_translation
        world = local[:, :3].copy()
        for level in self.levels:
            world[level] = world[self.parents[level]] @ local[level]
        return PosedJoints(world[:, :, :3], world[:, :, 3])

    @torch.no_grad()
    def points(self, regressor: Tensor, with_actions: bool = False) -> "SurfacePoints":
        """Return points of the surface: weighted sums of vertices.

        They move with linear blend skinning (without pose correctives, where a template has them).

        Args:
            regressor: [K, V], rows summing to 1.
            with_actions: include the effect of facial actions.
        """
        template, body = self.template, self._body
        used = (regressor != 0).any(0)
        rows, rest = regressor[:, used].double(), body.rest_vertices[used].double()
        skin = template.skin_weights[used].double()
        moves = self._reference.joints[0].double() @ body.rest_joints.double().inverse()  # [J, 4, 4]
        count, owner = len(self.names), torch.tensor(self._owner)
        weights = rows.new_zeros(len(rows), count)
        offsets = rows.new_zeros(len(rows), count, 3)
        for joint in (skin > _NO_WEIGHT).any(0).nonzero().flatten().tolist():
            share = rows * skin[:, joint]  # [K, used]
            carried = rest @ moves[joint, :3, :3].mT + moves[joint, :3, 3]  # where this joint alone would put the skin
            carried = carried - torch.from_numpy(self.reference[owner[joint]])
            weights[:, owner[joint]] += share.sum(1)
            offsets[:, owner[joint]] += share @ carried
        actions = None
        if with_actions:
            still = torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, len(template.pose_joints), 3)
            neutral = self._reference.vertices[0, used].double()
            acting = [body.pose(*still, one[None]).vertices[0, used] for one in torch.eye(len(template.action_names))]
            actions = (rows @ (torch.stack(acting).double() - neutral)).numpy()
        return SurfacePoints(weights.numpy(), offsets.numpy(), actions)

    def vertices(self, groups: Iterable[Sequence[int] | Tensor], with_actions: bool = False) -> "SurfacePoints":
        """Return points of the surface, each the mean of a group of vertices."""
        indices = [torch.as_tensor(group) for group in groups]
        regressor = torch.zeros(len(indices), len(self.template.skin_weights))
        for row, group in zip(regressor, indices, strict=True):
            row[group] = 1.0 / len(group)
        return self.points(regressor, with_actions)

    def _in_depth_order(self, names: set[str]) -> list[int]:
        """Return the template indices of the named joints, by depth; ties in the template's order."""
        template = self.template
        unknown = names - set(template.joint_names)
        if unknown:
            raise ValueError(f"template '{template.name}' has no joint {', '.join(sorted(unknown))}")
        depth = {-1: -1}
        for joint, parent in enumerate(template.joint_parents):
            depth[joint] = depth[parent] + (template.joint_names[joint] in names)
        kept = [j for j, name in enumerate(template.joint_names) if name in names]
        return sorted(kept, key=depth.__getitem__)

    def _index_above(self, joint: int) -> int:
        """Return the kept joint that a template joint is, or follows."""
        while self.template.joint_names[joint] not in self._index:
            joint = self.template.joint_parents[joint]
        return self._index[self.template.joint_names[joint]]


@dataclass(frozen=True)
class SurfacePoints:
    """K points of the skin. Joint c alone would put point k at `x_c + G_c offset / weight`."""

    weights: Array  # [K, n] of the kept joints; rows sum to 1
    offsets: Array  # [K, n, 3] from the joint, in axes of the reference pose, times the weight
    actions: Array | None  # [A, K, 3] displacement by each facial action, in the reference pose
    _holding: NDArray[np.intp] = field(init=False)  # [u] joints with any weight
    _mix: Array = field(init=False)  # [K, 4u] coefficients of their rotations and positions

    def __post_init__(self):
        holding = np.flatnonzero((self.weights != 0).any(0))
        turned = self.offsets[:, holding].reshape(len(self.weights), -1)
        object.__setattr__(self, "_holding", holding)
        object.__setattr__(self, "_mix", np.concatenate([turned, self.weights[:, holding]], 1))

    def at(self, joints: PosedJoints, actions: Array | None = None) -> Array:
        """Return the positions [K, 3]. `actions` [A] apply if the points were made with them.

        A facial action's displacement rotates with the joints of the point, which is exact where one joint holds it,
        as in the face.
        """
        turns = joints.turns[self._holding].transpose(0, 2, 1).reshape(-1, 3)
        where = self._mix @ np.concatenate([turns, joints.positions[self._holding]])
        if actions is not None and self.actions is not None:
            mixed = (self.weights @ joints.turns.reshape(-1, 9)).reshape(-1, 3, 3)
            shift = np.tensordot(actions, self.actions, 1)
            where = where + (mixed @ shift[..., None])[..., 0]
        return where
