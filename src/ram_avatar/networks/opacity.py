"""The person's alpha. Not of the paper, whose network paints whole frames."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import local_max, local_mean

OFF_EDGES = 2 / 256
"""Of the picture's size, and two pixels at least: what lies farther within the head is opaque."""


CLEAR, OPAQUE = 0.03, 0.97
"""What of alpha counts as nothing and as all when a picture is shown: a sigmoid never quite reaches either, and a
faint veil over the whole background would be seen."""


def shown_alpha(alpha: Tensor) -> Tensor:
    """Stretch alpha to 0 and 1, for pictures that are looked at."""
    return ((alpha - CLEAR) / (OPAQUE - CLEAR)).clamp(0, 1)


class PersonAlpha(nn.Module):
    """An alpha that starts as the outline: within 2 % of the mask, where the sigmoid has a slope still.

    How much the outline is believed is learned: hair and clothes have outlines of their own.
    """

    def __init__(self):
        super().__init__()
        self.belief = nn.Parameter(torch.ones(1))

    def forward(self, logit: Tensor, outline: Tensor, face: Tensor) -> Tensor:
        return person_alpha(logit, outline, self.belief, opaque_head(face, face.shape[-1]))


class WholeFrame(nn.Module):
    """No alpha: the network paints the background as well, as published."""

    def forward(self, logit: Tensor, outline: Tensor, face: Tensor) -> Tensor:
        return torch.ones_like(outline)


def person_alpha(logit: Tensor, outline: Tensor, belief: Tensor, opaque: Tensor) -> Tensor:
    """[B, 1, h, w] in [0, 1] of what a network says, of the template's outline, and of where a person is opaque."""
    return torch.lerp(torch.sigmoid(4 * (logit + belief * (2 * outline - 1))), torch.ones_like(opaque), opaque)


def opaque_head(face: Tensor, size: int) -> Tensor:
    """Where a head is opaque [B, 1, h, w] in [0, 1]: what lies within it, off its edges, by its face map [B, 3, h, w].

    Else the first that is learned of a dark eye or mouth is a hole that the background shows through. Limbs may be
    transparent: what moves fast is blurred.

    Args:
        size: of the whole picture, of which the map may be a part that holds the head.
    """
    head = (face != 0).any(1, keepdim=True).to(face.dtype)
    off = max(2, round(OFF_EDGES * size))
    return local_mean(1 - local_max(1 - head, 2 * off + 1), 3)


def soft_outline(mask: Tensor) -> Tensor:
    """A coverage mask [B, 1, h, w] whose edges are as soft as those of a picture: a network need not undo its steps."""
    return F.avg_pool2d(mask, 3, 1, 1, count_include_pad=False)
