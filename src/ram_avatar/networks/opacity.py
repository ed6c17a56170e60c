"""The person's alpha. Not part of the paper, whose network paints whole frames."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import local_max, local_mean

OFF_EDGES = 2 / 256
"""The head is opaque farther inside its edges than this, a share of the image size (two pixels at least)."""


CLEAR, OPAQUE = 0.03, 0.97
"""Alpha that counts as 0 and as 1 for display: a sigmoid never quite reaches them, and a faint veil over the whole
background would be visible."""


def shown_alpha(alpha: Tensor) -> Tensor:
    """Stretch alpha to the full range [0, 1] for display."""
    return ((alpha - CLEAR) / (OPAQUE - CLEAR)).clamp(0, 1)


class PersonAlpha(nn.Module):
    """The weight of the template's outline in alpha: learned, since hair and clothes have outlines of their own."""

    def __init__(self):
        super().__init__()
        self.belief = nn.Parameter(torch.ones(1))


def person_alpha(logit: Tensor, outline: Tensor, belief: Tensor | float, opaque: Tensor) -> Tensor:
    """Combine the network's logit, the template's outline and the opaque region into alpha [B, 1, h, w] in [0, 1].

    Of an untrained network it is the outline: within 2 % of the mask, where the sigmoid still has a slope.
    """
    return torch.lerp(torch.sigmoid(4 * (logit + belief * (2 * outline - 1))), torch.ones_like(opaque), opaque)


def opaque_head(face: Tensor, size: int) -> Tensor:
    """Return where the head is opaque [B, 1, h, w] in [0, 1]: inside it, off its edges.

    Otherwise a dark eye or mouth is first learned as a hole that the background shows through. Limbs may be
    transparent, since fast motion blurs them.

    Args:
        face: the face map [B, 3, h, w].
        size: of the whole image, of which the map may be a crop that holds the head.
    """
    head = (face != 0).any(1, keepdim=True).to(face.dtype)
    off = max(2, round(OFF_EDGES * size))
    return local_mean(1 - local_max(1 - head, 2 * off + 1), 3)


def soft_outline(mask: Tensor) -> Tensor:
    """Soften the edges of a coverage mask [B, 1, h, w] as in a photo, so the network need not undo hard steps."""
    return F.avg_pool2d(mask, 3, 1, 1, count_include_pad=False)
