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


def near_bones(hands: Tensor, size: int, rule: HandRule) -> Tensor:
    """Return [B, 1, h, w] in [0, 1], 1 near the bones of a hand map [B, 5, h, w].

    Args:
        size: of the whole image, of which the map may be a crop.
    """
    return local_mean(local_max(hands.amax(1, keepdim=True), _odd(rule.near * size)), 3)


def shade_hands(color: Tensor, near: Tensor, size: int, rule: HandRule) -> Tensor:
    """Smooth and scale the colours [B, 3, h, w] that the network adds near bones [B, 1, h, w].

    Args:
        size: of the whole image, of which these may be a crop.
    """
    width = _odd(SHADED_OVER * size)
    return torch.lerp(color, rule.shaded_by * local_mean(local_mean(color, width), width), near)


def limit_at_hands(logit: Tensor, mask: Tensor, near: Tensor, rule: HandRule) -> Tensor:
    """Limit what the network adds to alpha's logit near bones: within the mask, alpha is at least the outline's.

    Args:
        logit, mask, near: [B, 1, h, w], of any one size.
    """
    surer = torch.where(mask > 0, logit.clamp(min=0), logit if rule.paints_beyond else logit.clamp(max=0))
    return torch.lerp(logit, surer, near)


def _odd(width: float) -> int:
    return int(width) // 2 * 2 + 1
