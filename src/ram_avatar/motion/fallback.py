"""What the avatar does while the driver is not seen: it stays as it was, then comes to rest, and never jumps.

Parts of a driver come and go: hands leave the picture, faces turn away. What a tracker says of a lost part is a
guess.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..body.anatomy import anatomy_of
from ..body.kinematics import Kinematics
from ..body.template import FINGERS, SIDES, BodyTemplate
from .limbs import norm, swing
from .motion import Frame

Array = NDArray[np.float64]
_LOST, _FOUND = 0.1, 0.3  # confidence below which a part is lost, and above which it is found again
_PATIENCE = (1.0, 0.3, 0.3, 0.3)  # seconds for which a lost part stays as it was: body, hands, face
_REST = 0.5  # seconds: time constant of coming to rest
_RETURN = 0.4  # seconds in which a part that is found again goes to where the driver has it
_FORGET = 0.2  # seconds after which one that was lost has to be gone back to in full time
# Directions of hanging arms, the left one's; world axes of the reference pose.
_HANGING = {"upper_arm": (0.27, 0.03, -1.0), "forearm": (0.14, -0.30, -1.0)}


class Fallback:
    """Frames of a driver with what is lost held, then at rest.

    Args:
        kinematics: of the driver's body.
    """

    def __init__(self, template: BodyTemplate, kinematics: Kinematics):
        roles = template.pose_roles
        of = lambda prefixes, side="": [  # noqa: E731
            i for i, role in enumerate(roles) if role is not None and role.startswith(prefixes) and role.endswith(side)
        ]
        hands, eyes = [of(FINGERS, side) for side in SIDES], of("eye")
        body = sorted(set(range(len(roles))) - {*hands[0], *hands[1], *eyes})
        self._rest = at_ease(template, kinematics)  # [P, 3]
        self._joints = [np.array(each) for each in (body, *hands, eyes)]  # by part
        self._presence = [_Presence(patience) for patience in _PATIENCE]
        self._last: Frame | None = None

    def step(self, frame: Frame, seconds: float, face_at_rest: Array | None) -> Frame:
        """The driver's next frame, with what is lost replaced.

        Args:
            seconds: since the last frame.
            face_at_rest: [A]; zeros without.
        """
        if self._last is None:
            self._last = self._at_rest(frame, frame, face_at_rest)
            for presence, confidence in zip(self._presence, frame.confidence, strict=True):
                presence.begin(confidence)
        gains = [p.advance(c, seconds) for p, c in zip(self._presence, frame.confidence, strict=True)]
        if all(p.present and gain == 1.0 for p, gain in zip(self._presence, gains, strict=True)):
            self._last = frame
            return frame
        rest = self._at_rest(self._last, frame, face_at_rest)
        pose = frame.pose.copy()
        for joints, presence, gain in zip(self._joints, self._presence, gains, strict=True):
            if presence.present and gain == 1.0:
                continue
            goal = frame.pose if presence.present else rest.pose
            pose[joints] = toward(self._last.pose[joints], goal[joints], gain)
        made = replace(frame, pose=pose)
        for part, names in ((0, ("root_rotation", "root_translation")), (3, ("facial_actions",))):
            presence, gain = self._presence[part], gains[part]
            if presence.present and gain == 1.0:
                continue
            goal = frame if presence.present else rest
            for name in names:
                mix = toward if name == "root_rotation" else mixed
                setattr(made, name, mix(getattr(self._last, name), getattr(goal, name), gain))
        self._last = made
        return made

    def _at_rest(self, last: Frame, frame: Frame, face: Array | None) -> Frame:
        """Upright, where and in the direction that it was last, arms and fingers relaxed."""
        forward = Rotation.from_rotvec(last.root_rotation).apply([0.0, -1.0, 0.0])
        yaw = math.atan2(forward[0], -forward[1])
        return Frame(
            root_rotation=np.array([0.0, 0.0, yaw]),
            root_translation=last.root_translation,
            pose=self._rest,
            facial_actions=np.zeros_like(frame.facial_actions) if face is None else face,
            confidence=frame.confidence,
        )


class _Presence:
    """Whether a part is seen, and how far to go to where it should be, frame by frame."""

    def __init__(self, patience: float):
        self._patience = patience
        self.present = True
        self._follow = 1.0  # how far it is back with the driver, 0 to 1
        self._gone = 0.0  # seconds

    def begin(self, confidence: float) -> None:
        """The first frame: what is not there has been gone for long."""
        self.present = confidence > _LOST
        self._follow, self._gone = (1.0, 0.0) if self.present else (0.0, math.inf)

    def advance(self, confidence: float, seconds: float) -> float:
        """The share of the way to go now: to the driver's if `present`, else to rest."""
        self.present = confidence > (_LOST if self.present else _FOUND)
        if not self.present:
            self._follow = max(0.0, self._follow - seconds / _FORGET)
            self._gone += seconds
            # Sets in softly, over as long again as it held still.
            onset = eased(min(max(self._gone / self._patience - 1.0, 0.0), 1.0))
            return onset * (1.0 - math.exp(-seconds / _REST))
        self._gone = 0.0
        left = 1.0 - eased(self._follow)
        self._follow = min(1.0, self._follow + seconds / _RETURN)
        return 1.0 if left == 0.0 else 1.0 - (1.0 - eased(self._follow)) / left


def at_ease(template: BodyTemplate, kinematics: Kinematics) -> Array:
    """[P, 3] rotation vectors of somebody who stands upright with hanging arms and relaxed hands."""
    anatomy = anatomy_of(template)
    pose = anatomy.to_pose(anatomy.relaxed).double().numpy()
    at = lambda role, side: kinematics.reference[kinematics.index(template.roles[f"{role}.{side}"])]  # noqa: E731
    for side, flip in zip(SIDES, (1.0, -1.0), strict=True):
        carried = np.eye(3)
        for bone, end in (("upper_arm", "forearm"), ("forearm", "hand")):
            wanted = np.array(_HANGING[bone]) * [flip, 1.0, 1.0]
            turn = swing(at(end, side) - at(bone, side), wanted / norm(wanted))
            row = template.pose_joints.index(template.roles[f"{bone}.{side}"])
            pose[row] = Rotation.from_matrix(carried.T @ turn).as_rotvec()
            carried = turn
    return pose


def eased(fraction: float) -> float:
    """From 0 to 1, setting in and ending softly."""
    return fraction * fraction * (3.0 - 2.0 * fraction)


def toward(start: Array, end: Array, share: float) -> Array:
    """Rotation vectors [..., 3], a share of the way from one turn to another."""
    if share == 0.0:
        return start
    first = Rotation.from_rotvec(start)
    way = (first.inv() * Rotation.from_rotvec(end)).as_rotvec()
    return (first * Rotation.from_rotvec(share * way)).as_rotvec()


def mixed(start: Array, end: Array, share: float) -> Array:
    return start + share * (end - start)
