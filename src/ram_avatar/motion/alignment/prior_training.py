"""Training a motion prior: the VAE of motion distribution alignment, on a large set of motions."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.template import SIDES, BodyTemplate
from ...core.errors import UserError
from ...core.files import check_output
from ...core.progress import Progress
from ..pose_features import PoseFeatures, angles_between
from .networks import (
    MotionPrior,
    PriorConfig,
    divergence,
    rotation_error,
)
from .pose_collection import PoseCollection, collect_poses, find_sources
from .prior_file import save_prior

LEAST_DEVIATION = 0.05  # of a feature, in decoding
_EVALUATED = 4096  # held-out poses at most
_MIN_POSES = 256
_LEG = ("thigh", "shin", "foot", "toes")


@dataclass(frozen=True)
class PriorTraining:
    """Training of the VAE. The epochs are from the paper's supplement, which does not state the rest."""

    epochs: int = 50
    batch_size: int = 256
    learning_rate: float = 1e-3
    """Of Adam; decays to 0 along half a cosine."""
    divergence_weight: float = 3e-4
    """Weight of the Kullback-Leibler divergence; that of the squared distance of rotation matrices is 1."""
    exchange: float = 0.4
    """Probability that a limb, or trunk and head, is taken from another pose: no set of motions combines all poses of
    arms and legs."""
    noise: float = 0.03
    """Standard deviation of noise on the features that the encoder sees."""
    held_out: float = 0.05
    """Fraction of each motion, at its end, that is held out and evaluated in the card."""
    seed: int = 0


class Augmentation:
    """Augments batches of poses: mirrors them, recombines their parts, and adds noise."""

    def __init__(self, features: PoseFeatures, config: PriorTraining, generator: torch.Generator):
        self.config, self.generator = config, generator
        self.mirror = torch.from_numpy(features.mirror)
        self.signs = torch.from_numpy(features.mirror_signs).float()
        groups = [
            [role for role in features.roles if role.endswith(f".{side}") and role.startswith(_LEG) == leg]
            for side in SIDES
            for leg in (False, True)
        ]
        groups.append([role for role in features.roles if not role.endswith((".L", ".R"))])
        self.groups = [torch.from_numpy(features.blocks(group)) for group in groups]

    def __call__(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's input and the target of decoding, for features [B, W]."""
        rows = len(poses)
        poses = torch.where(self._chance(rows, 0.5), poses[:, self.mirror] * self.signs, poses)
        mixed = poses.clone()
        for group in self.groups:
            others = poses[torch.randperm(rows, generator=self.generator)]
            taken = self._chance(rows, self.config.exchange)
            mixed[:, group] = torch.where(taken, others[:, group], mixed[:, group])
        noise = torch.randn(mixed.shape, generator=self.generator)
        return mixed + self.config.noise * noise, mixed

    def _chance(self, rows: int, chance: float) -> Tensor:
        return torch.rand(rows, 1, generator=self.generator) < chance


def fit_prior(
    motions: list[Path],
    out: str | Path,
    *,
    template: BodyTemplate,
    training: PriorTraining | None = None,
    licence: str = "unknown: that of the motions",
    command: str = "",
    overwrite: bool = False,
    progress: Progress,
) -> dict:
    """Fit a motion prior to motion files, write it to `out`, and return the card that states how it was made.

    Args:
        motions: files, folders and .zip archives (`pose_collection.find_sources`).
        licence: of the motions, and so of what is learned from them.

    Raises:
        UserError: no motions, too few poses, or `out` exists.
    """
    training, out = training or PriorTraining(), check_output(out, overwrite)
    features, sources = PoseFeatures(template), find_sources(motions)
    poses, held_out = PoseCollection(features.width), PoseCollection(features.width)
    read = collect_poses(sources, poses, held_out, training.held_out, progress)
    if len(poses) < _MIN_POSES:
        raise UserError(f"{len(poses)} poses in {read} motions; at least {_MIN_POSES} are needed to fit a prior")
    started = time.monotonic()
    prior, losses = train_prior(poses.array(), features, training, progress)
    card = {
        "motions": [Path(path).name for path in motions],
        "files": read,
        "poses": len(poses),
        "held_out_poses": len(held_out),
        **losses,
        "held_out_error_degrees": round(reconstruction_error(prior, held_out.array()), 3),
        "train_seconds": round(time.monotonic() - started, 1),
        "training": asdict(training),
        "licence": licence,
        "command": command,
    }
    save_prior(out, prior, features.names, template.name, card)
    return card


def train_prior(
    poses: np.ndarray, features: PoseFeatures, training: PriorTraining, progress: Progress
) -> tuple[MotionPrior, dict[str, float]]:
    """Train the VAE on features [N, W]; return it and the mean losses of its last epoch."""
    generator = torch.Generator().manual_seed(training.seed)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        prior = MotionPrior(PriorConfig(width=features.width))
    prior.decoder.normalize_by(torch.from_numpy(poses[:: max(1, len(poses) // _EVALUATED)].copy()), LEAST_DEVIATION)
    augment = Augmentation(features, training, generator)
    optimizer = torch.optim.Adam(prior.parameters(), training.learning_rate)
    batches = -(-len(poses) // training.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs * batches)
    prior.train()
    for epoch in range(training.epochs):
        sums = np.zeros(2)
        for batch in _batches(poses, training.batch_size, generator):
            seen, wanted = augment(batch)
            decoded, mean, log_variance = prior(seen, generator)
            terms = rotation_error(decoded, wanted), divergence(mean, log_variance)
            (terms[0] + training.divergence_weight * terms[1]).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            sums += [float(term.detach()) for term in terms]
        progress.step("Fitting the motion prior", epoch + 1, training.epochs)
    rotation, diverged = (float(value) for value in sums / batches)
    return prior.eval(), {"rotation_loss": round(rotation, 5), "divergence": round(diverged, 2)}


@torch.no_grad()
def reconstruction_error(prior: MotionPrior, poses: np.ndarray) -> float:
    """Return the mean angle in degrees between joint rotations of poses [N, W] and of their reconstructions."""
    sampled = torch.from_numpy(poses[:: max(1, len(poses) // _EVALUATED)].copy())
    mean, _ = prior.encoder(sampled)
    return float(angles_between(prior.decoder(mean).double().numpy(), sampled.double().numpy()).mean())


def _batches(poses: np.ndarray, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield all poses once, in random order; within a batch they are read in the order on disk."""
    order = torch.randperm(len(poses), generator=generator).numpy()
    for start in range(0, len(order) - 1, size):  # batch normalization needs more than one pose
        yield torch.from_numpy(poses[np.sort(order[start : start + size])])
