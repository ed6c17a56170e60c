"""The training schedule: what is trained at each step, and on which frames.

Everything is a function of the step alone, so an interrupted run resumes exactly.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import TrainingConfig


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Return the factor on learning rates: a short linear warm-up, then half a cosine to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


def attention_on(step: int, config: TrainingConfig) -> bool:
    """Tell whether dual attention is on; the paper skips it in the first 10,000 of 150,000 steps."""
    return step >= round(config.attention_start * config.steps)


def texture_trains(step: int, config: TrainingConfig) -> bool:
    """Tell whether the neural texture trains; the paper freezes it in the last 20,000 of 150,000 steps."""
    return step < config.steps - round(config.texture_frozen * config.steps)


def augments(step: int, config: TrainingConfig) -> bool:
    """Tell whether limbs are moved in a step (`pose_augmentation`); such steps are spread evenly."""
    share = config.pose_augmentation
    return math.floor((step + 1) * share) > math.floor(step * share)


def discriminator_on(step: int, config: TrainingConfig) -> bool:
    """Tell whether the discriminator trains."""
    return config.adversarial_weight > 0 and step >= round(config.discriminator_start * config.steps)


def adversarial_weight(step: int, config: TrainingConfig) -> float:
    """Return the adversarial weight: it grows by a tenth every 2,000 of 150,000 steps, up to 20 times its start."""
    grown = 1.1 ** (75 * step / config.steps)
    return config.adversarial_weight * min(grown, 20.0)


def frames_of_step(step: int, frames: Sequence[int], config: TrainingConfig) -> Tensor:
    """Return the frame numbers [B] of a step: each of `frames` once an epoch, shuffled by seed and epoch."""
    places = torch.arange(step * config.batch_size, (step + 1) * config.batch_size)
    chosen = []
    for place in places.tolist():
        epoch, within = divmod(place, len(frames))
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        chosen.append(frames[int(torch.randperm(len(frames), generator=generator)[within])])
    return torch.tensor(chosen)
