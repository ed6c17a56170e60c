"""The landmarks of a person of known identity in one frame, and their analytic Jacobian, in NumPy for the live solve.

All landmarks are points of the skin in the sense of `body.kinematics.SurfacePoints`: weights w and offsets o by joint,

    p = sum_c w_c x_c + G_c o_c

with a landmark at a joint as a special case. When joint j turns about an axis a in the world, everything attached to it
or to a joint below moves by

    dp = a x sum_{c below j} (w_c (x_c - x_j) + G_c o_c)

which is exact also for skin attached to several joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...body.anatomy import anatomy_of
from ...body.kinematics import Kinematics, PosedJoints, SurfacePoints
from ...body.template import BodyTemplate
from ..correspondence import SIDES, Correspondence
from ..detection.topology import Topology

Array = NDArray[np.float64]
_SMALL = 1e-4  # radians: below this, series replace quotients
_RIGID = 10.0  # stiffness from which an axis is not solved for (`anatomy.STIFFNESS`)


@dataclass
class State:
    """What is solved for, in one frame."""

    angles: Array  # [P, 3] about the anatomical axes, radians
    root: Rotation  # in the world
    place: Array  # [3] of the root, metres
    actions: Array  # [A] in [0, 1]

    def copy(self) -> "State":
        return State(self.angles.copy(), self.root, self.place.copy(), self.actions.copy())


class LandmarkModel:
    """Where the detector would see the landmarks of a body.

    Args:
        identity: [I].
        anchors: the face landmarks among the K, which locate the head and the eyes.
        deforming: the face landmarks of `deforming`, which determine the facial actions.
    """

    points: int  # K landmarks: of the pose, of the left hand, of the right hand, of the face, in this order
    pose_landmarks: list[int]  # the detector's indices of those of the pose
    parts: dict[str, slice]  # pose, left_hand, right_hand, face
    free: NDArray[np.intp]  # [D, 2] joint and axis of the angles that are solved for
    stiffness: Array  # [D]
    hinges: NDArray[np.bool_]  # [D] flexion of joints that do not bend backwards
    fingers: NDArray[np.bool_]  # [D] flexion of fingers
    relaxed: Array  # [P, 3] angles at rest

    @torch.no_grad()
    def __init__(
        self,
        template: BodyTemplate,
        identity: Tensor,
        topology: Topology,
        anchors: Sequence[int],
        deforming: Sequence[int],
    ):
        map_, anatomy = Correspondence.load(template, topology), anatomy_of(template)
        named = [map_.joints, map_.joint_frames, *map_.hand_joints.values()]
        self.kinematics = Kinematics(template, identity, {template.joint_names[j] for some in named for j in some})
        self._axes = anatomy.axes.double().numpy()
        self.relaxed = anatomy.relaxed.double().numpy()
        stiffness = anatomy.stiffness.double().numpy()
        self.free = np.argwhere(stiffness < _RIGID)
        self.stiffness = stiffness[tuple(self.free.T)]
        flexion = self.free[:, 1] == 0
        self.hinges = anatomy.hinges.numpy()[self.free[:, 0]] & flexion
        self.fingers = anatomy.fingers.numpy()[self.free[:, 0]] & flexion
        self.pose_landmarks = map_.pose_landmarks
        skin = self.kinematics.points(map_.regressor, with_actions=True)
        self._attach(template, map_, skin, anchors)
        self._deforming = _face_points(skin, map_.face_rows, deforming)

    def _attach(
        self, template: BodyTemplate, map_: Correspondence, skin: SurfacePoints, anchors: Sequence[int]
    ) -> None:
        """Set weights, offsets and facial actions of all landmarks."""
        topology, kept = map_.topology, len(self.kinematics.names)

        def index(joint: int) -> int:
            return self.kinematics.index(template.joint_names[joint])

        def joints(wanted: list[int], frames: list[int], offsets: Array | float) -> tuple[Array, Array]:
            weights, moved = np.zeros((len(wanted), kept)), np.zeros((len(wanted), kept, 3))
            rows = np.arange(len(wanted))
            weights[rows, [index(j) for j in wanted]] = 1.0
            moved[rows, [index(j) for j in frames]] = offsets
            return weights, moved

        def surface(rows: slice) -> tuple[Array, Array]:
            return skin.weights[rows], skin.offsets[rows]

        groups = [
            joints(map_.joints, map_.joint_frames, map_.joint_offsets.double().numpy()),
            surface(map_.surface_rows),
        ]
        for side in SIDES:
            wrist, *chains = map_.hand_joints[side]
            hand = [joints([wrist], [wrist], 0.0)]
            for finger in range(5):
                chain, tip = chains[3 * finger : 3 * finger + 3], map_.tip_rows[side].start + finger
                hand += [joints(chain, chain, 0.0), surface(slice(tip, tip + 1))]
            order = np.argsort(topology.hand)
            of_hand = [np.concatenate(each)[order] for each in zip(*hand, strict=True)]
            groups.append((of_hand[0], of_hand[1]))
        weights, offsets, self._shifts = _face_points(skin, map_.face_rows, anchors)
        self._weights = np.concatenate([*(w.T for w, _ in groups), weights], 1)  # [n, K]
        self._offsets = np.concatenate([*(o.transpose(1, 0, 2) for _, o in groups), offsets], 1)  # [n, K, 3]
        self.points = self._weights.shape[1]
        hand_count = topology.hand_count
        ends = np.cumsum([0, len(self.pose_landmarks), hand_count, hand_count, len(anchors)]).tolist()
        names = ("pose", "left_hand", "right_hand", "face")
        self.parts = {name: slice(*ends[i : i + 2]) for i, name in enumerate(names)}
        self._below = self.kinematics.ancestors.T.astype(float)  # whether the column's joint is the row's or below it
        self._mass = self._below @ self._weights
        turning = self.kinematics.pose_indices[self.free[:, 0]]
        self._turning = np.concatenate([turning, [0, 0, 0]])  # [D + 3] kept joint of each angle, the root's last

    # The landmarks -------------------------------------------------------------------------------------------------

    def at(self, state: State) -> Array:
        """Return the landmarks [K, 3] in the world."""
        joints, _ = self._joints(state)
        return _carried(joints, *self._moved_by(state.actions)).sum(0)

    def with_jacobian(self, state: State) -> tuple[Array, Array]:
        """Return the landmarks [K, 3] and their derivatives [D + 6, 3, K].

        By the free angles, a turn of the root about the axes of the world, and its place.
        """
        joints, axes = self._joints(state)
        carried = _carried(joints, *self._moved_by(state.actions))
        moment = (self._below @ carried.reshape(len(carried), -1)).reshape(carried.shape)
        lever = moment - self._mass[..., None] * joints.positions[:, None]  # [n, K, 3]
        # By each angle's own joint; the cross product as a product with a skew matrix.
        turned = _skew(axes) @ lever.transpose(0, 2, 1)[self._turning]  # [D + 3, 3, K]
        moved = np.broadcast_to(np.eye(3)[..., None], (3, 3, self.points))
        return carried.sum(0), np.concatenate([turned, moved])

    def deforming(self, state: State) -> "DeformingLandmarks":
        """Return the landmarks that determine the facial actions, for the head of a state."""
        joints, _ = self._joints(state)
        weights, offsets, shifts = self._deforming
        still = _carried(joints, weights, offsets).sum(0)
        turns = np.tensordot(weights, joints.turns, (0, 0))  # [F, 3, 3]
        return DeformingLandmarks(still, (turns @ shifts[..., None])[..., 0])

    def pose(self, state: State) -> Array:
        """Return the rotation vectors [P, 3] of the pose joints, about world axes, as in a motion."""
        return (self._axes @ state.angles[..., None])[..., 0]

    def angles(self, pose: Array) -> Array:
        """Return the angles [P, 3] about the anatomical axes of rotation vectors [P, 3]."""
        return (self._axes.transpose(0, 2, 1) @ pose[..., None])[..., 0]

    def _joints(self, state: State) -> tuple[PosedJoints, Array]:
        """The posed joints, and the axes [D + 3, 3] in the world about which each angle turns."""
        pose = self.pose(state)
        turns = np.tile(np.eye(3), (len(self.kinematics.names), 1, 1))
        turns[self.kinematics.pose_indices] = Rotation.from_rotvec(pose).as_matrix()
        turns[0] = state.root.as_matrix()
        joints = self.kinematics.chain(turns, state.place)
        # exp(v) changes by exp(J dv) from the left, in axes of the joint's parent.
        row, axis = self.free.T
        grown = left_jacobian(pose)[row] @ self._axes[row, :, axis][..., None]
        above = joints.turns[self.kinematics.parents[self.kinematics.pose_indices[row]]]
        return joints, np.concatenate([(above @ grown)[..., 0], np.eye(3)])

    def _moved_by(self, actions: Array) -> tuple[Array, Array]:
        """Weights, and offsets [n, K, 3] with facial actions applied."""
        offsets, face = self._offsets.copy(), self.parts["face"]
        offsets[:, face] += self._weights[:, face, None] * np.tensordot(actions, self._shifts, 1)
        return self._weights, offsets


@dataclass(frozen=True)
class DeformingLandmarks:
    """F landmarks of the face, linear in the facial actions, with the head fixed."""

    still: Array  # [F, 3] without any action, world
    moves: Array  # [A, F, 3] by each action

    def at(self, actions: Array) -> Array:
        """Return the landmarks [F, 3] in the world."""
        return self.still + np.tensordot(actions, self.moves, 1)


def _face_points(skin: SurfacePoints, face_rows: slice, chosen: Sequence[int]) -> tuple[Array, Array, Array]:
    """Weights [n, F], offsets [n, F, 3] and shifts by facial actions [A, F, 3] of some landmarks of the face."""
    if skin.actions is None:
        raise ValueError("the points were taken without facial actions")
    rows = np.arange(face_rows.start, face_rows.stop)[list(chosen)]
    return skin.weights[rows].T.copy(), skin.offsets[rows].transpose(1, 0, 2).copy(), skin.actions[:, rows]


def _carried(joints: PosedJoints, weights: Array, offsets: Array) -> Array:
    """[n, K, 3] contribution of each joint to each point's position."""
    return offsets @ joints.turns.transpose(0, 2, 1) + weights[..., None] * joints.positions[:, None]


def left_jacobian(vectors: Array) -> Array:
    """Return the left Jacobians J [..., 3, 3] of rotation vectors v [..., 3]: exp(v + dv) = exp(J dv) exp(v)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    skew, square = _skew(vectors), np.maximum(angle, _SMALL) ** 2
    first = np.where(angle < _SMALL, 0.5, (1 - np.cos(angle)) / square)
    second = np.where(angle < _SMALL, 1 / 6, (angle - np.sin(angle)) / (square * np.maximum(angle, _SMALL)))
    return np.eye(3) + first * skew + second * (skew @ skew)


def _skew(vectors: Array) -> Array:
    """Skew matrices [..., 3, 3] of vectors a [..., 3], whose product with b is a x b."""
    made = np.zeros((*vectors.shape, 3))
    x, y, z = np.moveaxis(vectors, -1, 0)
    made[..., 0, 1], made[..., 0, 2], made[..., 1, 2] = -z, y, -x
    made[..., 1, 0], made[..., 2, 0], made[..., 2, 1] = z, -y, x
    return made
