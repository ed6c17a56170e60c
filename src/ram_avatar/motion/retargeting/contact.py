"""Hands that touch the face or each other in the driver touch in the avatar, as far as its arms reach.

Points of the hands and the head are the same vertices on both bodies. Where a hand of the driver is near the head, the
avatar's is brought to where it has the same offsets from the same spots: by how near it is, so that the correction
comes and goes with the hand. Nearness of the two hands is kept likewise, each hand going half of the way.
"""

import numpy as np
from numpy.typing import NDArray

from ...body.kinematics import Kinematics, PosedJoints
from ...body.sampling import farthest_points
from ...body.template import FINGERS, SIDES, BodyTemplate
from ..limbs import ARM, Limb, norm

Array = NDArray[np.float64]
_TOUCHES, _FAR = 0.04, 0.30  # metres: a hand that touches (samples are some centimetres apart), one that does not count
_FOCUS = 0.025  # metres: how much farther pairs count less
_HAND_POINTS, _HEAD_POINTS = 18, 48


class Contacts:
    """Keeps what the driver's hands touch.

    Args:
        source, target: of the driver and of the avatar.
    """

    def __init__(self, template: BodyTemplate, source: Kinematics, target: Kinematics):
        vertices = template.body(template.default_identity()).reference_vertices().double().cpu().numpy()
        pick = lambda count, *roles: farthest_points(
            vertices, np.flatnonzero((template.role_weight(*roles) > 0.5).cpu().numpy()), count
        )
        hands = [pick(_HAND_POINTS, *(f"{part}{k}.{side}" for part in FINGERS for k in (1, 2, 3)), f"hand.{side}")
                 for side in SIDES]  # fmt: skip
        groups = [[v] for v in (*hands[0], *hands[1], *pick(_HEAD_POINTS, "head"))]
        ends = np.cumsum([0, len(hands[0]), len(hands[1])])
        self._hands, self._head = [slice(*ends[:2]), slice(*ends[1:])], slice(ends[2], None)
        self._source_points, self._target_points = source.vertices(groups), target.vertices(groups)
        self._source_frames, self._target_frames = (
            [k.index(template.roles[role]) for role in ("head", "spine3")] for k in (source, target)
        )
        size = lambda k: norm(k.offsets[k.index(template.roles["middle2.L"])])
        self._size = size(target) / size(source)  # of the hands
        self._arms = [Limb(target, template, ARM, side) for side in SIDES]

    def step(self, driver: PosedJoints, local: Array, joints: PosedJoints) -> bool:
        """Bend the avatar's arms by what the driver touches; whether anything was to do.

        Args:
            local: [n, 3, 3] turns of the avatar's joints relative to their parents; those of the arms are changed.
            joints: the avatar's.
        """
        there = self._source_points.at(driver)
        turns = [driver.turns[j].T for j in self._source_frames]
        pairs = [_Pairs(there[hand], there[self._head], turns[0]) for hand in self._hands]
        pairs.append(_Pairs(there[self._hands[0]], there[self._hands[1]], turns[1]))
        if not any(pair.nearness for pair in pairs):
            return False
        here = self._target_points.at(joints)
        head, chest = (joints.turns[j] for j in self._target_frames)
        left, right = (here[hand] for hand in self._hands)
        shifts = [
            pair.nearness * pair.missing(points, here[self._head], head, self._size)
            for pair, points in zip(pairs, (left, right), strict=False)
        ]
        apart = pairs[2].nearness * pairs[2].missing(left + shifts[0], right + shifts[1], chest, self._size)
        for arm, shift in zip(self._arms, (shifts[0] + 0.5 * apart, shifts[1] - 0.5 * apart), strict=True):
            if norm(shift) > 1e-6:
                arm.reach(local, joints, shift)
        return True


class _Pairs:
    """Points of a hand [H, 3] and of what it may touch [T, 3] in the driver.

    Args:
        turn: [3, 3] from the world to the axes in which offsets are carried over.
    """

    def __init__(self, hand: Array, touched: Array, turn: Array):
        apart = hand[:, None] - touched
        squares = np.einsum("htc,htc->ht", apart, apart)
        nearest = squares.min()
        fraction = (_FAR - nearest**0.5) / (_FAR - _TOUCHES)
        fraction = min(max(float(fraction), 0.0), 1.0)
        self.nearness = fraction * fraction * (3.0 - 2.0 * fraction)
        if self.nearness:
            weights = np.exp((nearest - squares) / (2 * _FOCUS**2))
            weights /= weights.sum()
            self._of_hand, self._of_touched = weights.sum(1), weights.sum(0)
            self._offset = turn @ (self._of_hand @ hand - self._of_touched @ touched)

    def missing(self, hand: Array, touched: Array, turn: Array, size: float) -> Array:
        """[3] what the avatar's hand lacks to be as the driver's is; 0 where the driver's is far.

        Args:
            turn: [3, 3] from those axes to the world.
            size: of the avatar's hand by the driver's.
        """
        if not self.nearness:
            return np.zeros(3)
        return self._of_touched @ touched + size * (turn @ self._offset) - self._of_hand @ hand
