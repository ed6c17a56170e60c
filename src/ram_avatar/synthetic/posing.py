"""Converts limb directions, in which the choreography is written, to rotation vectors of the pose joints.

Directions are vectors in world axes of the reference pose, for the left limb: x outward, -y forward, z up. The right
limb is its mirror image.
"""

from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..body.template import Body, BodyTemplate, Posed

Array = NDArray[np.float64]

ARM_JOINTS = ("clavicle", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist")
FINGER_JOINTS = tuple(f"finger{finger}-{k}" for finger in range(1, 6) for k in (1, 2, 3))
LEG_JOINTS = ("upperleg01", "lowerleg01", "foot")

FULL_CURL = np.radians([75.0, 95.0, 60.0])  # flexion of a fist at the three joints of a finger
THUMB_FOLD = np.radians([25.0, 40.0, 55.0])  # of the thumb, from the reference pose across the palm
THUMB_OPEN = np.radians([-22.0, -12.0, -8.0])  # of the thumb, from the reference pose outward


@dataclass(frozen=True)
class Arm:
    """Directions of an arm; vectors need not have unit length. The elbow must be at least slightly bent."""

    upper: tuple[float, float, float]
    """Shoulder to elbow."""
    fore: tuple[float, float, float]
    """Elbow to wrist."""
    fingers: tuple[float, float, float]
    """Wrist to knuckles."""
    palm: tuple[float, float, float]
    """Normal of the palm."""


@dataclass(frozen=True)
class Hand:
    """Flexion of the fingers, from 0 (straight) to 1 (a fist)."""

    thumb: float
    index: float
    middle: float
    ring: float
    little: float
    spread: float = 0.3
    """How far the fingers fan out, 0 to 1."""


@dataclass
class Feet:
    """Positions of the feet in N frames, left one first."""

    ankles: Array
    """[N, 2, 3]"""
    yaw: Array
    """[N, 2] outward rotation in radians."""
    pitch: Array
    """[N, 2] downward pitch of the toes in radians."""


class Skeleton:
    """Reference directions of a body's limbs, and poses that point them elsewhere."""

    def __init__(self, template: BodyTemplate, body: Body) -> None:
        posed = at_reference(template, body)
        positions = posed.joints[0, :, :3, 3].double().numpy()
        self._at = dict(zip(template.joint_names, positions, strict=True))
        self.sole = float(posed.vertices[0, :, 2].min())  # height of the sole with the root at the origin
        self.hip, knee, self.ankle = (self._at[f"{j}.L"] for j in ("upperleg01", "lowerleg01", "foot"))
        below = posed.vertices[0].double().numpy() - self.ankle
        sole = below[(below[:, 2] < self.sole - self.ankle[2] + 0.01) & (posed.vertices[0, :, 0].numpy() > 0)]
        self.heel, self.toe = (
            float(sole[:, 1].max()),
            float(-sole[:, 1].min()),
        )  # distance behind and in front of the ankle
        self.thigh, self.shank = np.linalg.norm(knee - self.hip), np.linalg.norm(self.ankle - knee)
        self.ankle_height = self.ankle[2] - self.sole  # above the floor, of a standing foot
        # Height of the root over straight legs.
        self.upright = self.ankle_height - self.hip[2] + self.thigh + self.shank
        self._leg_axes = _unit(knee - self.hip), _unit(self.ankle - knee)

        shoulder, elbow, wrist = (self._at[f"{j}.L"] for j in ("upperarm01", "lowerarm01", "wrist"))
        self._upper, self._fore = _unit(elbow - shoulder), _unit(wrist - elbow)
        knuckles = [self._at[f"finger{k}-1.L"] for k in range(2, 6)]
        self._fingers = _unit(knuckles[1] - wrist)
        self._palm = _unit(np.cross(knuckles[3] - knuckles[0], self._fingers))

    def arm(self, arm: Arm) -> Array:
        """Return rotation vectors [6, 3] of a left arm's `ARM_JOINTS`, relative to the upper spine."""
        upper, fore, fingers, palm = (_unit(np.array(v)) for v in astuple(arm))
        # The shoulder girdle lifts with the arm from about 30 degrees below horizontal.
        lift = 0.3 * max(0.0, np.arcsin(upper[2]) + np.radians(30))
        clavicle = Rotation.from_rotvec([0.0, -lift, 0.0])
        shoulder = _turns(
            (self._upper, np.cross(self._upper, self._fore)), (upper, np.cross(upper, fore))
        )  # of the upper arm in the world
        elbow = _turns((self._fore, np.cross(self._upper, self._fore)), (fore, np.cross(upper, fore)))
        hand = _turns((self._fingers, self._palm), (fingers, palm))
        twist, swing = _twist_swing(clavicle.inv() * shoulder, self._upper)
        half = Rotation.from_rotvec(0.5 * twist.as_rotvec())  # spread over the two joints of the upper arm
        pronation, bend = _twist_first(elbow.inv() * hand, self._fore)
        turns = [clavicle, swing * half, half, shoulder.inv() * elbow, pronation, bend]
        return np.stack([turn.as_rotvec() for turn in turns])

    def hand(self, hand: Hand) -> Array:
        """Return rotation vectors [15, 3] of a left hand's `FINGER_JOINTS`."""
        turns = []
        for finger, curl in enumerate((hand.thumb, hand.index, hand.middle, hand.ring, hand.little), start=1):
            base, middle, tip = (self._at[f"finger{finger}-{k}.L"] for k in (1, 2, 3))
            if finger == 1:
                along = _unit(tip - base)
                inward = np.cross(along, _unit(0.6 * self._palm + self._side()))
                turns += [_unit(inward) * angle for angle in THUMB_OPEN + (THUMB_FOLD - THUMB_OPEN) * curl]
                continue
            metacarpal = base - self._at["wrist.L"]
            axis = _unit(np.cross(_unit(tip - base), self._palm))
            bent = [_angle(metacarpal, middle - base, axis), _angle(middle - base, tip - middle, axis)]
            flexion = curl * FULL_CURL - np.array([*bent, 0.7 * bent[1]])
            fan = (finger - 3.2) * np.radians(7) * (hand.spread - 0.3) * (1 - curl)
            turns += [axis * flexion[0] - self._palm * fan, axis * flexion[1], axis * flexion[2]]
        return np.stack(turns)

    def _side(self) -> Array:
        """Return the unit vector from the index to the little finger."""
        return _unit(self._at["finger5-1.L"] - self._at["finger2-1.L"])

    def legs(
        self, root: Array, turn: Rotation, ankles: Array, yaw: Array, pitch: Array | None = None
    ) -> tuple[Array, Array]:
        """Pose legs that reach given ankles; the root is lowered if they are too far away.

        Args:
            root: [N, 3] positions of the root joint.
            turn: N rotations of the root.
            ankles: [N, 2, 3] positions of the left and the right ankle.
            yaw: [N, 2] outward rotation of each foot in radians.
            pitch: [N, 2] downward pitch of its toes in radians; None for level feet.

        Returns:
            root: [N, 3], lowered.
            turns: [N, 2, 3, 3] rotation vectors of `LEG_JOINTS` of the left and the right leg, in world axes.
        """
        root, mirror = root.copy(), np.array([1.0, -1.0])
        root[:, 2] = np.minimum(root[:, 2], self.highest_root(root, turn, ankles))
        hips = self._hips(turn)
        turns = np.empty((len(root), 2, 3, 3))
        for leg, side in enumerate(mirror):
            flip = np.array([side, 1, 1])  # mirrored, so that every leg is a left leg
            line = (ankles[:, leg] - root - hips[:, leg]) * flip
            foot = Rotation.from_rotvec(np.stack([0 * yaw[:, leg], 0 * yaw[:, leg], yaw[:, leg]], -1))
            pelvis = _mirrored(turn, side)
            down = _unit(line)
            axis = _unit(np.cross(foot.apply([0.0, -1.0, 0.0]), down))  # of the knee
            length = np.linalg.norm(line, axis=-1)
            cosine = (self.thigh**2 + length**2 - self.shank**2) / (2 * self.thigh * length)
            bend = np.arccos(np.clip(cosine, -1, 1))[:, None]
            thigh = Rotation.from_rotvec(-axis * bend).apply(down)
            shank = _unit(line - self.thigh * thigh)
            reference = np.cross(*self._leg_axes)
            upper = _turns((self._leg_axes[0], reference), (thigh, axis))
            lower = _turns((self._leg_axes[1], reference), (shank, axis))
            if pitch is not None:
                foot = foot * Rotation.from_rotvec(pitch[:, leg, None] * [1.0, 0.0, 0.0])
            for k, joint in enumerate((pelvis.inv() * upper, upper.inv() * lower, lower.inv() * foot)):
                turns[:, leg, k] = joint.as_rotvec() * (flip if side > 0 else [1, -1, -1])
        return root, turns

    def highest_root(self, root: Array, turn: Rotation, ankles: Array) -> Array:
        """Return the maximal root height [N] at which both legs reach; see `legs`. The height of `root` is ignored."""
        reach, hips = 0.998 * (self.thigh + self.shank), self._hips(turn)
        away = np.linalg.norm((root[:, None] + hips - ankles)[..., :2], axis=-1)
        return (ankles[..., 2] - hips[..., 2] + np.sqrt(np.maximum(reach**2 - away**2, 0.0))).min(1)

    def _hips(self, turn: Rotation) -> Array:
        """Return offsets [N, 2, 3] from the root to the left and the right hip."""
        return np.stack([turn.apply(self.hip * [side, 1, 1]) for side in (1.0, -1.0)], 1)


def at_reference(template: BodyTemplate, body: Body) -> Posed:
    """Pose a body in the reference pose with its root at the origin."""
    zeros = torch.zeros
    pose, actions = zeros(1, len(template.pose_joints), 3), zeros(1, len(template.action_names))
    return body.pose(zeros(1, 3), zeros(1, 3), pose, actions)


def mirrored(rotation_vectors: Array) -> Array:
    """Reflect rotation vectors [..., 3] in the plane x = 0."""
    return rotation_vectors * [1.0, -1.0, -1.0]


def _mirrored(turn: Rotation, side: float) -> Rotation:
    return turn if side > 0 else Rotation.from_rotvec(mirrored(turn.as_rotvec()))


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _frame(first: Array, second: Array) -> Array:
    """Return orthonormal columns [..., 3, 3], the first along `first`, the second nearest to `second`."""
    first = _unit(first)
    second = _unit(second - (second * first).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], -1)


def _turns(source: tuple[Array, Array], target: tuple[Array, Array]) -> Rotation:
    """Return rotations that map the first source vector to the first target, and the second as close as possible."""
    return Rotation.from_matrix(_frame(*target) @ _frame(*source).T)


def _twist_swing(turn: Rotation, axis: Array) -> tuple[Rotation, Rotation]:
    """Decompose `turn` = swing * twist, with the twist about `axis`; returns twist, swing."""
    quaternion = turn.as_quat()
    twist = Rotation.from_quat([*(axis * (quaternion[:3] @ axis)), quaternion[3]])
    return twist, turn * twist.inv()


def _twist_first(turn: Rotation, axis: Array) -> tuple[Rotation, Rotation]:
    """Decompose `turn` = twist * bend, with the twist about `axis`; returns twist, bend."""
    twist, _ = _twist_swing(turn.inv(), axis)
    return twist.inv(), twist * turn


def _angle(a: Array, b: Array, axis: Array) -> float:
    """Return the angle from a to b about the axis."""
    return float(np.arctan2(np.cross(a, b) @ axis, a @ b))
