"""Hands of small pictures: what the surface texture shows of them is kept.

Where a hand is twenty pixels wide and a finger two, the fit is off by as much as a finger is wide, and what is learned
of fingers is noise, or a mitten. The surface texture has clean ones: the network only shades them, and leaves their
outline as it is. While it trains it may do more: else it shouts over its limits, and the blur of a moving hand, which
it has to explain somehow, gets into the fingers. Not of the paper.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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
    shade = rule.shaded_by * _box(_box(color, width), width)
    surer = torch.where(mask > 0, logit.clamp(min=0), logit if rule.paints_beyond else logit.clamp(max=0))
    image = torch.cat([torch.lerp(color, shade, near), torch.lerp(logit, surer, near)], 1)
    return image, torch.lerp(outline, mask, near)


def _near_bones(hands: Tensor, within: float, size: int) -> Tensor:
    """[B, 1, h, w] in [0, 1], 1 near what a hand map shows."""
    near = hands.amax(1, keepdim=True)
    for kernel, padding in _lines(_odd(within * size)):
        near = F.max_pool2d(near, kernel, 1, padding)
    return _box(near, 3)


def _box(x: Tensor, width: int) -> Tensor:
    """Means over squares of an odd width, or what of them is in the picture."""
    for kernel, padding in _lines(width):
        x = F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)
    return x


def _lines(width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Kernels and paddings that make one square of an odd width, one after the other."""
    half = width // 2
    return [((1, width), (0, half)), ((width, 1), (half, 0))]


def _odd(width: float) -> int:
    return int(width) // 2 * 2 + 1
