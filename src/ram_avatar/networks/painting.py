"""What the network paints at its own size, composed with the body's surface at any size. Not part of the paper.

The surface's colours and the outline are certain, and can be drawn as large as anybody likes. What the network adds to
them, light, folds, hair, is smooth enough to be enlarged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .hand_detail import HandRule, limit_at_hands
from .opacity import person_alpha, soft_outline

OPAQUE_CHANNELS, CHANNELS = 7, 10
"""Channels of a painting without and with an alpha, see `Painting.stack`."""


@dataclass(frozen=True)
class Painting:
    """What the network paints of a frame, or of a window of it."""

    surface: Tensor
    """[B, 3, h, w]: the surface colours it was given, in [-1, 1], spread beyond the outline; 0 without a warm start."""
    added: Tensor
    """[B, 3, h, w]: what it adds to them."""
    sharpness: Tensor
    """[B, 1, h, w], 0 to 2: how much of the surface's own detail an enlarged picture shows."""
    logit: Tensor | None = None
    """[B, 1, h, w]: what it adds to the outline, in the units of alpha's logit; None without an alpha, as `near` and
    `opaque`."""
    near: Tensor | None = None
    """[B, 1, h, w] in [0, 1]: 1 near finger bones, where it is limited (`hand_detail`)."""
    opaque: Tensor | None = None
    """[B, 1, h, w] in [0, 1]: 1 where alpha is 1 whatever it adds (`opacity.opaque_head`)."""

    def stack(self) -> Tensor:
        """Return all as one tensor [B, 7 or 10, h, w], in the order of the fields."""
        return torch.cat([tensor for tensor in vars(self).values() if tensor is not None], 1)

    @classmethod
    def of(cls, stacked: Tensor) -> "Painting":
        """Make a painting from its stack."""
        color = stacked[:, :3], stacked[:, 3:6]
        return cls(*color, *stacked[:, 6:].split(1, 1))


@dataclass(frozen=True)
class Rendering:
    """A person, to be composited over a background."""

    color: Tensor
    """[B, 3, H, W] RGB, roughly in [-1, 1], not clamped."""
    alpha: Tensor
    """[B, 1, H, W] in [0, 1]."""

    def over(self, plate: Tensor) -> Tensor:
        """Composite over a plate [B or 1, 3, H, W] in [-1, 1]; return the image [B, 3, H, W]."""
        return plate + self.alpha * (self.color - plate)


def compose(painting: Painting, surface: Tensor, belief: Tensor | float, rule: HandRule, enlarged: bool) -> Rendering:
    """Return the person: the surface, and what the network adds to it.

    Args:
        painting: of the picture's size.
        surface: [B, 4, h, w] the surface colours in [-1, 1] and the coverage mask {0, 1}, drawn at that size.
        belief: the weight of the outline in alpha, see `opacity.PersonAlpha`.
        rule: how the network is limited near the fingers.
        enlarged: whether the picture is larger than what the network painted. Then the surface shows the detail that
            the painting lacks, and fingers are wide enough for soft edges.
    """
    mask = surface[:, 3:]
    color, outline = painting.surface + painting.added, soft_outline(mask)
    if enlarged:
        # At the very edge, and beyond it, only the painting has colours.
        within = (2 * outline - 1).clamp(min=0)
        color = color + within * painting.sharpness.clamp(min=0) * (surface[:, :3] - painting.surface)
    return Rendering(color, compose_alpha(painting, mask, outline, belief, rule, enlarged))


def compose_alpha(
    painting: Painting, mask: Tensor, outline: Tensor, belief: Tensor | float, rule: HandRule, enlarged: bool
) -> Tensor:
    """Return the person's alpha [B, 1, h, w], see `compose`; 1 everywhere if the painting has none.

    Args:
        mask: [B, 1, h, w] the coverage mask {0, 1}.
        outline: [B, 1, h, w] the same with soft edges (`opacity.soft_outline`).
    """
    if painting.logit is None or painting.near is None or painting.opaque is None:
        return torch.ones_like(outline)
    near = painting.near.clamp(0, 1)
    logit = limit_at_hands(painting.logit, mask, near, rule)
    if not enlarged:
        outline = torch.lerp(outline, mask, near)
    return person_alpha(logit, outline, belief, painting.opaque.clamp(0, 1))
