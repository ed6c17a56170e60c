"""Faces relative to their own rest: what a driver's face does, on a face that rests otherwise.

Trackers read a little smile or half-closed lids off a face at rest, each person's and each tracker's own. It is the
way from there that is carried over.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..motion import PARTS, Motion

Array = NDArray[np.float64]
_SHARE = 0.25  # of the time a face does less than at rest: its expressions come on top of that
_HIGHEST = 0.5  # of 1: a face at rest does not do more
_SECONDS = 3.0  # a face is known from this on
_SEEN = 0.3  # confidence
_STEEPEST = 2.0  # by how much a change of the driver's face may grow
_PACE = 0.2  # of 1, a second: how fast a running estimate goes


def neutral_face(motion: Motion) -> tuple[float, ...] | None:
    """[A] the facial actions of a face at rest, or None where it is seen too shortly to tell."""
    seen = motion.confidence[:, PARTS.index("face")] > _SEEN
    if int(seen.sum()) < _SECONDS * motion.fps:
        return None
    return at_rest(motion.facial_actions[seen])


def at_rest(actions: Tensor) -> tuple[float, ...]:
    """[A] what a face does at rest, of what it did in some frames [N, A]."""
    neutral = actions.quantile(_SHARE, dim=0).clamp(0, _HIGHEST)
    return tuple(round(value, 4) for value in neutral.tolist())


class NeutralFace:
    """Facial actions of a driver on the avatar's face: rest goes to rest, 0 to 0, 1 to 1 (or as near as `_STEEPEST`
    allows).

    Args:
        source: [A] the driver's face at rest; None: estimated as it is seen, from the avatar's on.
        target: [A] the avatar's; None: not known, then faces are carried over as they are.
    """

    def __init__(self, source: tuple[float, ...] | None, target: tuple[float, ...] | None):
        self._target = None if target is None else np.array(target)
        self._known = source is not None
        self._source = np.array(source if source is not None else target or ())

    def carry(self, actions: Array, seen: bool, seconds: float) -> Array:
        """[A] what the avatar's face does.

        Args:
            actions: [A] of the driver, in [0, 1].
            seen: whether the driver's face is.
            seconds: since the last frame.
        """
        if self._target is None:
            return actions
        if seen and not self._known:  # a running quantile: stochastic gradient descent on the pinball loss
            step = _PACE * seconds * np.where(actions > self._source, _SHARE, _SHARE - 1)
            self._source = np.clip(self._source + step, 0, _HIGHEST)
        rest, here = self._source, self._target
        above = np.minimum((1 - here) / (1 - rest), _STEEPEST)
        below = np.minimum(here / np.maximum(rest, 1e-6), _STEEPEST)
        return np.clip(here + np.where(actions > rest, above, below) * (actions - rest), 0, 1)

    @property
    def driver_at_rest(self) -> Array | None:
        """[A] the driver's face at rest, where one is known or estimated."""
        return self._source if self._target is not None or self._known else None
