"""Hands in small images: keep the fingers of the surface texture. Not part of the paper.

Where a hand is twenty pixels wide and a finger two, the fit is off by about a finger's width, and the network learns
noise or a mitten. The surface texture has clean fingers, so the network only shades them and leaves their outline
alone. In training it may do more: otherwise it would overshoot its limits, and the blur of a moving hand, which it must
explain somehow, would end up in the fingers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .layers import local_max, local_mean


@dataclass(frozen=True)
class HandRule:
    """What the network may change near finger bones.

    Attributes:
        near: width of the band about a finger bone that counts as near, as a share of the image size.
        shaded_by: share of the smoothed network colours that is added there.
        paints_beyond: whether it may paint outside the template's outline.
    """

    near: float
    shaded_by: float
    paints_beyond: bool


TRAINING = HandRule(near=9 / 256, shaded_by=1.0, paints_beyond=True)
DRAWING = HandRule(near=13 / 256, shaded_by=0.5, paints_beyond=False)
SHADED_OVER = 9 / 256
"""Width of the box filter, applied twice, that smooths the network's colours there; a share of the image size."""


def keep_hands(
    image: Tensor, outline: Tensor, mask: Tensor, hands: Tensor, size: int, rule: HandRule
) -> tuple[Tensor, Tensor]:
    """Limit what the network adds to the surface colours and to the alpha logit near finger bones.

    Args:
        image: [B, 3 or 4, h, w] added colours, and the alpha logit if there is one.
        outline: [B, 1, h, w] the coverage mask with soft edges.
        mask: [B, 1, h, w] the coverage mask.
        hands: [B, 5, h, w] the hand map.
        size: of the whole image, of which these may be a crop.

    Returns:
        The image and the outline. Far from bones they are unchanged. Near bones the colours are smoothed and scaled by
        the rule, alpha inside the mask is never below the template's, and the outline is the mask with its sharp edges.
    """
    near = _near_bones(hands, rule.near, size)
    color, logit, width = image[:, :3], image[:, 3:], _odd(SHADED_OVER * size)
    shade = rule.shaded_by * local_mean(local_mean(color, width), width)
    surer = torch.where(mask > 0, logit.clamp(min=0), logit if rule.paints_beyond else logit.clamp(max=0))
    image = torch.cat([torch.lerp(color, shade, near), torch.lerp(logit, surer, near)], 1)
    return image, torch.lerp(outline, mask, near)


def _near_bones(hands: Tensor, within: float, size: int) -> Tensor:
    """Return [B, 1, h, w] in [0, 1], 1 near the bones of a hand map."""
    return local_mean(local_max(hands.amax(1, keepdim=True), _odd(within * size)), 3)


def _odd(width: float) -> int:
    return int(width) // 2 * 2 + 1
