"""Random scripts that exercise arms, trunk and legs, to train motion priors.

Priors need varied poses, and may be redistributed only if the motions they are trained on may.
"""

import numpy as np

from .choreography import FEET, Beat, Channels, Script
from .posing import Arm, Hand

_BEATS = 120
_SECONDS = (0.35, 1.2)  # of a beat
_LIFT = 0.35  # share of the beats with a foot in the air


def improvised(seed: int) -> Script:
    """Return about a hundred seconds of beats with random poses of arms, hands, trunk, head and feet."""
    random = np.random.default_rng(seed)
    return Script(tuple(_beat(random) for _ in range(_BEATS)), ())


def _beat(random: np.random.Generator) -> Beat:
    changes: Channels = {}
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
    """Return an upper arm outside or in front of its shoulder, with the elbow bent forward."""
    upper = random.normal([0.5, -0.2, -0.3], [0.4, 0.5, 0.7])
    upper[0] = max(upper[0], -0.25)
    fore = upper / np.linalg.norm(upper) + random.uniform(0.1, 2.2) * _unit(random.normal([-0.3, -0.8, 0.2], 0.7))
    fingers = _unit(fore) + random.normal(0, 0.25, 3)
    palm = np.cross(fingers, random.normal(0, 1, 3))
    return Arm(*((x, y, z) for x, y, z in (upper, fore, fingers, palm)))


def _legs(random: np.random.Generator) -> Channels:
    """Return a stance, wide or narrow, deep or upright; sometimes one foot is lifted, forward, aside or back."""
    feet = {side: np.array(FEET[side]) + random.normal(0, [0.08, 0.12, 0, 0.2]) for side in FEET}
    for foot in feet.values():
        foot[0] = max(foot[0], 0.06)
    if random.random() < _LIFT:
        feet[random.choice(list(feet))] += [*random.normal(0, [0.15, 0.3]), random.uniform(0.05, 0.55), 0.0]
    deep = 0.008 + random.exponential(0.08)
    changes: Channels = {side: tuple(foot) for side, foot in feet.items()}
    return changes | {"root": (random.normal(0, 0.05), random.normal(0, 0.05), min(deep, 0.45), random.normal(0, 0.4))}


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
