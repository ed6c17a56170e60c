"""Retargeting a driver's motion to another body and place, frame by frame, without access to future frames."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...body.kinematics import Kinematics
from ...body.template import Body, BodyTemplate
from ...core.progress import SILENT, Progress, follow
from ...core.ranges import check_ranges
from ..motion import PARTS, Frame, Motion
from .contact import Contacts
from .fallback import Fallback
from .footing import Footing
from .neutral_face import NeutralFace, neutral_face
from .proportions import Proportions
from .turn_limit import limit_frame

_POSED_AT_ONCE = 32
_SAMPLED = 1000  # frames of a clip that its floor is estimated from
_SHORTEST = 1e-3  # seconds between frames; guards against clocks that stand still
_PLACEMENT_RANGES = {
    **dict.fromkeys(("x", "y", "floor"), (-1e7, 1e7)),
    "leg_length": (1e-3, 1e3),
    "neutral_face": (-100, 100),
}
_FACE_SEEN = 0.3  # confidence from which the face counts as visible


class Align(Protocol):
    """Maps a pose of the avatar's body to another one; changes only `root_rotation` and `pose`.

    Attributes:
        max_turn: largest rotation, in degrees, of any bone of the retargeted result by it; may be infinite.
    """

    max_turn: float

    def __call__(self, frame: Frame) -> Frame: ...


@dataclass(frozen=True)
class Placement:
    """Where a person stands in their video, how tall they are, and their face at rest; metres, world axes.

    Raises:
        ValueError: a value out of range.
    """

    x: float
    y: float
    floor: float  # height (z) of the soles when standing, as in most frames
    leg_length: float  # hip to ankle, at the reference pose
    neutral_face: tuple[float, ...] | None = None  # [A] facial actions at rest, if known

    @property
    def hips(self) -> np.ndarray:
        """The approximate position [3] of the hips of a person standing there."""
        return np.array([self.x, self.y, self.floor + 1.15 * self.leg_length])

    def __post_init__(self) -> None:
        if self.neutral_face is not None:
            object.__setattr__(self, "neutral_face", tuple(float(value) for value in self.neutral_face))
        check_ranges(self, _PLACEMENT_RANGES)

    @classmethod
    def of(cls, motion: Motion, template: BodyTemplate, identity: Tensor) -> "Placement":
        """Estimate the placement from a motion that was tracked with this identity."""
        body = template.body(identity)
        middle = motion.root_translation.median(0).values
        lowest = _lowest(body, motion[:: max(1, len(motion) // _SAMPLED)])
        return cls(
            x=float(middle[0]),
            y=float(middle[1]),
            floor=float(lowest.median()),
            leg_length=_leg_length(template, body),
            neutral_face=neutral_face(motion),
        )


@dataclass(frozen=True)
class Person:
    """A body and its placement: the driver or the avatar."""

    identity: Tensor  # [I]
    placement: Placement

    @classmethod
    def of(cls, motion: Motion, template: BodyTemplate, identity: Tensor) -> "Person":
        """Build the person who was tracked with this identity in this motion."""
        return cls(identity, Placement.of(motion, template, identity))


class Retargeter:
    """Transfers the driver's pose, hands, face and path to the avatar's body, scale and place.

    Works in two stages. The pose: unseen parts come to rest (`fallback`), the face is transferred relative to its rest
    (`neutral_face`), bones point where the driver's do (`proportions`), and `align` may change the pose. The place: the
    path is scaled by leg length, so that a step stays a step, and measured from where each of the two stands; feet
    stand on the avatar's floor (`footing`); hands touch what the driver's touch (`contact`).

    Args:
        template: of both bodies.
        source: the driver.
        target: the avatar.
        fps: frames per second, unless `step` gets the time.
        keep_place: stay where the target stands: height changes, but there is no walking, and feet slide.
        align: see `Align`. Its bound holds for the result, after feet and hands are placed.
    """

    def __init__(
        self,
        template: BodyTemplate,
        source: Person,
        target: Person,
        fps: float,
        *,
        keep_place: bool = False,
        align: Align | None = None,
    ):
        driver, avatar = (Kinematics(template, person.identity) for person in (source, target))
        here, there = target.placement, source.placement
        self._source, self._target = driver, avatar
        self._seconds, self._align = 1.0 / fps, align
        self._scale = here.leg_length / there.leg_length
        self._from, self._to = np.array([there.x, there.y]), np.array([here.x, here.y])
        self._keep_place = keep_place
        self._fallback = Fallback(template, driver)
        self._face = NeutralFace(there.neutral_face, here.neutral_face)
        self._proportions = Proportions(template, driver, avatar)
        self._contacts = Contacts(template, driver, avatar)

        def footing() -> Footing:
            return Footing(template, driver, avatar, self._scale, (there.floor, here.floor), lock=not keep_place)

        self._footing = footing()
        # The bound is relative to the driver's unaligned pose, placed on the floor, which needs a footing of its own.
        self._unaligned = footing() if align is not None and math.isfinite(align.max_turn) else None

    def step(self, frame: Frame, seconds: float | None = None) -> Frame:
        """Return the avatar's frame for the driver's next frame.

        Args:
            seconds: since the last frame; None for a constant rate.
        """
        seconds = self._seconds if seconds is None else max(seconds, _SHORTEST)
        driven = self._fallback.step(frame, seconds, self._face.driver_at_rest)
        seen = frame.confidence[PARTS.index("face")] > _FACE_SEEN
        posed = replace(
            driven,
            pose=self._proportions.carry(driven.pose),
            facial_actions=self._face.carry(driven.facial_actions, seen, seconds),
        )
        if self._align is None:
            return self._placed(driven, posed, self._footing, seconds)
        placed = self._placed(driven, self._align(posed), self._footing, seconds)
        if self._unaligned is None:
            return placed
        unaligned = self._placed(driven, posed, self._unaligned, seconds)
        return limit_frame(self._target, unaligned, placed, self._align.max_turn)

    def _placed(self, driven: Frame, posed: Frame, footing: Footing, seconds: float) -> Frame:
        """Place the avatar in a pose in its room."""
        driver = self._source.pose(driven.root_rotation, driven.root_translation, driven.pose)
        local = self._target.turns(posed.root_rotation, posed.pose)
        before = local.copy()
        way = self._scale * (driven.root_translation[:2] - self._from)
        place = self._to + (0.0 if self._keep_place else way)
        joints, root = footing.step(driver, local, place, seconds, self._fallback.legs_seen)
        self._contacts.step(driver, local, joints)
        return replace(posed, pose=self._target.changed(posed.pose, before, local), root_translation=root)


def retarget(
    driver: Motion,
    template: BodyTemplate,
    source: Person,
    target: Person,
    *,
    keep_place: bool = False,
    align: Align | None = None,
    progress: Progress = SILENT,
) -> Motion:
    """Retarget a whole clip. Arguments: see `Retargeter`."""
    retargeter = Retargeter(template, source, target, driver.fps, keep_place=keep_place, align=align)
    frames = follow(map(retargeter.step, driver.frames()), progress, "Retargeting", len(driver))
    return Motion.of_frames(driver.template, driver.fps, frames)


@torch.no_grad()
def _lowest(body: Body, motion: Motion) -> Tensor:
    """Return the height [N] of the lowest vertex."""
    posed = (body.pose(*part.parameters()) for part in motion.batches(_POSED_AT_ONCE))
    return torch.cat([each.vertices[..., 2].amin(1) for each in posed])


def _leg_length(template: BodyTemplate, body: Body) -> float:
    joints = body.at_reference().joints[0, :, :3, 3]
    hip, knee, ankle = (joints[template.joint_of(f"{role}.L")] for role in ("thigh", "shin", "foot"))
    return float((hip - knee).norm() + (knee - ankle).norm())
