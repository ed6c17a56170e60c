"""Key poses of the performances, and the route of the one that walks.

Channels: `left_arm` and `right_arm` (`Arm`); `left_hand` and `right_hand` (`Hand`); `torso` and `head` (rotation
vectors in radians: x bows forward, y leans to the person's right, z turns left); `root` (metres left, back and down
from standing upright, then radians turned left); `left_foot` and `right_foot` (metres outward from the middle, back
and up, then radians turned outward).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .posing import Arm, Hand

Channels = dict[str, Any]
"""Values by channel; see the module."""

# Arms ----------------------------------------------------------------------------------------------------
RELAXED = Arm((0.27, 0.03, -1), (0.14, -0.30, -1), (0.04, -0.2, -1), (-1, -0.25, 0))
OUT = Arm((1, -0.15, 0.02), (1, -0.28, 0.12), (1, -0.22, 0.05), (0, -1, 0.1))
HIGH = Arm((0.9, -0.2, 0.42), (0.36, -0.3, 0.9), (0.3, -0.2, 1), (-0.1, -1, 0.1))
GREET_OUT = Arm((0.8, -0.3, -0.6), (0.5, -0.4, 0.85), (0.4, -0.15, 1), (0, -1, 0.1))
GREET_IN = Arm((0.75, -0.35, -0.65), (0.05, -0.45, 0.9), (-0.12, -0.15, 1), (0.1, -1, 0.1))
SHOW = Arm((0.45, -0.3, -0.9), (0.08, -0.75, 0.62), (0.02, -0.15, 1), (0, -1, 0.1))
OFFER = Arm((0.45, -0.3, -0.9), (0.55, -0.9, -0.02), (0.55, -0.9, 0.1), (0.1, 0.15, 1))
FRONT = Arm((0.35, -0.75, -0.5), (0.1, -0.9, 0.45), (0.0, -0.35, 0.95), (0, -1, -0.3))
POINT = Arm((0.7, -0.4, -0.35), (0.85, -0.55, 0.3), (0.85, -0.5, 0.35), (0, -0.6, -0.8))
POINT_UP = Arm((0.8, -0.35, 0.1), (0.35, -0.3, 0.95), (0.25, -0.2, 1), (0, -1, 0.1))
THUMB = Arm((0.45, -0.35, -0.85), (0.02, -0.95, 0.28), (-0.45, -0.9, 0.1), (-0.85, 0.45, 0.1))
FLEX = Arm((1, -0.15, 0.05), (0.1, -0.2, 1), (0.0, -0.1, 1), (-0.6, -0.8, 0))
WAVE_LOW = Arm((0.9, -0.2, -0.35), (0.95, -0.35, -0.1), (0.9, -0.3, -0.45), (0.1, -0.9, -0.3))
WAVE_HIGH = Arm((1, -0.2, 0.2), (0.8, -0.3, 0.5), (0.9, -0.3, 0.1), (0, -0.9, -0.2))
SWING_FORE = Arm((0.35, -0.45, -0.9), (0.02, -0.8, -0.3), (-0.1, -0.9, -0.1), (-0.9, 0.1, -0.2))
SWING_BACK = Arm((0.4, 0.35, -0.9), (0.25, -0.2, -1), (0.1, -0.2, -1), (-1, -0.2, 0))
TALK_DOWN = Arm((0.26, -0.06, -1), (0.16, -0.42, -1), (0.08, -0.62, -0.8), (-0.8, -0.3, 0.45))
TALK_OUT = Arm((0.33, -0.08, -1), (0.3, -0.3, -1), (0.36, -0.45, -0.8), (-0.35, -0.75, 0.35))
STRIDE_FORE = Arm((0.22, -0.36, -1), (0.02, -0.75, -0.85), (-0.02, -0.65, -0.85), (-1, -0.1, 0))
STRIDE_BACK = Arm((0.28, 0.42, -1), (0.2, 0.1, -1), (0.12, 0.15, -1), (-1, -0.25, 0))

# Hands: thumb, index, middle, ring, little ------------------------------------------------------------
SOFT = Hand(0.3, 0.22, 0.28, 0.32, 0.34)
LOOSE = Hand(0.12, 0.1, 0.12, 0.16, 0.2, spread=0.6)
OPEN = Hand(0.0, 0.02, 0.02, 0.02, 0.04, spread=0.9)
FIST = Hand(1.0, 1.0, 1.0, 1.0, 1.0)
ONE = Hand(1.0, 0.0, 1.0, 1.0, 1.0)
TWO = Hand(1.0, 0.0, 0.0, 1.0, 1.0, spread=1.6)
THREE = Hand(1.0, 0.0, 0.0, 0.0, 1.0, spread=0.9)
FOUR = Hand(1.0, 0.0, 0.0, 0.0, 0.0, spread=0.9)
THUMBS_UP = Hand(0.0, 0.95, 0.95, 0.95, 0.95)

FEET: Channels = {"left_foot": (0.115, 0.0, 0.0, 0.2), "right_foot": (0.115, 0.0, 0.0, 0.2)}
STANCE: Channels = {
    "left_arm": RELAXED, "right_arm": RELAXED, "left_hand": SOFT, "right_hand": SOFT,
    "torso": (0, 0, 0), "head": (0, 0, 0), "root": (0, 0, 0.008, 0), **FEET,
}  # fmt: skip
RESTING: Channels = {"left_arm": RELAXED, "right_arm": RELAXED, "left_hand": SOFT, "right_hand": SOFT}


@dataclass(frozen=True)
class Beat:
    """A step to the next key pose: which channels change, and in how many seconds."""

    seconds: float
    changes: Channels = field(default_factory=dict)


@dataclass(frozen=True)
class Expression:
    """Facial actions that fade in and out. A name ending in `*` stands for its left and right action."""

    start: float
    seconds: float
    actions: dict[str, float]
    ease: float = 0.3

    def weights(self) -> Iterator[tuple[str, float]]:
        """Yield each action with its weight."""
        for name, weight in self.actions.items():
            for side in ("Left", "Right") if name.endswith("*") else ("",):
                yield name.rstrip("*") + side, weight


@dataclass(frozen=True)
class Waypoint:
    """Position of a walk at a time; x and y are world coordinates with the camera at the origin."""

    seconds: float
    x: float
    y: float
    facing: float
    """Degrees turned to the left from facing along -y, where the camera is."""


@dataclass(frozen=True)
class Script:
    """A performance; a `route` replaces the channels of root and feet."""

    beats: tuple[Beat, ...]
    expressions: tuple[Expression, ...]
    route: tuple[Waypoint, ...] = ()


def both(arm: Arm, hand: Hand) -> Channels:
    """Return the same pose for both arms."""
    return {"left_arm": arm, "right_arm": arm, "left_hand": hand, "right_hand": hand}


def left(arm: Arm, hand: Hand) -> Channels:
    """Return a pose of the left arm."""
    return {"left_arm": arm, "left_hand": hand}


def right(arm: Arm, hand: Hand) -> Channels:
    """Return a pose of the right arm."""
    return {"right_arm": arm, "right_hand": hand}


def talk(start: float, syllables: str) -> tuple[Expression, ...]:
    """Return speech, six syllables per second: vowels, `m` for closed lips, a space for a pause."""
    shapes = {
        "a": {"jawOpen": 0.5, "mouthLowerDown*": 0.25},
        "e": {"jawOpen": 0.22, "mouthSmile*": 0.25, "mouthStretch*": 0.3, "mouthUpperUp*": 0.2},
        "i": {"jawOpen": 0.12, "mouthSmile*": 0.4, "mouthStretch*": 0.35},
        "o": {"jawOpen": 0.38, "mouthFunnel": 0.75},
        "u": {"jawOpen": 0.12, "mouthPucker": 0.85},
        "m": {"mouthPress*": 0.45, "mouthRollLower": 0.2},
    }
    return tuple(
        Expression(start + k / 6, 0.3, shapes[letter], ease=0.14) for k, letter in enumerate(syllables) if letter != " "
    )


AT_EASE = {"mouthSmile*": 0.3, "cheekSquint*": 0.1, "eyeWide*": 0.12, "browOuterUp*": 0.08}
SMILE = {"mouthSmile*": 0.9, "cheekSquint*": 0.3, "mouthDimple*": 0.3}
LAUGH = {"mouthSmile*": 1.0, "jawOpen": 0.32, "cheekSquint*": 0.5, "eyeSquint*": 0.15, "mouthUpperUp*": 0.3}
SURPRISE = {"browInnerUp": 0.9, "browOuterUp*": 0.9, "eyeWide*": 0.6, "jawOpen": 0.45, "mouthFunnel": 0.3}
FROWN = {"browDown*": 0.9, "mouthFrown*": 0.6, "noseSneer*": 0.3, "eyeSquint*": 0.4}
KISS = {"mouthPucker": 1.0, "mouthFunnel": 0.2}
CHEEKS = {"cheekPuff": 1.0, "mouthPucker": 0.4}

TRAINING = Script(
    beats=(
        Beat(0.5),
        Beat(0.8, {**both(OUT, OPEN), "root": (0.03, 0, 0.01, 0)}),
        Beat(0.9, {**both(HIGH, OPEN), "head": (-0.12, 0, 0)}),
        Beat(0.9, {**RESTING, **left(GREET_OUT, OPEN), "head": (0, 0.06, 0.15), "root": (-0.05, 0, 0.01, 0)}),
        Beat(0.4, left(GREET_IN, OPEN)),
        Beat(0.4, left(GREET_OUT, OPEN)),
        Beat(0.4, left(GREET_IN, OPEN)),
        Beat(
            0.8,
            {
                **left(RELAXED, SOFT),
                **right(GREET_OUT, OPEN),
                "head": (0, -0.06, -0.15),
                "root": (0.05, 0, 0.01, 0),
            },
        ),
        Beat(0.4, right(GREET_IN, OPEN)),
        Beat(0.4, right(GREET_OUT, OPEN)),
        Beat(0.8, {**both(SHOW, FIST), "head": (0.05, 0, 0), "root": (0, 0, 0.01, 0)}),
        Beat(0.4, {"right_hand": ONE}),
        Beat(0.4, {"right_hand": TWO, "left_hand": ONE}),
        Beat(0.4, {"right_hand": THREE, "left_hand": TWO}),
        Beat(0.4, {"right_hand": FOUR, "left_hand": THREE}),
        Beat(0.5, {"right_hand": OPEN, "left_hand": OPEN}),
        Beat(
            0.8,
            {**both(OFFER, SOFT), "torso": (0, 0, 0.45), "root": (0, 0, 0.02, 0.15), "head": (0, 0, -0.2)},
        ),
        Beat(0.9, {"torso": (0, 0, -0.45), "root": (0, 0, 0.02, -0.15), "head": (0, 0, 0.2)}),
        Beat(0.7, {**RESTING, "torso": (0, 0, 0), "root": (0, 0, 0.01, 0), "head": (0, 0, 0.5)}),
        Beat(0.7, {"head": (0, 0, -0.5)}),
        Beat(0.5, {"head": (0.25, 0, 0)}),
        Beat(0.5, {"head": (-0.2, 0, 0)}),
        Beat(0.8, {**both(FRONT, OPEN), "head": (0, 0, 0), "torso": (0.18, 0, 0), "root": (0, 0.04, 0.22, 0)}),
        Beat(0.7, {**RESTING, "torso": (0, 0, 0), "root": (0, 0, 0.01, 0)}),
        Beat(0.3, {"left_foot": (0.2, 0, 0.07, 0.3), "root": (0.0, 0, 0.01, 0)}),
        Beat(0.3, {"left_foot": (0.28, 0, 0, 0.3), "root": (0.1, 0, 0.03, 0), "torso": (0, 0.12, 0)}),
        Beat(0.8, {**both(FLEX, FIST), "torso": (0, 0, 0), "root": (0.09, 0, 0.05, 0)}),
        Beat(0.3, {"left_foot": (0.2, 0, 0.07, 0.3), "root": (0.04, 0, 0.01, 0)}),
        Beat(0.7, {**RESTING, **FEET, "root": (0, 0, 0.008, 0)}),
        Beat(0.5),
    ),
    expressions=(
        Expression(0.6, 1.6, SMILE),
        *talk(2.4, "a e omi"),
        Expression(3.8, 1.2, LAUGH),
        *talk(5.2, "ua mei o"),
        *talk(6.9, "oa e ui a oi "),
        Expression(9.4, 1.1, SURPRISE),
        Expression(10.6, 1.0, FROWN),
        Expression(11.7, 0.8, KISS),
        Expression(12.6, 0.8, CHEEKS),
        *talk(13.5, "ae oum ia"),
        Expression(15.1, 1.6, LAUGH),
        Expression(16.9, 0.9, {"mouthLeft": 0.6, "browOuterUpLeft": 0.9}),
        Expression(17.8, 0.2, {"mouthSmile*": 0.2}, ease=0.1),
    ),
)

DRIVING = Script(
    beats=(
        Beat(0.5, {"root": (-0.04, 0, 0.03, 0), "torso": (0, 0.08, 0)}),
        Beat(
            0.65,
            {
                **left(WAVE_HIGH, OPEN),
                **right(WAVE_LOW, OPEN),
                "root": (0.05, 0, 0.03, 0),
                "torso": (0, -0.1, 0),
            },
        ),
        Beat(
            0.5,
            {
                **left(WAVE_LOW, OPEN),
                **right(WAVE_HIGH, OPEN),
                "root": (-0.05, 0, 0.03, 0),
                "torso": (0, 0.1, 0),
            },
        ),
        Beat(
            0.5,
            {
                **left(WAVE_HIGH, OPEN),
                **right(WAVE_LOW, OPEN),
                "root": (0.05, 0, 0.03, 0),
                "torso": (0, -0.1, 0),
            },
        ),
        Beat(0.6, {**left(RELAXED, SOFT), **right(POINT, ONE), "torso": (0, 0, -0.25), "head": (0, 0, -0.3)}),
        Beat(0.6, {**right(RELAXED, SOFT), **left(POINT, ONE), "torso": (0, 0, 0.25), "head": (0, 0, 0.3)}),
        Beat(
            0.7,
            {
                **RESTING,
                **right(THUMB, THUMBS_UP),
                "torso": (0, 0, 0),
                "head": (0, 0.1, 0),
                "root": (0, 0, 0.01, 0),
            },
        ),
        Beat(0.4, {"head": (0.15, 0.1, 0)}),
        Beat(0.6, {**right(RELAXED, SOFT), **left(SHOW, TWO), "head": (0, -0.12, 0)}),
        Beat(0.4),
        Beat(
            0.5,
            {
                **left(SWING_FORE, FIST),
                **right(SWING_BACK, FIST),
                "torso": (0.05, 0, -0.3),
                "root": (0.05, 0, 0.1, 0),
                "head": (0, 0, 0.2),
            },
        ),
        Beat(
            0.5,
            {
                **right(SWING_FORE, FIST),
                **left(SWING_BACK, FIST),
                "torso": (0.05, 0, 0.3),
                "root": (-0.05, 0, 0.1, 0),
                "head": (0, 0, -0.2),
            },
        ),
        Beat(
            0.5,
            {
                **left(SWING_FORE, FIST),
                **right(SWING_BACK, FIST),
                "torso": (0.05, 0, -0.3),
                "root": (0.05, 0, 0.1, 0),
                "head": (0, 0, 0.2),
            },
        ),
        Beat(
            0.7,
            {
                **RESTING,
                **right(POINT_UP, ONE),
                "torso": (0, 0.08, 0),
                "root": (-0.05, 0, 0.02, 0),
                "head": (0, 0, 0),
            },
        ),
        Beat(
            0.6,
            {
                **right(RELAXED, SOFT),
                **left(POINT_UP, ONE),
                "torso": (0, -0.08, 0),
                "root": (0.05, 0, 0.02, 0),
            },
        ),
        Beat(0.3, {"right_foot": (0.2, 0, 0.07, 0.3), "root": (0, 0, 0.01, 0)}),
        Beat(0.3, {"right_foot": (0.27, 0, 0, 0.3), "root": (-0.08, 0, 0.06, 0), "torso": (0, 0, 0)}),
        Beat(0.7, both(OUT, OPEN)),
        Beat(0.6, {**both(FRONT, OPEN), "root": (-0.08, 0, 0.15, 0), "torso": (0.1, 0, 0)}),
        Beat(0.6, {**both(HIGH, FIST), "root": (-0.06, 0, 0.02, 0), "torso": (0, 0, 0), "head": (-0.12, 0, 0)}),
        Beat(0.3, {"right_foot": (0.2, 0, 0.07, 0.3), "root": (0, 0, 0.01, 0), "head": (0, 0, 0)}),
        Beat(0.5, {**both(GREET_IN, OPEN), **FEET, "root": (0, 0, 0.01, 0)}),
        Beat(0.4, both(GREET_OUT, OPEN)),
        Beat(0.8, {**RESTING, "root": (0, 0, 0.008, 0)}),
    ),
    expressions=(
        Expression(0.3, 1.9, LAUGH),
        Expression(2.3, 0.8, {"browOuterUpLeft": 1.0, "mouthLeft": 0.5}),
        Expression(2.9, 0.9, SURPRISE),
        Expression(3.9, 1.2, SMILE),
        Expression(4.2, 0.5, {"eyeBlinkLeft": 1.0}, ease=0.15),
        Expression(5.2, 0.9, KISS),
        *talk(6.1, "i oa eu m"),
        Expression(7.6, 1.0, FROWN),
        *talk(8.7, "mauo ei"),
        Expression(9.8, 1.3, SURPRISE),
        Expression(11.2, 1.5, LAUGH),
    ),
)

# From the middle past the left edge until half of a square frame's person is outside, across to the right, up to the
# camera, where little more than the upper body is visible, and backwards to the start.
WALKING = Script(
    beats=(
        Beat(9.3),
        Beat(0.5, right(GREET_OUT, OPEN)),
        Beat(0.3, right(GREET_IN, OPEN)),
        Beat(0.3, right(GREET_OUT, OPEN)),
        Beat(0.6, right(RELAXED, SOFT)),
        Beat(3.0),
    ),
    expressions=(
        Expression(3.0, 1.4, SMILE),
        *talk(4.7, "ae i oma"),
        Expression(7.6, 1.0, SURPRISE),
        Expression(9.2, 1.6, LAUGH),
        *talk(12.2, "o ua e"),
        Expression(13.8, 0.2, {"mouthSmile*": 0.2}, ease=0.1),
    ),
    route=(
        Waypoint(0.0, 0.1, 4.4, 0),
        Waypoint(0.9, 0.1, 4.4, 0),
        Waypoint(1.6, -0.15, 4.3, -60),
        Waypoint(2.9, -1.13, 4.0, -70),
        Waypoint(3.2, -1.2, 3.95, -55),
        Waypoint(4.3, -1.08, 3.97, 65),
        Waypoint(6.6, 0.8, 4.3, 75),
        Waypoint(7.5, 0.8, 4.0, -15),
        Waypoint(9.3, 0.05, 2.5, 0),
        Waypoint(10.1, 0.05, 2.5, 0),
        Waypoint(12.6, 0.1, 4.4, 0),
        Waypoint(14.0, 0.1, 4.4, 0),
    ),
)

# What most people film of themselves, in 11 seconds: standing and talking, with no bone of the arms farther than 30
# degrees from the body's axis.
NARROW = Script(
    beats=(
        Beat(0.7, {"head": (0.05, 0, 0.08), "root": (0.015, 0, 0.008, 0)}),
        Beat(0.5, {**right(TALK_DOWN, LOOSE), "head": (-0.04, 0.04, -0.06)}),
        Beat(0.4, {**right(TALK_OUT, LOOSE), "head": (0.07, 0.04, -0.04)}),
        Beat(0.6, {**right(RELAXED, SOFT), "head": (0, 0, 0.1), "root": (-0.02, 0, 0.01, 0)}),
        Beat(1.0, {"torso": (0, 0, 0.15), "root": (-0.01, 0, 0.012, 0.25), "head": (0.02, 0, 0.12)}),
        Beat(0.5, {**left(TALK_OUT, LOOSE), "head": (0.07, -0.03, 0.04)}),
        Beat(0.5, {**left(RELAXED, SOFT), "head": (-0.05, 0, -0.1)}),
        Beat(1.3, {"torso": (0, 0, -0.15), "root": (0.02, 0, 0.012, -0.25), "head": (0, 0, -0.12)}),
        Beat(0.5, {"head": (0.1, 0.03, 0.02)}),
        Beat(0.4, {"head": (-0.04, 0, 0.04)}),
        Beat(1.0, {"torso": (0, 0, 0), "root": (0, 0, 0.008, 0), "head": (0, 0, 0)}),
        Beat(0.5, {**both(TALK_DOWN, LOOSE), "head": (0.06, 0, 0)}),
        Beat(0.4, {**both(TALK_OUT, LOOSE), "head": (-0.03, -0.04, 0.05)}),
        Beat(0.4, {**both(TALK_DOWN, SOFT), "head": (0.04, 0, -0.05)}),
        Beat(0.7, {**RESTING, "head": (0, 0.05, 0.15)}),
        Beat(0.6, {"head": (0, -0.04, -0.15)}),
        Beat(0.6, {"head": (0, 0, 0)}),
        Beat(0.4),
    ),
    expressions=(
        Expression(0.2, 0.8, SMILE),
        *talk(1.0, "ae oma ie u"),
        Expression(2.9, 0.8, {"browOuterUp*": 0.7, "browInnerUp": 0.5}),
        *talk(3.3, "oa mei ua e"),
        Expression(5.2, 1.1, SMILE),
        *talk(5.9, "iu aem o"),
        *talk(7.4, "ea ou mai e oa"),
        Expression(9.8, 0.9, LAUGH),
        Expression(10.8, 0.2, {"mouthSmile*": 0.2}, ease=0.1),
    ),
)

PERFORMANCES = {"training": TRAINING, "driving": DRIVING, "walking": WALKING, "narrow": NARROW}
