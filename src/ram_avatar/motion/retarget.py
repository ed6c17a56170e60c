"""A driver's motion on somebody else's body and place."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..body.template import Body, BodyTemplate
from .motion import Motion

_POSED_AT_ONCE = 32
_SHARE = 0.05  # of the frames: extremes that do not count as the floor


@dataclass(frozen=True)
class Placement:
    """Where a person stands in their video, and how tall they are; metres, world axes."""

    x: float
    y: float
    floor: float  # height (z) of the soles when they stand
    leg_length: float  # hip to ankle, at the reference pose

    @classmethod
    def of(cls, motion: Motion, template: BodyTemplate, identity: Tensor) -> "Placement":
        """Read off a motion that was tracked with this identity."""
        body = template.body(identity)
        middle = motion.root_translation.median(0).values
        lowest = _lowest(body, motion)
        return cls(
            x=float(middle[0]),
            y=float(middle[1]),
            floor=float(lowest.quantile(_SHARE)),
            leg_length=_leg_length(template, body),
        )


def retarget(driver: Motion, source: Placement, target: Placement, keep_place: bool = False) -> Motion:
    """The driver's pose, hands, face and way through the room, at the target's scale and place.

    Angles carry over, since both bodies are of one template. The way is scaled by the legs, so that a step
    stays a step, and measured from where each of the two stands; feet go to the target's floor.

    Args:
        source: the driver's own placement (`Placement.of`).
        keep_place: stay where the target stands: the height changes, but there is no walking.
    """
    scale = target.leg_length / source.leg_length
    way = (driver.root_translation - driver.root_translation.new_tensor([source.x, source.y, source.floor])) * scale
    if keep_place:
        way = way * way.new_tensor([0.0, 0.0, 1.0])
    here = way.new_tensor([target.x, target.y, target.floor])
    return replace(driver, root_translation=way + here)


@torch.no_grad()
def _lowest(body: Body, motion: Motion) -> Tensor:
    """[N] height of the lowest vertex."""
    posed = (body.pose(*part.parameters()) for part in motion.batches(_POSED_AT_ONCE))
    return torch.cat([each.vertices[..., 2].amin(1) for each in posed])


def _leg_length(template: BodyTemplate, body: Body) -> float:
    joints = body.at_reference().joints[0, :, :3, 3]
    hip, knee, ankle = (joints[template.joint_of(f"{role}.L")] for role in ("thigh", "shin", "foot"))
    return float((hip - knee).norm() + (knee - ankle).norm())
