"""Left and right exchanged, as in a mirror."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..body.template import BodyTemplate
from ..motion.motion import PARTS, Frame

_SIDES = (("Left", "Right"), ("left_", "right_"), (".L", ".R"))
_TURN = np.array([1.0, -1.0, -1.0])  # factors of a rotation vector, for a mirror across x


class Mirror:
    """Mirrors frames of a template in an upright plane at `x` (metres, world axes)."""

    def __init__(self, template: BodyTemplate, x: float):
        self._x = x
        self._joints = _partners(template.pose_joints)
        self._actions = _partners(template.action_names)
        self._parts = _partners(PARTS)

    def __call__(self, frame: Frame) -> Frame:
        here = frame.root_translation
        return replace(
            frame,
            root_rotation=frame.root_rotation * _TURN,
            root_translation=np.array([2 * self._x - here[0], here[1], here[2]]),
            pose=frame.pose[self._joints] * _TURN,
            facial_actions=frame.facial_actions[self._actions],
            confidence=frame.confidence[self._parts],
        )


def _partners(names: Sequence[str]) -> np.ndarray:
    """Return for every name the index of its other side, or its own where it is in the middle."""
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[_other_side(name)] for name in names])


def _other_side(name: str) -> str:
    for left, right in _SIDES:
        if left in name:
            return name.replace(left, right)
        if right in name:
            return name.replace(right, left)
    return name
