"""Placement of the avatar's body: its height and position, with its feet planted where the driver's are.

Height: while a foot stands, the avatar's lowest point is on its floor; otherwise it is as high above it as the driver's
is above the driver's floor, scaled by leg length. So standing, kneeling and jumping stay what they are. The driver's
floor is not at one height, since trackers err in height with distance: it is the lowest height of the driver within
the time of a jump.

Position: if the driver's path were merely scaled by leg length, feet of other proportions would slide. So a heel or
ball of a foot that is planted in the driver is held where it came down. The root takes the shift that planted feet
share, and slowly forgets it; the legs take the rest. Nothing is corrected in the frame in which a foot comes down, so
nothing jumps.

Unseen legs provide no contacts. While one leg is unseen, its foot is not held. While both are, the avatar stands still
on both feet and its hips sway only slightly; it follows only a driver who walks away.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from ...body.kinematics import Kinematics, PosedJoints
from ...body.sampling import farthest_points
from ...body.template import SIDES, BodyTemplate
from ..limbs import LEG, Limb, norm

Array = NDArray[np.float64]
_SOLE = 0.02  # metres above a foot's lowest vertex: the sole
_BODY_POINTS = 100  # surface points among which the body's lowest is sought
_STANDS, _GOES = 0.35, 0.60  # metres per second, for a leg of one metre: below it stands, above it moves again
_HIGHEST = 0.15  # of the leg length: points higher above the floor do not stand
_STILL = 0.04  # seconds: time constant of speeds
_CREEP = 0.01  # metres that a planted foot may creep in the driver, who has a tracker's noise
_SWAY = 0.01  # of the leg length: how far hips and feet may part (half a degree) while no leg is seen
_ROOM = 0.3  # of the leg length: how far a driver with unseen legs may move before the avatar follows
_RELEASE = 0.25  # seconds in which a foot that lifts off returns to the pose
_SHIFT = 0.15  # seconds in which the weight of the root's correction passes to a foot
_FORGET = 3.0  # seconds: time constant of the root's correction
_FLOATS = 0.008  # metres that a planted foot may be higher above the other than in the driver
_LOWER, _LOWER_MOST = 0.1, 0.08  # seconds (time constant) and metres (limit) of lowering a floating foot
_JUMP = 0.6  # seconds: longest time off the floor in a jump
_LEVEL = 0.3  # seconds: time constant of the driver's floor
_LANDS, _LEAVES = 0.15, 0.03  # seconds: time constants of deciding that the driver stands, or does not


class Footing:
    """Places an avatar in its room, frame by frame.

    Args:
        source: the driver.
        target: the avatar.
        scale: avatar metres per driver metre.
        floors: heights of the driver's and of the avatar's floor.
        lock: hold planted feet.
    """

    def __init__(
        self,
        template: BodyTemplate,
        source: Kinematics,
        target: Kinematics,
        scale: float,
        floors: tuple[float, float],
        lock: bool = True,
    ):
        self._target, self._scale, self._lock = target, scale, lock
        self._ground, self._floor = _Ground(floors[0]), floors[1]
        groups = [heels_and_balls(template), *lowest_candidates(template)]
        self._source_points, self._target_points = ([k.vertices(group) for group in groups] for k in (source, target))
        leg_length = abs(float(source.reference[source.index(template.roles["foot.L"]), 2]))
        self._feet = [_Foot(Limb(target, template, LEG, side), scale, leg_length) for side in SIDES]
        self._leg_length = scale * leg_length
        self._root = np.zeros(2)
        self._stand: Array | None = None  # [2] where the avatar stands while none of the driver's legs is seen
        self._held = np.zeros(2)  # shift of the hips from the driver's path meanwhile

    def step(
        self,
        driver: PosedJoints,
        local: Array,
        place: Array,
        seconds: float,
        seen: tuple[bool, bool] = (True, True),
    ) -> tuple[PosedJoints, Array]:
        """Return the avatar's joints in its room, and the position of its root [3].

        Args:
            driver: the driver's joints.
            local: [n, 3, 3] local rotations of the avatar's joints; the legs' are changed in place.
            place: [2] intended x and y of the avatar's root.
            seconds: since the last frame.
            seen: whether the driver's left and right leg are.
        """
        points = np.concatenate([points.at(driver) for points in self._source_points])
        lowest = float(points[:, 2].min())
        for k, foot in enumerate(self._feet):
            contacts = points[2 * k : 2 * k + 2]
            if seen[k]:
                foot.look(contacts, self._ground.height, seconds)
            else:
                foot.assume(contacts, lowest, alone=any(seen))
        above = self._ground.step(lowest, any(foot.stands for foot in self._feet), seconds)
        root = np.array([*place, 0.0])
        joints = self._target.chain(local, root)
        here = np.concatenate([points.at(joints) for points in self._target_points])
        root[2] = self._floor + self._scale * above - here[:, 2].min()
        if not self._lock:
            joints.positions[:, 2] += root[2]
            return joints, root
        self._stay(place, any(seen))
        self._hold(points[:4, 2] - lowest, here, seconds)
        moved = self._root + self._held
        root[:2] += moved
        shifts = [np.array([*(foot.shift - moved), foot.lower]) for foot in self._feet]
        joints.positions[:] += [*moved, root[2]]
        if max(norm(shift) for shift in shifts) < 1e-6:
            return joints, root
        for foot, shift in zip(self._feet, shifts, strict=True):
            foot.leg.reach(local, joints, shift)
        return self._target.chain(local, root), root

    def _stay(self, place: Array, seen: bool) -> None:
        """Keep the avatar where it stands while none of the driver's legs is seen."""
        if seen:
            self._root, self._held, self._stand = self._root + self._held, np.zeros(2), None
            return
        if self._stand is None:
            self._stand = place
        away = shortened(place - self._stand, _ROOM * self._leg_length)
        self._stand = place - away
        self._held = shortened(away, _SWAY * self._leg_length) - away

    def _hold(self, heights: Array, here: Array, seconds: float) -> None:
        """Update the shift of each foot from the pose, and of the root with them.

        Args:
            heights: [4] of the driver's heels and balls above the driver's lowest point.
            here: points of the avatar in the pose.
        """
        moved, weights, lowest = np.zeros(2), 0.0, here[:, 2].min()
        for k, foot in enumerate(self._feet):
            rows = slice(2 * k, 2 * k + 2)
            gaps = here[rows, 2] - lowest - self._scale * heights[rows]
            change = foot.follow(here[rows], gaps, self._root + self._held, seconds)
            weights += foot.weight
            moved += foot.weight * change
        if weights:
            self._root = self._root + moved / weights
        self._root = self._root * math.exp(-seconds / _FORGET)
        for foot in self._feet:
            foot.settle(self._root + self._held)


class _Ground:
    """The height of the floor at the driver's position."""

    def __init__(self, height: float):
        self.height = height
        self._recent = deque([(0.0, height)])  # times in seconds, and lowest heights
        self._time, self._standing = 0.0, 0.0

    def step(self, lowest: float, stands: bool, seconds: float) -> float:
        """Return the driver's height above the floor, metres.

        Args:
            lowest: height of the driver's lowest point.
            stands: whether a foot is planted.
        """
        self._time += seconds
        if len(self._recent) == 1:  # the first frame cannot be above anything seen before
            self.height = min(self.height, lowest)
        self._recent.append((self._time, lowest))
        while self._recent[0][0] < self._time - _JUMP:
            self._recent.popleft()
        level = min(height for _, height in self._recent)
        self.height += (1.0 - math.exp(-seconds / _LEVEL)) * (level - self.height)
        pace = _LANDS if stands else _LEAVES
        self._standing += (1.0 - math.exp(-seconds / pace)) * (float(stands) - self._standing)
        return (1.0 - self._standing) * max(lowest - self.height, 0.0)


@dataclass
class _Contact:
    """The heel or the ball of a foot, in the driver and in the avatar."""

    before: Array | None = None  # [3] the driver's last position
    speed: Array = field(default_factory=lambda: np.zeros(3))  # [3] the driver's velocity, smoothed while it stands
    stands: bool = False
    start: Array = field(default_factory=lambda: np.zeros(2))  # [2] where the driver's came down
    anchor: Array | None = None  # [2] where the avatar's stands
    shift: Array = field(default_factory=lambda: np.zeros(2))  # [2] from the pose to there
    share: float = 0.0  # 1 while it stands, then fading to 0


class _Foot:
    """A foot of the avatar, planted where the driver's is."""

    def __init__(self, leg: Limb, scale: float, leg_length: float):
        self.leg, self._scale, self._length = leg, scale, leg_length
        self._slack = _SWAY * scale * leg_length
        self._contacts = [_Contact(), _Contact()]
        self.shift = np.zeros(2)  # horizontal, of the whole foot
        self.lower = 0.0  # vertical, at most 0
        self.weight = 0.0  # in the root's correction
        self._assumed = False  # whether it is assumed to stand, though unseen

    @property
    def stands(self) -> bool:
        """Whether its heel or its ball is planted."""
        return any(contact.stands for contact in self._contacts)

    def look(self, driver: Array, floor: float, seconds: float) -> None:
        """Find out which of the driver's contacts [2, 3] stand."""
        if self._assumed:  # contacts that stand continue from where they are
            self._assumed = False
            for contact, point in zip(self._contacts, driver, strict=True):
                contact.start = point[:2]
        newer = 1.0 - math.exp(-seconds / _STILL)
        for contact, point in zip(self._contacts, driver, strict=True):
            speed = (point - (point if contact.before is None else contact.before)) / seconds
            contact.before = point
            if contact.stands:  # smoothed: one wrong frame does not lift it
                contact.speed = contact.speed + newer * (speed - contact.speed)
            else:  # a foot that comes down stops at once
                contact.speed = speed
            limit = (_GOES if contact.stands else _STANDS) * self._length
            stands = norm(contact.speed) < limit and point[2] - floor < _HIGHEST * self._length
            if stands and not contact.stands:
                contact.anchor = None
            contact.stands = stands

    def assume(self, driver: Array, lowest: float, alone: bool) -> None:
        """Assume that the contacts [2, 3] of an unseen leg stand, unless the other leg is seen and counts alone.

        Args:
            lowest: height of the driver's lowest point.
            alone: whether the other leg is seen.
        """
        self._assumed = not alone
        for contact, point in zip(self._contacts, driver, strict=True):
            stands = not alone and point[2] - lowest < _HIGHEST * self._length
            if stands and not contact.stands:
                contact.anchor = None
            contact.before, contact.speed, contact.stands = point, np.zeros(3), stands

    def follow(self, here: Array, gaps: Array, root: Array, seconds: float) -> Array:
        """Update the shifts of planted contacts and return their mean change [2].

        Args:
            here: [2, 3] contacts in the pose.
            gaps: [2] how much higher above the lowest point they are than the driver's.
            root: [2] the root's correction.
        """
        changes = []
        for contact, point in zip(self._contacts, here[:, :2], strict=True):
            if not contact.stands:
                contact.share = max(0.0, contact.share - seconds / _RELEASE)
                continue
            assert contact.before is not None  # set by `look` or `assume`
            if contact.anchor is None:
                contact.start, contact.anchor = contact.before[:2], point + self.shift
                contact.shift = self.shift
                for other in self._contacts:  # continue from the shift that they gave the foot
                    other.share = other.share if other.stands and other.anchor is not None else 0.0
            if self._assumed:
                contact.anchor = point + root + shortened(contact.anchor - point - root, self._slack)
            else:
                crept = self._scale * (contact.before[:2] - contact.start)
                drag = crept - shortened(crept, self._scale * _CREEP)  # follows beyond the allowed creep
                contact.start = contact.start + drag / self._scale
                contact.anchor = contact.anchor + drag
            shift = contact.anchor - point
            if not self._assumed:
                changes.append(shift - contact.shift)
            contact.shift, contact.share = shift, 1.0
        self.weight = min(max(self.weight + (seconds if changes else -seconds) / _SHIFT, 0.0), 1.0)
        floating = min((gap for contact, gap in zip(self._contacts, gaps, strict=True) if contact.stands), default=0.0)
        goal = -min(max(floating - _FLOATS, 0.0), _LOWER_MOST)
        self.lower += (1.0 - math.exp(-seconds / _LOWER)) * (goal - self.lower)
        return np.mean(changes, 0) if changes else np.zeros(2)

    def settle(self, root: Array) -> None:
        """Blend the shift of the whole foot, given the root's correction."""
        shares = [c.share * c.share * (3.0 - 2.0 * c.share) for c in self._contacts]
        total = sum(shares)
        held = sum(share * c.shift for share, c in zip(shares, self._contacts, strict=True))
        self.shift = (held + max(0.0, 1.0 - total) * root) / max(1.0, total)


def shortened(vector: Array, longest: float) -> Array:
    """Return a vector, shortened to a maximum length."""
    length = norm(vector)
    return vector if length <= longest else vector * (longest / length)


def heels_and_balls(template: BodyTemplate) -> list[list[int]]:
    """Return the vertices of the left foot's heel and ball, and of the right's."""
    vertices, groups = _reference(template), []
    for foot in _feet(template):
        sole = foot[vertices[foot, 2] < vertices[foot, 2].min() + _SOLE]
        along = vertices[sole, 1]  # the heel is at the back
        share = (along.max() - along) / np.ptp(along)
        groups += [sole[share < 0.15].tolist(), sole[(share > 0.6) & (share < 0.8)].tolist()]
    return groups


def lowest_candidates(template: BodyTemplate) -> tuple[list[list[int]], list[list[int]]]:
    """Return single vertices, about the lowest in any pose is among them: of the feet, and of the whole body."""
    vertices = _reference(template)
    feet = [foot[ConvexHull(vertices[foot]).vertices] for foot in _feet(template)]  # rigid, except for resting toes
    skin = np.flatnonzero((template.skin_weights > 0).any(1).cpu().numpy())
    body = skin[farthest_points(torch.from_numpy(vertices[skin]), _BODY_POINTS).numpy()].tolist()
    body += template.fingertips[:, 0].tolist()
    return [[vertex] for vertex in np.concatenate(feet).tolist()], [[vertex] for vertex in body]


def _feet(template: BodyTemplate) -> list[NDArray[np.intp]]:
    weights = [template.role_weight(f"foot.{side}", f"toes.{side}") for side in SIDES]
    return [np.flatnonzero((weight > 0.9).cpu().numpy()) for weight in weights]


def _reference(template: BodyTemplate) -> Array:
    """Return the vertices [V, 3] of an average body in the reference pose."""
    return template.body(template.default_identity()).reference_vertices().double().cpu().numpy()
