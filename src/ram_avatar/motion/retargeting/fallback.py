"""What the avatar does while parts of the driver are unseen: holds still, then rests, without jumps.

Hands leave the frame, faces turn away, legs are behind a desk. A tracker's output for such parts is a guess.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...body.kinematics import Kinematics
from ...body.template import FINGERS, SIDES, BodyTemplate
from ..motion import LIMBS, PARTS, Frame
from ..resting import (
    at_ease,
    eased,
    limb_rows,
    seat,
    seated,
    standing_axes,
)

Array = NDArray[np.float64]
_LOST, _FOUND = 0.1, 0.3  # confidence below which a part is lost, and above which it is found again
# Seconds for which each lost part is held.
_PATIENCE = (1.0, 0.3, 0.3, 0.3, *[1.0] * len(LIMBS))
_REST = 0.5  # seconds: time constant of moving to rest
_RETURN = 0.4  # seconds of the transition back to the driver
_FORGET = 0.2  # seconds of loss after which the transition back takes its full time
_SITS_WITHIN = 1.0  # seconds: time constant of detecting whether visible legs are seated
_BODY, _FACE = PARTS.index("body"), PARTS.index("face")
_LEGS = ("left_leg", "right_leg")


class Fallback:
    """Replaces the lost parts of a driver's frames: holds them, then brings them to rest.

    A limb is lost with the body or on its own. It is held, and rests, relative to the room rather than the trunk: an
    unseen leg stands still while the hips sway. It stands, unless the legs that were last seen were seated.

    Args:
        kinematics: the driver's body.
    """

    def __init__(self, template: BodyTemplate, kinematics: Kinematics):
        roles = template.pose_roles
        of = lambda prefixes, side="": [
            i for i, role in enumerate(roles) if role is not None and role.startswith(prefixes) and role.endswith(side)
        ]
        hands, eyes = [of(FINGERS, side) for side in SIDES], of("eye")
        limbs = limb_rows(template)
        body = sorted(set(range(len(roles))) - {*hands[0], *hands[1], *eyes, *(row for limb in limbs for row in limb)})
        self._template, self._kinematics = template, kinematics
        self._standing = at_ease(template, kinematics)  # [P, 3]
        self._joints = [np.array(each) for each in (body, *hands, eyes)]  # of the parts that are not limbs
        self._limbs = {name: _Limb(kinematics, rows) for name, rows in zip(LIMBS, limbs, strict=True)}
        thighs = [template.roles[f"thigh.{side}"] for side in SIDES], [template.roles[f"shin.{side}"] for side in SIDES]
        starts, ends = (kinematics.reference[[kinematics.index(joint) for joint in joints]] for joints in thighs)
        self._thighs = (ends - starts) / np.linalg.norm(ends - starts, axis=1, keepdims=True)  # [2, 3]
        self._presence = {part: _Presence(patience) for part, patience in zip(PARTS, _PATIENCE, strict=True)}
        self._sits: float | None = None  # how far the legs are seated, 0 to 1; None before any leg is seen
        self._last: Frame | None = None

    @property
    def legs_seen(self) -> tuple[bool, bool]:
        """Whether the driver's left and right leg were seen in the last frame."""
        left, right = (self._presence[leg].present for leg in _LEGS)
        return left, right

    def step(self, frame: Frame, seconds: float, face_at_rest: Array | None) -> Frame:
        """Return the driver's next frame, with lost parts replaced.

        Args:
            seconds: since the last frame.
            face_at_rest: [A]; None for zeros.
        """
        gains = self._look(frame, seconds, first=self._last is None)
        self._watch_legs(frame, seconds)
        last = self._at_rest(frame, frame, face_at_rest) if self._last is None else self._last
        followed = {part for part, presence in self._presence.items() if presence.present and gains[part] == 1.0}
        if len(followed) == len(PARTS):
            self._last = frame
            return frame
        rest = self._at_rest(last, frame, face_at_rest)
        made = replace(frame, pose=frame.pose.copy())
        for part, joints in zip(PARTS, self._joints, strict=False):
            if part not in followed:
                goal = frame if self._presence[part].present else rest
                made.pose[joints] = toward(last.pose[joints], goal.pose[joints], gains[part])
        for part, names in ((PARTS[_BODY], ("root_rotation", "root_translation")), (PARTS[_FACE], ("facial_actions",))):
            if part not in followed:
                goal = frame if self._presence[part].present else rest
                for name in names:
                    mix = toward if name == "root_rotation" else mixed
                    setattr(made, name, mix(getattr(last, name), getattr(goal, name), gains[part]))
        for name, limb in self._limbs.items():
            if self._presence[name].present:
                limb.found()
                if name not in followed:
                    limb.follow(last, made, gains[name])
            else:
                limb.rest(last, made, rest.pose, gains[name])
        self._last = made
        return made

    def _look(self, frame: Frame, seconds: float, first: bool) -> dict[str, float]:
        """Update which parts are present; return the fraction of the way that each moves in this frame."""
        gains = {}
        for part, confidence in zip(PARTS, frame.confidence.tolist(), strict=True):
            presence = self._presence[part]
            if part in self._limbs and not self._presence["body"].present:
                confidence = 0.0
            if first:
                presence.begin(confidence)
            gains[part] = presence.advance(confidence, seconds)
        return gains

    def _watch_legs(self, frame: Frame, seconds: float) -> None:
        """Track whether visible legs are seated."""
        seen = np.array(self.legs_seen)
        if not seen.any():
            return
        root = Rotation.from_rotvec(frame.root_rotation)
        thighs = [Rotation.from_rotvec(frame.pose[self._limbs[leg].rows[0]]).apply(along)
                  for leg, along in zip(_LEGS, self._thighs, strict=True)]  # fmt: skip
        told = float(seated(standing_axes(frame.root_rotation).inv().apply(root.apply(thighs)))[seen].mean())
        share = 1.0 - math.exp(-seconds / _SITS_WITHIN)
        self._sits = told if self._sits is None else self._sits + share * (told - self._sits)

    def _at_rest(self, last: Frame, frame: Frame, face: Array | None) -> Frame:
        """Return the driver at rest: standing or sitting at the last place, same heading, arms and fingers relaxed."""
        forward = Rotation.from_rotvec(last.root_rotation).apply([0.0, -1.0, 0.0])
        yaw = math.atan2(forward[0], -forward[1])
        return Frame(
            root_rotation=np.array([0.0, 0.0, yaw]),
            root_translation=last.root_translation,
            pose=seat(self._standing, self._template, self._sits) if self._sits else self._standing,
            facial_actions=np.zeros_like(frame.facial_actions) if face is None else face,
            confidence=frame.confidence,
        )


class _Limb:
    """An arm or a leg, held relative to the room while it is lost.

    Args:
        rows: its joints among the pose joints, from the trunk outward.
    """

    def __init__(self, kinematics: Kinematics, rows: list[int]):
        self._kinematics, self.rows = kinematics, np.array(rows)
        self._parent = kinematics.parents[kinematics.pose_indices[rows[0]]]
        self._held: Rotation | None = None  # while lost: rotation of its first bone in the axes that limbs rest in

    def found(self) -> None:
        """Note that the limb is seen."""
        self._held = None

    def follow(self, last: Frame, made: Frame, gain: float) -> None:
        """Move a fraction of the way from the last frame to the driver's limb in `made`, which is changed."""
        made.pose[self.rows] = toward(last.pose[self.rows], made.pose[self.rows], gain)

    def rest(self, last: Frame, made: Frame, rest: Array, gain: float) -> None:
        """Move a fraction of the way from the last frame to rest. `made`, whose trunk is final, is changed.

        Args:
            rest: [P, 3] pose at rest of an upright person.
        """
        first, others = self.rows[0], self.rows[1:]
        if self._held is None:
            self._held = standing_axes(last.root_rotation).inv() * self._carried(last)
            self._held = self._held * Rotation.from_rotvec(last.pose[first])
        way = (self._held.inv() * Rotation.from_rotvec(rest[first])).as_rotvec()
        self._held = self._held * Rotation.from_rotvec(gain * way)
        turn = self._carried(made).inv() * standing_axes(made.root_rotation) * self._held
        made.pose[first] = turn.as_rotvec()
        made.pose[others] = toward(last.pose[others], rest[others], gain)

    def _carried(self, frame: Frame) -> Rotation:
        """Return the world rotation of the joint that the limb hangs on."""
        joints = self._kinematics.pose(frame.root_rotation, frame.root_translation, frame.pose)
        return Rotation.from_matrix(joints.turns[self._parent])


class _Presence:
    """Tracks whether a part is seen, and how far to move to its goal in each frame."""

    def __init__(self, patience: float):
        self._patience = patience
        self.present = True
        self._follow = 1.0  # progress of the transition back to the driver, 0 to 1
        self._gone = 0.0  # seconds for which it has been lost

    def begin(self, confidence: float) -> None:
        """Start with the first frame: a part that is not seen counts as long lost."""
        self.present = confidence > _LOST
        self._follow, self._gone = (1.0, 0.0) if self.present else (0.0, math.inf)

    def advance(self, confidence: float, seconds: float) -> float:
        """Return the fraction of the way to move now: to the driver's part if `present`, else to rest."""
        self.present = confidence > (_LOST if self.present else _FOUND)
        if not self.present:
            self._follow = max(0.0, self._follow - seconds / _FORGET)
            self._gone += seconds
            # Sets in softly, over as long as it was held.
            onset = eased(min(max(self._gone / self._patience - 1.0, 0.0), 1.0))
            return onset * (1.0 - math.exp(-seconds / _REST))
        self._gone = 0.0
        left = 1.0 - eased(self._follow)
        self._follow = min(1.0, self._follow + seconds / _RETURN)
        return 1.0 if left == 0.0 else 1.0 - (1.0 - eased(self._follow)) / left


def toward(start: Array, end: Array, share: float) -> Array:
    """Return rotation vectors [..., 3] a fraction of the way from `start` to `end`."""
    if share == 0.0:
        return start
    first = Rotation.from_rotvec(start)
    way = (first.inv() * Rotation.from_rotvec(end)).as_rotvec()
    return (first * Rotation.from_rotvec(share * way)).as_rotvec()


def mixed(start: Array, end: Array, share: float) -> Array:
    """Interpolate linearly."""
    return start + share * (end - start)
