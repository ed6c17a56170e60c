"""Facial actions relative to the resting face: transfers a driver's expressions to a face that rests differently.

Trackers report a slight smile or half-closed lids for a resting face, differently for each person and tracker. What is
transferred is the change from there.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..motion import PARTS, Motion

Array = NDArray[np.float64]
_SHARE = 0.25  # quantile of each action that counts as rest: expressions come on top of it
_HIGHEST = 0.5  # upper limit of an action at rest
_SECONDS = 3.0  # of a visible face that are needed to estimate its rest
_SEEN = 0.3  # confidence from which a face counts as visible
_STEEPEST = 2.0  # largest amplification of the driver's changes
_PACE = 0.2  # change per second of the running estimate


def neutral_face(motion: Motion) -> tuple[float, ...] | None:
    """Estimate the resting facial actions [A] of a motion; None if the face is visible too briefly."""
    seen = motion.confidence[:, PARTS.index("face")] > _SEEN
    if int(seen.sum()) < _SECONDS * motion.fps:
        return None
    return at_rest(motion.facial_actions[seen])


def at_rest(actions: Tensor) -> tuple[float, ...]:
    """Estimate the resting facial actions [A] from frames [N, A]."""
    neutral = actions.quantile(_SHARE, dim=0).clamp(0, _HIGHEST)
    return tuple(round(value, 4) for value in neutral.tolist())


class NeutralFace:
    """Transfers a driver's facial actions to the avatar: rest to rest, 0 to 0, 1 to 1 (as far as `_STEEPEST` allows).

    Args:
        source: [A] the driver's face at rest; None to estimate it while running, starting from the avatar's.
        target: [A] the avatar's face at rest; None if unknown: facial actions are then passed through.
    """

    def __init__(self, source: tuple[float, ...] | None, target: tuple[float, ...] | None):
        self._target = None if target is None else np.array(target)
        self._known = source is not None
        self._source = np.array(source if source is not None else target or ())

    def carry(self, actions: Array, seen: bool, seconds: float) -> Array:
        """Return the avatar's facial actions [A].

        Args:
            actions: [A] the driver's, in [0, 1].
            seen: whether the driver's face is visible.
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
        """The driver's face at rest [A], if known or estimated."""
        return self._source if self._target is not None or self._known else None
