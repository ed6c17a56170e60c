"""Losses (method, section 6)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.pretrained import VggFeatures

BETA = 0.05  # where the smooth L1 loss turns from square to absolute


def smooth_l1(shown: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean over pictures [B, 3, H, W] of the weighted mean of their smooth L1 distance; weight [B, 1, H, W].

    Every picture counts alike, however much of it is person: so batches may be split over processes.
    """
    distance = F.smooth_l1_loss(shown, truth, beta=BETA, reduction="none").mean(1, keepdim=True)
    return ((distance * weight).sum((1, 2, 3)) / weight.expand_as(distance).sum((1, 2, 3))).mean()


def opacity_loss(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy of the opacity and what it should be, [B, 1, H, W] in [0, 1].

    The mean is over the pixels that have any weight: to weigh some of them more takes nothing from the others.

    Its gradient does not fade where the opacity is sure and wrong: that of the picture does, and hair and
    clothes outside of the template would never be found.
    """
    alpha = alpha.float().clamp(1e-4, 1 - 1e-4)
    error = F.binary_cross_entropy(alpha, target, reduction="none") * weight
    return error.sum() / (weight > 0).expand_as(target).sum()


class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG-16 activations, each picture's in units of its own mean."""

    def __init__(self, layers: tuple[str, ...]):
        super().__init__()
        self.features = VggFeatures(layers)

    def forward(self, shown: Tensor, truth: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] to a scalar; gradients flow into `shown` alone."""
        with torch.no_grad():
            wanted = self.features(truth)
        distance = 0.0
        for mine, theirs in zip(self.features(shown), wanted, strict=True):
            apart, unit = (mine - theirs).abs().mean((1, 2, 3)).float(), theirs.mean((1, 2, 3)).float()
            distance = distance + (apart / (unit + 1e-3)).mean()
        return distance / len(wanted)


def generator_loss(score: Tensor) -> Tensor:
    """Non-saturating: the generator wants its frames called real (high scores)."""
    return F.softplus(-score).mean()


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Real frames are to score high, generated ones low."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def r1_penalty(discriminator: nn.Module, frames: Tensor) -> Tensor:
    """Mean squared norm of the score's gradient at real frames [B, 9, H, W] (Mescheder et al. 2018)."""
    frames = frames.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(frames).sum(), frames, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()
