"""Calm motion without lag: the 1 Euro filter on rotations, places and facial actions.

Casiez, Roussel, Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012. A low-pass filter whose cutoff grows with the speed: what stands still is calm, what moves fast is not late.

    dx = (x - y') / T      ds = ds' + a(1 Hz) (dx - ds')      cutoff = least + slope |ds|
    y = y' + a(cutoff) (x - y')      a(f) = 1 / (1 + 1 / (2 pi f T))

with y' and ds' of the frame before. A rotation does the same along the shortest turn from y' to x, with its angular
velocity in the place of the speed; about a fixed axis that is the formula above.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...motion.motion import Frame

Array = NDArray[np.float64]
_SPEED_CUTOFF = 1.0  # Hz, of the speed itself
_NONE = 1e-9  # strength
_CALMEST = 0.2  # of the cutoff at half strength, at full strength


@dataclass(frozen=True)
class Cutoff:
    """Frequencies that pass."""

    least: float  # Hz, of what stands still
    slope: float  # Hz per unit a second

    def at(self, speed: Array) -> Array:
        return self.least + self.slope * speed

    def scaled(self, factor: float) -> "Cutoff":
        return Cutoff(self.least * factor, self.slope * factor)


# At half strength, by what stays of the trembling and how late the landmarks are followed.
ROTATIONS = Cutoff(2.5, 5.0)  # per radian a second
PLACE = Cutoff(2.5, 40.0)  # per metre a second
DEPTH = Cutoff(0.7, 10.0)
ACTIONS = Cutoff(3.0, 5.0)  # an action goes from 0 to 1


class NumberFilter:
    """Numbers [K], each on its own."""

    def __init__(self):
        self._value: Array | None = None
        self._speed: Array | float = 0.0

    def step(self, values: Array, seconds: float, cutoff: Cutoff) -> Array:
        """The next values, `seconds` after the last."""
        if self._value is None:
            self._value = values
        change = values - self._value
        self._speed = self._speed + _share(_SPEED_CUTOFF, seconds) * (change / seconds - self._speed)
        self._value = self._value + _share(cutoff.at(np.abs(self._speed)), seconds) * change
        return self._value


class RotationFilter:
    """Rotation vectors [J, 3], each on its own."""

    def __init__(self):
        self._value: Rotation | None = None
        self._velocity: Array | float = 0.0

    def step(self, vectors: Array, seconds: float, cutoff: Cutoff) -> Array:
        """The next rotations, `seconds` after the last."""
        turns = Rotation.from_rotvec(vectors)
        if self._value is None:
            self._value = turns
        change = (self._value.inv() * turns).as_rotvec()
        self._velocity = self._velocity + _share(_SPEED_CUTOFF, seconds) * (change / seconds - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=1, keepdims=True)
        self._value = self._value * Rotation.from_rotvec(_share(cutoff.at(speed), seconds) * change)
        return self._value.as_rotvec()


class MotionFilter:
    """Frames of a motion, calmed.

    Attributes:
        strength: 0 changes nothing, 1 is calm and late. May be changed at any time.
    """

    def __init__(self, strength: float = 0.5):
        self.strength = strength
        self._turns = RotationFilter()
        self._place, self._depth, self._actions = NumberFilter(), NumberFilter(), NumberFilter()

    def step(self, frame: Frame, seconds: float) -> Frame:
        """The next frame, `seconds` after the last."""
        seconds = max(seconds, 1e-3)
        factor = self._factor()
        turns = np.concatenate([frame.root_rotation[None], frame.pose])
        turns = self._turns.step(turns, seconds, ROTATIONS.scaled(factor))
        x, y, z = frame.root_translation
        side, height = self._place.step(np.array([x, z]), seconds, PLACE.scaled(factor))
        depth = self._depth.step(np.array([y]), seconds, DEPTH.scaled(factor))[0]
        return replace(
            frame,
            root_rotation=turns[0],
            root_translation=np.array([side, depth, height]),
            pose=turns[1:],
            facial_actions=self._actions.step(frame.facial_actions, seconds, ACTIONS.scaled(factor)),
        )

    def _factor(self) -> float:
        """Of the cutoffs: unlimited at strength 0, 1 at one half, `_CALMEST` at 1."""
        return (1 / max(self.strength, _NONE) - 1) * (1 - _CALMEST) + _CALMEST


def _share(cutoff: Array | float, seconds: float) -> Array | float:
    """How far a low-pass filter goes towards its input in one frame."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * seconds))
