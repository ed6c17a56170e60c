"""The networks of motion distribution alignment (paper, section 3.3; supplement, sections 2 and 3).

    pose ─▶ encoder ─▶ latent ─▶ decoder A ─▶ pose                        the motion prior, a VAE: anybody's poses
                          └────▶ decoder B ─▶ pose                        one avatar's, with the encoder frozen
       its last four poses ─────────┘

Poses are the features of `pose_features`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HISTORY = 4  # poses that decoder B goes on from
SLOPE = 0.1  # of LeakyReLU below zero: with 0, units that no pose of a short clip wakes stay asleep


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of the networks."""

    width: int = 162
    """Features of a pose."""
    hidden: int = 512
    """Units of a hidden layer of encoder and decoder A, which know anybody's poses."""
    latent: int = 48
    """Dimensions of the latent."""
    own_hidden: int = 256
    """Units of the hidden layer of decoder B, which knows one avatar's."""


class PoseEncoder(nn.Module):
    """Three fully connected layers between two batch normalizations: pose to a Gaussian over the latent."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        self.entry = nn.BatchNorm1d(config.width)
        self.layers = nn.ModuleList(
            [
                nn.Linear(config.width, config.hidden),
                nn.Linear(config.hidden, config.hidden),
                nn.Linear(config.hidden, 2 * config.latent),
            ]
        )
        self.exit = nn.BatchNorm1d(2 * config.latent)

    def forward(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Poses [B, W] to mean and log variance, [B, Z] each."""
        first, second, third = self.layers
        hidden = F.leaky_relu(first(self.entry(pose)), SLOPE)
        hidden = F.leaky_relu(second(hidden), SLOPE)
        return self.exit(third(hidden)).chunk(2, 1)


class PoseDecoder(nn.Module):
    """Two fully connected layers from the latent, and from what else is given, to a pose.

    Decoder A is given nothing else, decoder B the last `HISTORY` poses. What comes out is scaled by the deviation of
    each feature and set off by its mean, so that the layers themselves work with numbers of order one.
    """

    def __init__(self, config: PriorConfig, history: int):
        super().__init__()
        self.history = history
        hidden = config.own_hidden if history else config.hidden
        self.layers = nn.ModuleList(
            [nn.Linear(config.latent + history * config.width, hidden), nn.Linear(hidden, config.width)]
        )
        self.register_buffer("mean", torch.zeros(config.width))
        self.register_buffer("deviation", torch.ones(config.width))

    def forward(self, latent: Tensor, before: Tensor | None = None) -> Tensor:
        """Latents [B, Z] and the poses before [B, `history`, W], the last one last, to poses [B, W]."""
        known = [latent]
        if self.history:
            known.append(((before - self.mean) / self.deviation).flatten(1))
        first, second = self.layers
        return second(F.leaky_relu(first(torch.cat(known, 1)), SLOPE)) * self.deviation + self.mean

    def normalize_by(self, poses: Tensor, least: float) -> None:
        """Take mean and deviation from poses [N, W]; a feature that hardly varies counts as varying by `least`."""
        self.mean.copy_(poses.mean(0))
        self.deviation.copy_(poses.std(0).clamp(min=least))


class MotionPrior(nn.Module):
    """The VAE: encoder and decoder A."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        self.config = config
        self.encoder = PoseEncoder(config)
        self.decoder = PoseDecoder(config, history=0)

    def forward(self, pose: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Poses [B, W] to what is decoded from a sample of their latents [B, W], and mean and log variance [B, Z]."""
        mean, log_variance = self.encoder(pose)
        noise = torch.randn(mean.shape, generator=generator)
        return self.decoder(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


def rotation_error(predicted: Tensor, pose: Tensor) -> Tensor:
    """Mean squared distance of rotation matrices, per pose and joint: features [B, W] against those of rotations."""
    return (gram_schmidt(predicted) - gram_schmidt(pose)).square().sum((-1, -2)).mean()


def gram_schmidt(features: Tensor) -> Tensor:
    """`pose_features.to_rotations` for tensors: [..., 6 K] to [..., K, 3, 3]."""
    first, second = features.unflatten(-1, (-1, 2, 3)).unbind(-2)
    first = F.normalize(first, dim=-1)
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of the latents' Gaussians [B, Z] from the standard one (Kullback and Leibler), mean over the poses."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
