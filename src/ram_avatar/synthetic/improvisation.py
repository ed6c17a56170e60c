"""Scripts that nobody wrote: the performer tries what arms, trunk and legs can do, at random.

For motion priors, which want poses of every kind, and may be passed on only where their motions may.
"""

import numpy as np

from .choreography import FEET, Beat, Script
from .posing import Arm, Hand

_BEATS = 120
_SECONDS = (0.35, 1.2)  # of a beat
_LIFT = 0.35  # share of the beats with a foot in the air


def improvised(seed: int) -> Script:
    """About a hundred seconds of beats, each of which takes arms, hands, trunk, head and feet somewhere else."""
    random = np.random.default_rng(seed)
    return Script(tuple(_beat(random) for _ in range(_BEATS)), ())


def _beat(random: np.random.Generator) -> Beat:
    changes: dict = {}
    for side in ("left", "right"):
        if random.random() < 0.7:
            changes |= {f"{side}_arm": _arm(random), f"{side}_hand": Hand(*random.uniform(0, 1, 5))}
    if random.random() < 0.6:
        changes["torso"] = tuple(random.normal([0.12, 0, 0], [0.25, 0.15, 0.25]))
    if random.random() < 0.6:
        changes["head"] = tuple(random.normal(0, [0.25, 0.12, 0.35]))
    if random.random() < 0.7:
        changes |= _legs(random)
    return Beat(random.uniform(*_SECONDS), changes)


def _arm(random: np.random.Generator) -> Arm:
    """An upper arm on the outer and front side of its shoulder, and an elbow that is bent forwards."""
    upper = random.normal([0.5, -0.2, -0.3], [0.4, 0.5, 0.7])
    upper[0] = max(upper[0], -0.25)
    fore = upper / np.linalg.norm(upper) + random.uniform(0.1, 2.2) * _unit(random.normal([-0.3, -0.8, 0.2], 0.7))
    fingers = _unit(fore) + random.normal(0, 0.25, 3)
    palm = np.cross(fingers, random.normal(0, 1, 3))
    return Arm(*(tuple(vector) for vector in (upper, fore, fingers, palm)))


def _legs(random: np.random.Generator) -> dict:
    """A stance, wide or narrow, deep or upright; now and then one foot is lifted, to the front, side or back."""
    feet = {side: np.array(FEET[side]) + random.normal(0, [0.08, 0.12, 0, 0.2]) for side in FEET}
    for foot in feet.values():
        foot[0] = max(foot[0], 0.06)
    if random.random() < _LIFT:
        feet[random.choice(list(feet))] += [*random.normal(0, [0.15, 0.3]), random.uniform(0.05, 0.55), 0.0]
    deep = 0.008 + random.exponential(0.08)
    changes = {side: tuple(foot) for side, foot in feet.items()}
    return changes | {"root": (random.normal(0, 0.05), random.normal(0, 0.05), min(deep, 0.45), random.normal(0, 0.4))}


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
