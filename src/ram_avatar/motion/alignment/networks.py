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

from ...core.ranges import check_ranges

HISTORY = 4  # previous poses that decoder B sees
SLOPE = 0.1  # of LeakyReLU below zero; with 0, units that no pose of a short clip activates would stay dead


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of the networks.

    Raises:
        ValueError: a size out of range.
    """

    width: int = 162
    """Number of features of a pose."""
    hidden: int = 512
    """Hidden units of the encoder and of decoder A, which model anybody's poses."""
    latent: int = 48
    """Dimensions of the latent."""
    own_hidden: int = 256
    """Hidden units of decoder B, which models one avatar's poses."""

    def __post_init__(self) -> None:
        check_ranges(self, {"width": (1, 6000), "hidden": (1, 4096), "latent": (1, 1024), "own_hidden": (1, 4096)})


class PoseEncoder(nn.Module):
    """Three fully connected layers between two batch normalizations, from a pose to a Gaussian over the latent."""

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
        """Encode poses [B, W] to mean and log variance, [B, Z] each."""
        first, second, third = self.layers
        hidden = F.leaky_relu(first(self.entry(pose)), SLOPE)
        hidden = F.leaky_relu(second(hidden), SLOPE)
        return self.exit(third(hidden)).chunk(2, 1)


class PoseDecoder(nn.Module):
    """Two fully connected layers from the latent, and optionally previous poses, to a pose.

    Decoder A sees only the latent, decoder B also the last `HISTORY` poses. Inputs and outputs are normalized by each
    feature's mean and deviation.
    """

    mean: Tensor
    deviation: Tensor

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
        """Decode latents [B, Z], given the previous poses [B, `history`, W], oldest first, to poses [B, W]."""
        known = [latent]
        if before is not None:
            known.append(((before - self.mean) / self.deviation).flatten(1))
        first, second = self.layers
        return second(F.leaky_relu(first(torch.cat(known, 1)), SLOPE)) * self.deviation + self.mean

    def normalize_by(self, poses: Tensor, least: float) -> None:
        """Take mean and deviation from poses [N, W], with deviations of at least `least`."""
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
        """Encode poses [B, W], sample and decode. Returns poses [B, W], and mean and log variance [B, Z]."""
        mean, log_variance = self.encoder(pose)
        noise = torch.randn(mean.shape, generator=generator)
        return self.decoder(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


def rotation_error(predicted: Tensor, pose: Tensor) -> Tensor:
    """Return the mean squared distance between rotation matrices of features [B, W], per pose and joint."""
    return (gram_schmidt(predicted) - gram_schmidt(pose)).square().sum((-1, -2)).mean()


def gram_schmidt(features: Tensor) -> Tensor:
    """Convert features [..., 6 K] to rotations [..., K, 3, 3]: `pose_features.to_rotations` for tensors."""
    first, second = features.unflatten(-1, (-1, 2, 3)).unbind(-2)
    first = F.normalize(first, dim=-1)
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of Gaussians [B, Z] from the standard normal, averaged over poses."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
