"""Where the avatar's body is, and that its feet stand where the driver's stand.

Height: while a foot stands, the lowest point of the avatar is on its floor; else it is as high over it as the driver's
lowest is over the driver's, by the scale of the legs. So who stands stands, who kneels kneels, and jumps stay jumps.
The driver's floor is not one height: a tracker errs in it by how far off the person is. It is the lowest that the
driver was for as long as a jump lasts.

Way: from the driver's way through the room, scaled by the legs, feet of other proportions would slide. A heel or ball
of a foot that stands still in the driver is held where it came down; the root takes what feet that stand have in
common, and forgets it slowly; the legs bend by the rest. Nothing is corrected at the moment in which a foot comes
down, so nothing jumps.

Legs of the driver that are not seen say nothing of this. While one of them is not, its foot is not held. While both
are not, the avatar stands still on both feet and its hips sway over them by a little; only a driver who goes away takes
them along.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from ...body.kinematics import Kinematics, PosedJoints
from ...body.sampling import farthest_points
from ...body.template import SIDES, BodyTemplate
from ..limbs import LEG, Limb, norm

Array = NDArray[np.float64]
_SOLE = 0.02  # metres over the lowest vertex of a foot: its sole
_BODY_POINTS = 100  # of the body, which are sought for its lowest
_STANDS, _GOES = 0.35, 0.60  # metres a second, of a leg of one metre: a point that stands, and one that goes again
_HIGHEST = 0.15  # of the leg's length: a point higher over the floor does not stand on it
_STILL = 0.04  # seconds: time constant of the speeds
_CREEP = 0.01  # metres that a standing foot may creep in the driver, who has a tracker's noise
_SWAY = 0.01  # of the leg's length: how far the hips and the feet may part (half a degree) while no leg is seen
_ROOM = 0.3  # of the leg's length: how far a driver may go whose legs are not seen before the avatar follows
_RELEASE = 0.25  # seconds in which a foot that goes again comes back to where the pose has it
_SHIFT = 0.15  # seconds in which the weight of the root's correction goes to a foot
_FORGET = 3.0  # seconds: time constant of the root's correction
_FLOATS = 0.008  # metres that a standing foot may be farther over the other than in the driver
_LOWER, _LOWER_MOST = 0.1, 0.08  # seconds (time constant) and metres: how a foot that floats is lowered
_JUMP = 0.6  # seconds: what is off the floor for longer is no jump
_LEVEL = 0.3  # seconds: time constant of the driver's floor
_LANDS, _LEAVES = 0.15, 0.03  # seconds: time constants of taking the avatar for standing, or not


class Footing:
    """The place of an avatar in its room, frame by frame.

    Args:
        source, target: of the driver and of the avatar.
        scale: metres of the avatar by those of the driver.
        floors: heights of the driver's and of the avatar's floor.
        lock: hold feet that stand.
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
        self._stand: Array | None = None  # [2] where the avatar stands while no leg of the driver is seen
        self._held = np.zeros(2)  # by how much less than the driver the hips go meanwhile

    def step(
        self,
        driver: PosedJoints,
        local: Array,
        place: Array,
        seconds: float,
        seen: tuple[bool, bool] = (True, True),
    ) -> tuple[PosedJoints, Array]:
        """The avatar's joints in its room, and [3] the position of its root.

        Args:
            driver: the driver's joints.
            local: [n, 3, 3] turns of the avatar's joints relative to their parents; those of the legs are changed.
            place: [2] where the avatar's root is to be, x and y.
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
                foot.imagine(contacts, lowest, alone=any(seen))
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
        """Keep the avatar where it stands while no leg of the driver is seen."""
        if seen:
            self._root, self._held, self._stand = self._root + self._held, np.zeros(2), None
            return
        if self._stand is None:
            self._stand = place
        away = shortened(place - self._stand, _ROOM * self._leg_length)
        self._stand = place - away
        self._held = shortened(away, _SWAY * self._leg_length) - away

    def _hold(self, heights: Array, here: Array, seconds: float) -> None:
        """Find out how far every foot is to be from where the pose has it, and the root with them.

        Args:
            heights: [4] of the driver's heels and balls over the driver's lowest point.
            here: points of the avatar where the pose has them.
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
    """The driver's floor where the driver is now."""

    def __init__(self, height: float):
        self.height = height
        self._recent = deque([(0.0, height)])  # seconds and lowest heights
        self._time, self._standing = 0.0, 0.0

    def step(self, lowest: float, stands: bool, seconds: float) -> float:
        """How far the driver is over it, metres.

        Args:
            lowest: height of the driver's lowest point.
            stands: whether a foot does.
        """
        self._time += seconds
        if len(self._recent) == 1:  # the first frame: nobody was ever lower
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
    """The heel or the ball of a foot."""

    before: Array | None = None  # [3] where it was, of the driver
    speed: Array = field(default_factory=lambda: np.zeros(3))  # [3] of the driver's, smoothed while it stands
    stands: bool = False
    start: Array | None = None  # [2] where it came down, of the driver
    anchor: Array | None = None  # [2] where the avatar's stands
    shift: Array = field(default_factory=lambda: np.zeros(2))  # [2] from where the pose has it to there
    share: float = 0.0  # 1 while it stands, then going to 0


class _Foot:
    def __init__(self, leg: Limb, scale: float, leg_length: float):
        self.leg, self._scale, self._length = leg, scale, leg_length
        self._slack = _SWAY * scale * leg_length
        self._contacts = [_Contact(), _Contact()]
        self.shift = np.zeros(2)  # of the whole foot, horizontal
        self.lower = 0.0  # and vertical, at most 0
        self.weight = 0.0  # in the root's correction
        self._imagined = False  # whether it stands though nobody sees it

    @property
    def stands(self) -> bool:
        return any(contact.stands for contact in self._contacts)

    def look(self, driver: Array, floor: float, seconds: float) -> None:
        """Which contacts [2, 3] of the driver stand."""
        if self._imagined:  # those that stand go on from where they are
            self._imagined = False
            for contact, point in zip(self._contacts, driver, strict=True):
                contact.start = point[:2]
        newer = 1.0 - math.exp(-seconds / _STILL)
        for contact, point in zip(self._contacts, driver, strict=True):
            speed = (point - (point if contact.before is None else contact.before)) / seconds
            contact.before = point
            if contact.stands:  # one wrong frame does not end it
                contact.speed = contact.speed + newer * (speed - contact.speed)
            else:  # a foot that comes down stops at once
                contact.speed = speed
            limit = (_GOES if contact.stands else _STANDS) * self._length
            stands = norm(contact.speed) < limit and point[2] - floor < _HIGHEST * self._length
            if stands and not contact.stands:
                contact.start = contact.anchor = None
            contact.stands = stands

    def imagine(self, driver: Array, lowest: float, alone: bool) -> None:
        """Contacts [2, 3] of a leg that nobody sees stand, unless it is alone in that: then the other one is all that
        counts.

        Args:
            lowest: height of the driver's lowest point.
        """
        self._imagined = not alone
        for contact, point in zip(self._contacts, driver, strict=True):
            stands = not alone and point[2] - lowest < _HIGHEST * self._length
            if stands and not contact.stands:
                contact.start = contact.anchor = None
            contact.before, contact.speed, contact.stands = point, np.zeros(3), stands

    def follow(self, here: Array, gaps: Array, root: Array, seconds: float) -> Array:
        """[2] by how much the shift of what stands has changed.

        Args:
            here: [2, 3] where the pose has the contacts.
            gaps: [2] how much farther over the lowest point they are than the driver's.
            root: [2] the root's correction.
        """
        changes = []
        for contact, point in zip(self._contacts, here[:, :2], strict=True):
            if not contact.stands:
                contact.share = max(0.0, contact.share - seconds / _RELEASE)
                continue
            if contact.anchor is None:
                contact.start, contact.anchor = contact.before[:2], point + self.shift
                contact.shift = self.shift
                for other in self._contacts:  # this one goes on from where they have brought the foot
                    other.share = other.share if other.stands and other.anchor is not None else 0.0
            if self._imagined:
                contact.anchor = point + root + shortened(contact.anchor - point - root, self._slack)
            else:
                crept = self._scale * (contact.before[:2] - contact.start)
                drag = crept - shortened(crept, self._scale * _CREEP)  # along at the end of its slack
                contact.start = contact.start + drag / self._scale
                contact.anchor = contact.anchor + drag
            shift = contact.anchor - point
            if not self._imagined:
                changes.append(shift - contact.shift)
            contact.shift, contact.share = shift, 1.0
        self.weight = min(max(self.weight + (seconds if changes else -seconds) / _SHIFT, 0.0), 1.0)
        floating = min((gap for contact, gap in zip(self._contacts, gaps, strict=True) if contact.stands), default=0.0)
        goal = -min(max(floating - _FLOATS, 0.0), _LOWER_MOST)
        self.lower += (1.0 - math.exp(-seconds / _LOWER)) * (goal - self.lower)
        return np.mean(changes, 0) if changes else np.zeros(2)

    def settle(self, root: Array) -> None:
        """The shift of the whole foot, the root's correction given."""
        shares = [c.share * c.share * (3.0 - 2.0 * c.share) for c in self._contacts]
        total = sum(shares)
        held = sum(share * c.shift for share, c in zip(shares, self._contacts, strict=True))
        self.shift = (held + max(0.0, 1.0 - total) * root) / max(1.0, total)


def shortened(vector: Array, longest: float) -> Array:
    """Return a vector at its length, or at the longest that there may be."""
    length = norm(vector)
    return vector if length <= longest else vector * (longest / length)


def heels_and_balls(template: BodyTemplate) -> list[list[int]]:
    """The vertices of the left foot's heel and ball, and of the right's."""
    vertices, groups = _reference(template), []
    for foot in _feet(template):
        sole = foot[vertices[foot, 2] < vertices[foot, 2].min() + _SOLE]
        along = vertices[sole, 1]  # the heel is at the back
        share = (along.max() - along) / np.ptp(along)
        groups += [sole[share < 0.15].tolist(), sole[(share > 0.6) & (share < 0.8)].tolist()]
    return groups


def lowest_candidates(template: BodyTemplate) -> tuple[list[list[int]], list[list[int]]]:
    """Single vertices, one of which is about the lowest in any pose: of the feet, and of the whole body."""
    vertices = _reference(template)
    feet = [foot[ConvexHull(vertices[foot]).vertices] for foot in _feet(template)]  # rigid, but for toes, which rest
    skin = np.flatnonzero((template.skin_weights > 0).any(1).cpu().numpy())
    body = farthest_points(vertices, skin, _BODY_POINTS) + template.fingertips[:, 0].tolist()
    return [[vertex] for vertex in np.concatenate(feet).tolist()], [[vertex] for vertex in body]


def _feet(template: BodyTemplate) -> list[NDArray[np.intp]]:
    weights = [template.role_weight(f"foot.{side}", f"toes.{side}") for side in SIDES]
    return [np.flatnonzero((weight > 0.9).cpu().numpy()) for weight in weights]


def _reference(template: BodyTemplate) -> Array:
    """[V, 3] of an average body in the reference pose."""
    return template.body(template.default_identity()).reference_vertices().double().cpu().numpy()
