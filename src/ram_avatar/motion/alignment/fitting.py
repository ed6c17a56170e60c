"""Fitting an avatar's alignment: decoder B, to the avatar's own motion, and the threshold of its score."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.progress import Progress
from ..motion import Motion
from ..pose_features import PoseFeatures
from .aligner import Alignment
from .networks import (
    HISTORY,
    MotionPrior,
    PoseDecoder,
    PoseEncoder,
    rotation_error,
)
from .posture import Distance, Posture

OUTSIDE = 0.05  # fraction of the avatar's held-out frames that count as outside
MIN_CONFIDENCE = 0.5  # of a body; frames below say nothing about how it moves
KNOWN_AT_MOST = 2000  # postures that are kept
_LEAST_DEVIATION = 0.02  # of a feature, in decoding
_LEAST_OUTSIDE = 1e-3  # metres, for a motionless person
_MIN_WINDOWS = 8


@dataclass(frozen=True)
class AlignmentTraining:
    """Training of decoder B. The epochs are from the paper's supplement, which does not state the rest."""

    epochs: int = 200
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Of Adam; decays to 0 along half a cosine."""
    latent_noise: float = 1.0
    """Largest standard deviation of noise on the latents, drawn per pose, so that poses far outside are decoded as the
    avatar's nearest poses. A prior's latents have a deviation of about 1."""
    history_noise: float = 0.1
    """Largest standard deviation of noise on the previous poses, in deviations of the avatar's own features."""
    wrong_history: float = 0.15
    """Probability that the previous poses are from another moment, so that the latent decides rather than habit."""
    own_history: float = 0.5
    """Probability that the last pose is the decoder's own output (scheduled sampling), as in inference."""
    seed: int = 0


def fit_alignment(
    motion: Motion,
    held_out: Motion,
    template: BodyTemplate,
    prior: MotionPrior,
    progress: Progress,
    training: AlignmentTraining | None = None,
) -> Alignment:
    """Fit an avatar's alignment.

    Args:
        motion: that the avatar was trained on, in order.
        held_out: the avatar's own motion that it was not trained on, for the threshold.

    Raises:
        UserError: too few frames show a body.
    """
    training, features = training or AlignmentTraining(), PoseFeatures(template)
    posture = Posture(template, features)
    seen, seen_held_out = _seen(motion), _seen(held_out)
    windows = _windows(seen)
    if len(windows) < _MIN_WINDOWS or not seen_held_out.any():
        raise UserError(f"only {int(seen.sum())} frames show the body: too few to learn how it moves")
    poses = _features_of(motion, features)
    own = poses[seen]
    decoder, loss = _train_decoder(torch.from_numpy(poses).float(), windows, own, prior, training, progress)
    markers = posture.markers(features.rotations(*_arrays(motion[torch.from_numpy(seen)])))
    known = markers[np.linspace(0, len(own) - 1, min(len(own), KNOWN_AT_MOST)).round().astype(int)]
    others = posture.markers(features.rotations(*_arrays(held_out[torch.from_numpy(seen_held_out)])))
    outside = float(np.quantile(Distance(known)(others), 1 - OUTSIDE))
    card = {
        "frames": int(seen.sum()),
        "held_out_frames": int(seen_held_out.sum()),
        "rotation_loss": round(loss, 6),
        "training": asdict(training),
    }
    known = torch.from_numpy(known).float()
    return Alignment(prior.encoder, decoder, known, max(outside, _LEAST_OUTSIDE), card)


def _train_decoder(
    poses: Tensor,
    windows: np.ndarray,
    own: np.ndarray,
    prior: MotionPrior,
    training: AlignmentTraining,
    progress: Progress,
) -> tuple[PoseDecoder, float]:
    """Train decoder B with the encoder frozen; return it and its mean loss in the last epoch."""
    generator = torch.Generator().manual_seed(training.seed)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        decoder = PoseDecoder(prior.config, HISTORY)
    decoder.normalize_by(torch.from_numpy(own).float(), _LEAST_DEVIATION)
    batches = _Batches(poses, latents_of(prior.encoder, poses), torch.from_numpy(windows), training, generator)
    optimizer = torch.optim.Adam(decoder.parameters(), training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs * len(batches))
    for epoch in range(training.epochs):
        losses = []
        for frames in batches.frames():
            latent, before = batches.seen(frames, decoder)
            loss = rotation_error(decoder(latent, before), poses[frames])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(float(loss.detach()))
        progress.step("Learning its motion", epoch + 1, training.epochs)
    return decoder.eval(), float(np.mean(losses))


class _Batches:
    """Inputs of decoder B: noisy latents, and previous poses that are noisy, its own, or from another moment."""

    def __init__(
        self, poses: Tensor, latents: Tensor, windows: Tensor, training: AlignmentTraining, generator: torch.Generator
    ):
        self.poses, self.latents, self.windows = poses, latents, windows
        self.training, self.generator = training, generator
        self._before = torch.arange(-HISTORY, 0)

    def __len__(self) -> int:
        return -(-len(self.windows) // self.training.batch_size)

    def frames(self) -> tuple[Tensor, ...]:
        """Return the indices of all frames that have previous poses, in random order, by batch."""
        order = torch.randperm(len(self.windows), generator=self.generator)
        return self.windows[order].split(self.training.batch_size)

    @torch.no_grad()
    def seen(self, frames: Tensor, decoder: PoseDecoder) -> tuple[Tensor, Tensor]:
        """Return latents [B, Z] and previous poses [B, `HISTORY`, W]."""
        training, rows = self.training, len(frames)
        others = self.windows[torch.randint(len(self.windows), (rows,), generator=self.generator)]
        moments = torch.where(self._chance(rows, training.wrong_history), others, frames)
        before = self.poses[moments[:, None] + self._before]
        size = training.history_noise * self._uniform(rows, 1, 1) * decoder.deviation
        before = before + size * torch.randn(before.shape, generator=self.generator)
        # The last pose as the decoder would output it, from a history one frame older.
        older = torch.cat([before[:, :1], before[:, :-1]], 1)
        decoded = decoder(self.latents[moments - 1], older)
        last = torch.where(self._chance(rows, training.own_history)[:, None], decoded, before[:, -1])
        latent = self.latents[frames]
        noise = training.latent_noise * self._uniform(rows, 1) * torch.randn(latent.shape, generator=self.generator)
        return latent + noise, torch.cat([before[:, :-1], last[:, None]], 1)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)

    def _chance(self, rows: int, chance: float) -> Tensor:
        return self._uniform(rows) < chance


@torch.no_grad()
def latents_of(encoder: PoseEncoder, poses: Tensor) -> Tensor:
    """Encode poses [N, W] to the means [N, Z] of their Gaussians, with an encoder in evaluation mode."""
    return encoder(poses)[0]


def _windows(seen: np.ndarray) -> np.ndarray:
    """Return the indices of the frames that are seen, along with all frames of their history."""
    run = np.convolve(seen, np.ones(HISTORY + 1), "valid") == HISTORY + 1
    return np.flatnonzero(run) + HISTORY


def _seen(motion: Motion) -> np.ndarray:
    return (motion.confidence[:, 0] >= MIN_CONFIDENCE).cpu().numpy()


def _arrays(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    return motion.root_rotation.cpu().double().numpy(), motion.pose.cpu().double().numpy()


def _features_of(motion: Motion, features: PoseFeatures) -> np.ndarray:
    return features.of(*_arrays(motion))
