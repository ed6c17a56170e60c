"""Hands of small pictures: what the surface texture shows of them is kept.

Where a hand is twenty pixels wide and a finger two, the fit is off by as much as a finger is wide, and what is learned
of fingers is noise, or a mitten. The surface texture has clean ones: the network only shades them, and leaves their
outline as it is. While it trains it may do more: else it shouts over its limits, and the blur of a moving hand, which
it has to explain somehow, gets into the fingers. Not of the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .layers import local_max, local_mean


@dataclass(frozen=True)
class HandRule:
    """What a network may do near finger bones.

    Attributes:
        near: of the picture's size: what is within half of this of a finger's bone is near.
        shaded_by: how much of its colours, smoothed, is added there.
        paints_beyond: whether it may show what is outside of the template's outline.
    """

    near: float
    shaded_by: float
    paints_beyond: bool


TRAINING = HandRule(near=9 / 256, shaded_by=1.0, paints_beyond=True)
DRAWING = HandRule(near=13 / 256, shaded_by=0.5, paints_beyond=False)
SHADED_OVER = 9 / 256
"""Of the picture's size: width of the squares, twice, that the network's colours are averaged over there."""


def keep_hands(
    image: Tensor, outline: Tensor, mask: Tensor, hands: Tensor, size: int, rule: HandRule
) -> tuple[Tensor, Tensor]:
    """What a network adds to the surface colours and to the logit of alpha, as it may near finger bones.

    Args:
        image: [B, 3 or 4, h, w] added colours, and the logit where there is one.
        outline: [B, 1, h, w] the coverage mask with soft edges.
        mask: [B, 1, h, w] the coverage mask.
        hands: [B, 5, h, w] the hand map.
        size: of the whole picture, of which these may be a part.

    Returns:
        The image and the outline: far from bones as they were; near them the rule's share of the colours, smoothed, an
        alpha that inside of the mask is never less than the template's, and the template's edges as sharp as they are.
    """
    near = _near_bones(hands, rule.near, size)
    color, logit, width = image[:, :3], image[:, 3:], _odd(SHADED_OVER * size)
    shade = rule.shaded_by * local_mean(local_mean(color, width), width)
    surer = torch.where(mask > 0, logit.clamp(min=0), logit if rule.paints_beyond else logit.clamp(max=0))
    image = torch.cat([torch.lerp(color, shade, near), torch.lerp(logit, surer, near)], 1)
    return image, torch.lerp(outline, mask, near)


def _near_bones(hands: Tensor, within: float, size: int) -> Tensor:
    """[B, 1, h, w] in [0, 1], 1 near what a hand map shows."""
    return local_mean(local_max(hands.amax(1, keepdim=True), _odd(within * size)), 3)


def _odd(width: float) -> int:
    return int(width) // 2 * 2 + 1
