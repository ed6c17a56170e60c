"""Training losses; see docs/method.md, "Losses"."""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.pretrained import VggFeatures

BETA = 0.05  # error at which smooth L1 turns from square to absolute


def smooth_l1(shown: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean smooth L1 distance of images [B, 3, H, W], averaged over them; weight [B, 1, H, W].

    Every image counts equally, however much of it is person, so a batch may be split over processes.
    """
    distance = F.smooth_l1_loss(shown, truth, beta=BETA, reduction="none").mean(1, keepdim=True)
    return ((distance * weight).sum((1, 2, 3)) / weight.expand_as(distance).sum((1, 2, 3))).mean()


def opacity_loss(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted cross-entropy between opacity and target, [B, 1, H, W] in [0, 1].

    The mean is over all pixels with a weight, so a larger weight for some takes nothing from the others.

    The gradient does not vanish where the opacity is confident and wrong. That of the photometric loss does, and
    hair and clothes outside the template would never be learned.
    """
    alpha = alpha.float().clamp(1e-4, 1 - 1e-4)
    error = F.binary_cross_entropy(alpha, target, reduction="none") * weight
    return error.sum() / (weight > 0).expand_as(target).sum()


class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG-16 activations, relative to the mean activation of each true image."""

    def __init__(self, layers: tuple[str, ...]):
        super().__init__()
        self.features = VggFeatures(layers)

    def forward(self, shown: Tensor, truth: Tensor) -> Tensor:
        """Compare images [B, 3, H, W] in [-1, 1]; return a scalar whose gradients flow into `shown` only."""
        with torch.no_grad():
            wanted = self.features(truth)
        distances = []
        for mine, theirs in zip(self.features(shown), wanted, strict=True):
            apart, unit = (mine - theirs).abs().mean((1, 2, 3)).float(), theirs.mean((1, 2, 3)).float()
            distances.append((apart / (unit + 1e-3)).mean())
        return reduce(torch.add, distances) / len(wanted)


def generator_loss(score: Tensor) -> Tensor:
    """Return the non-saturating loss that rewards high scores of generated frames."""
    return F.softplus(-score).mean()


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the loss that rewards high scores of real frames and low scores of generated ones."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def r1_penalty(discriminator: nn.Module, frames: Tensor) -> Tensor:
    """Return the mean squared norm of the score's gradient at real frames [B, 9, H, W] (Mescheder et al. 2018)."""
    frames = frames.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(frames).sum(), frames, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()
