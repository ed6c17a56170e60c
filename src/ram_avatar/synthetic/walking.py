"""Turns a route into a walk: positions of pelvis and feet, and the swing of trunk and arms.

The body follows the route, and the feet alternate at a steady rate. A foot lands where the body will be in the middle
of its stance and stays there until it is lifted, so it never slides, whatever the route. If the body stands still, the
next footprint equals the current one, and the foot is not lifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from scipy.spatial.transform import Rotation

from .choreography import (
    RELAXED,
    STRIDE_BACK,
    STRIDE_FORE,
    Waypoint,
)
from .posing import Array, Feet, Skeleton

STEP = 0.5  # seconds between the middles of successive stances of the two feet
STANCE = 0.6  # share of a stride (two steps) during which a foot is on the floor
RATE = 100  # samples per second of the walk; frames are interpolated
STRIDE = 0.9  # metres; stride length at which feet roll and arms swing fully
STANDING_WIDTH, WALKING_WIDTH = 0.115, 0.08  # metres from the midline to an ankle
TOES_OUT = 0.15  # radians
LIFT = 0.07  # metres, height of a foot in a long stride
SWAY, PELVIS = 0.022, 0.09  # metres towards the standing foot; radians of rotation with the leading leg

# Downward pitch of the toes in radians, from mid-stance to the next mid-stance: the heel rises, the foot leaves the
# floor at 0.3, lands on its heel at 0.7 and rolls down.
ROLL = PchipInterpolator(
    [0.0, 0.1, 0.3, 0.42, 0.64, 0.7, 0.78, 1.0], np.radians([0.0, 0.0, 33.0, 36.0, -11.0, -14.0, 0.0, 0.0])
)


@dataclass
class Walk:
    """N frames of a walk."""

    root: Array
    """[N, 4] world x and y, metres below upright, radians turned left."""
    feet: Feet
    """Ankle heights are above the floor."""
    torso: Array
    """[N, 3] rotation vectors, added to the channel."""
    head: Array
    """[N, 3], likewise."""
    arms: Array
    """[2, N, C], likewise, for the left and the right arm."""
    away: Array
    """[N, 3] rotation vectors from the direction of the camera to that of the chest."""


class Gait:
    """The walk along a route, repeated.

    Args:
        route: waypoints in order of time; the last one has the position and facing of the first. The route rests in
            its first and last 0.9 seconds and lasts a whole number of strides, so that it can repeat.
        skeleton: whose legs walk.
    """

    def __init__(self, route: Sequence[Waypoint], skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self.period = route[-1].seconds
        count = round(self.period * RATE) + 1
        self._seconds = np.linspace(0, self.period, count)
        keys = np.array([[w.x, w.y, np.radians(w.facing)] for w in route])
        path = PchipInterpolator([w.seconds for w in route], keys)(self._seconds)
        path = gaussian_filter1d(path, 0.15 * RATE, axis=0, mode="nearest")
        self._path, self._facing = path[:, :2], path[:, 2]
        self._columns = self._sample()

    def at(self, seconds: Array) -> Walk:
        """Return the walk at N times."""
        index = (seconds % self.period) * RATE
        before = np.floor(index).astype(int).clip(max=len(self._seconds) - 2)
        share = index - before
        between = lambda v: v[before] + (v[before + 1] - v[before]) * share.reshape(-1, *[1] * (v.ndim - 1))
        walk = self._columns
        feet = Feet(*(between(getattr(walk.feet, field.name)) for field in fields(Feet)))
        arms = np.stack([between(arm) for arm in walk.arms])
        return Walk(between(walk.root), feet, between(walk.torso), between(walk.head), arms, between(walk.away))

    def _sample(self) -> Walk:
        time, facing = self._seconds, self._facing
        ahead = np.stack([np.sin(facing), -np.cos(facing)], 1)
        aside = np.stack([np.cos(facing), np.sin(facing)], 1)  # to the left
        velocity = np.gradient(self._path, 1 / RATE, axis=0)
        # Share of a full stride, negative when walking backwards.
        pace = ((velocity * ahead).sum(1) * 2 * STEP / STRIDE).clip(-1, 1)
        pace = gaussian_filter1d(pace, 0.1 * RATE, mode="nearest")
        phase = np.pi * time / STEP  # a multiple of 2 pi in the middle of the left foot's stance

        feet = self._feet(np.abs(pace))
        sway = SWAY * np.abs(pace) * np.cos(phase)
        pelvis = PELVIS * pace * np.sin(phase)  # the left hip leads before the left foot lands
        place = self._path + sway[:, None] * aside
        turn = facing + pelvis
        down = self._sunk(place, turn, feet)
        root = np.column_stack([place, down, turn])

        camera = np.arctan2(-place[:, 0], place[:, 1])  # the direction that faces it
        zero = 0 * time
        look = (-0.6 * (facing - camera)).clip(-0.9, 0.9)
        torso = np.column_stack([0.05 * pace.clip(min=0), zero, -2.2 * pelvis + 0.2 * look])
        head = np.column_stack([zero, zero, 1.2 * pelvis + 0.8 * look])
        away = np.column_stack([zero, zero, turn + torso[:, 2] - camera])
        arms = np.stack([self._swing(side * pace * np.sin(phase)) for side in (1.0, -1.0)])
        return Walk(root, feet, torso, head, arms, away)

    def _feet(self, pace: Array) -> Feet:
        """Return feet that stand, roll off, swing and land."""
        count = len(self._seconds)
        ankles, yaw, pitch = np.empty((count, 2, 3)), np.empty((count, 2)), np.empty((count, 2))
        for leg, side in enumerate((1.0, -1.0)):
            stride = 2 * STEP
            number = np.floor((self._seconds - leg * STEP) / stride)
            share = (self._seconds - leg * STEP) / stride - number  # 0 in the middle of a stance, 1 of the next
            start, start_turn = self._footprint(number * stride + leg * STEP, side, pace)
            end, end_turn = self._footprint((number + 1) * stride + leg * STEP, side, pace)
            swing = ((share - STANCE / 2) / (1 - STANCE)).clip(0, 1)
            moved = swing**2 * (3 - 2 * swing)
            ground = start + (end - start) * moved[:, None]
            turn = start_turn + (end_turn - start_turn) * moved
            ahead = np.stack([np.sin(turn), -np.cos(turn)], 1)
            step = end - start
            long = ((step * ahead).sum(1) / STRIDE).clip(0, 1)  # feet roll only when walking forward
            roll = long * ROLL(share)
            far = np.linalg.norm(step, axis=1) + 0.2 * np.abs(end_turn - start_turn)
            lift = LIFT * far / (far + 0.25) * np.sin(np.pi * swing) ** 2
            forward, up = self._rolled(roll)
            ankles[:, leg, :2] = ground + forward[:, None] * ahead
            ankles[:, leg, 2] = up + lift
            yaw[:, leg], pitch[:, leg] = side * turn, roll
        return Feet(ankles, yaw, pitch)

    def _footprint(self, seconds: Array, side: float, pace: Array) -> tuple[Array, Array]:
        """Return position [N, 2] and rotation [N] of a footprint with mid-stance at the given times."""
        at = lambda values: np.interp(seconds, self._seconds, values)
        facing = at(self._facing)
        width = STANDING_WIDTH + (WALKING_WIDTH - STANDING_WIDTH) * at(pace)
        aside = np.stack([np.cos(facing), np.sin(facing)], 1)
        place = np.stack([at(self._path[:, 0]), at(self._path[:, 1])], 1)
        return place + side * width[:, None] * aside, facing + side * TOES_OUT

    def _rolled(self, pitch: Array) -> tuple[Array, Array]:
        """Return the forward offset and height of the ankle of a foot pitched over its toes or heel."""
        skeleton = self._skeleton
        pivot = np.where(pitch > 0, skeleton.toe, -skeleton.heel)  # in front of the ankle
        c, s = np.cos(pitch), np.sin(pitch)
        back, height = -pivot, skeleton.ankle_height
        return pivot + back * c + height * s, height * c - back * s

    def _sunk(self, place: Array, turn: Array, feet: Feet) -> Array:
        """Return how far the root is below upright: as little as both legs allow, smoothed."""
        skeleton = self._skeleton
        turns = Rotation.from_rotvec(np.outer(turn, [0.0, 0.0, 1.0]))
        highest = skeleton.highest_root(np.column_stack([place, 0 * turn]), turns, feet.ankles) - 0.004
        highest = np.minimum(highest, skeleton.upright - 0.01)
        # Smoothing the minima over a window never exceeds the values themselves.
        radius = round(0.12 * RATE)
        lowest = minimum_filter1d(highest, 2 * radius + 1, mode="nearest")
        return skeleton.upright - gaussian_filter1d(lowest, radius / 2, radius=radius, mode="nearest")

    def _swing(self, forward: Array) -> Array:
        """Return the change [N, C] of an arm's channel for a swing [N] from -1, fully back, to 1."""
        rest, fore, back = (self._skeleton.arm(arm).ravel() for arm in (RELAXED, STRIDE_FORE, STRIDE_BACK))
        return forward[:, None] * (fore - back) / 2 + forward[:, None] ** 2 * ((fore + back) / 2 - rest)
