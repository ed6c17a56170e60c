"""Smooth motion with little lag: the 1 Euro filter on rotations, places and facial actions.

Casiez, Roussel, Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012. A low-pass filter whose cutoff grows with the speed: steady at rest, without lag in fast motion.

    dx = (x - y') / T      ds = ds' + a(1 Hz) (dx - ds')      cutoff = least + slope |ds|
    y = y' + a(cutoff) (x - y')      a(f) = 1 / (1 + 1 / (2 pi f T))

with y' and ds' of the frame before. Rotations are filtered likewise along the shortest turn from y' to x, with their
angular velocity as the speed; about a fixed axis this is the formula above.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...motion.motion import Frame

Array = NDArray[np.float64]
_SPEED_CUTOFF = 1.0  # Hz, of the speed itself
_LEAST_STRENGTH = 1e-9
_STRONGEST = 0.2  # factor of the cutoffs at full strength; 1 at half strength


@dataclass(frozen=True)
class Cutoff:
    """A cutoff frequency as a function of the speed."""

    least: float  # Hz, at rest
    slope: float  # Hz per unit a second

    def at(self, speed: Array) -> Array:
        """Return the cutoff in Hz."""
        return self.least + self.slope * speed

    def scaled(self, factor: float) -> "Cutoff":
        """Return both frequencies times a factor."""
        return Cutoff(self.least * factor, self.slope * factor)


# At half strength; chosen by the jitter that remains and the lag behind the landmarks.
ROTATIONS = Cutoff(2.5, 5.0)  # per radian a second
PLACE = Cutoff(2.5, 40.0)  # per metre a second
DEPTH = Cutoff(0.7, 10.0)
ACTIONS = Cutoff(3.0, 5.0)  # an action goes from 0 to 1


class NumberFilter:
    """Filters numbers [K], each on its own."""

    def __init__(self) -> None:
        self._value: Array | None = None
        self._speed: Array | float = 0.0

    def step(self, values: Array, seconds: float, cutoff: Cutoff) -> Array:
        """Filter the next values, `seconds` after the last."""
        last = values if self._value is None else self._value
        change = values - last
        self._speed = self._speed + _gain(_SPEED_CUTOFF, seconds) * (change / seconds - self._speed)
        self._value = last + _gain(cutoff.at(np.abs(self._speed)), seconds) * change
        return self._value


class RotationFilter:
    """Filters rotation vectors [J, 3], each on its own."""

    def __init__(self) -> None:
        self._value: Rotation | None = None
        self._velocity: Array | float = 0.0

    def step(self, vectors: Array, seconds: float, cutoff: Cutoff) -> Array:
        """Filter the next rotations, `seconds` after the last."""
        turns = Rotation.from_rotvec(vectors)
        last = turns if self._value is None else self._value
        change = (last.inv() * turns).as_rotvec()
        self._velocity = self._velocity + _gain(_SPEED_CUTOFF, seconds) * (change / seconds - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=1, keepdims=True)
        self._value = last * Rotation.from_rotvec(_gain(cutoff.at(speed), seconds) * change)
        return self._value.as_rotvec()


class MotionFilter:
    """Smooths the frames of a motion.

    Attributes:
        strength: 0 changes nothing, 1 smooths most and lags most. May be changed at any time.
    """

    def __init__(self, strength: float = 0.5):
        self.strength = strength
        self._turns = RotationFilter()
        self._place, self._depth, self._actions = NumberFilter(), NumberFilter(), NumberFilter()

    def step(self, frame: Frame, seconds: float) -> Frame:
        """Smooth the next frame, `seconds` (above zero) after the last."""
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
        """Factor of the cutoffs: unlimited at strength 0, 1 at one half, `_STRONGEST` at 1."""
        return (1 / max(self.strength, _LEAST_STRENGTH) - 1) * (1 - _STRONGEST) + _STRONGEST


def _gain(cutoff: Array | float, seconds: float) -> Array | float:
    """Share of the way to its input that a low-pass filter goes in one frame."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * seconds))
