"""The training loop; see docs/method.md."""

import time
from dataclasses import asdict
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..avatar import Avatar
from ..capture.dataset import Batch, CaptureDataset
from ..config import Preset
from ..core.device import multiplies_bf16
from ..core.errors import UserError
from ..core.files import disk_errors
from ..core.images import to_uint8
from ..core.progress import Progress
from ..core.untrusted.records import LARGEST
from ..networks.discriminator import TemporalDiscriminator
from ..networks.layers import channels_last
from ..networks.painting import Painting, Rendering
from ..rendering.texture.median import choose_frames
from .checkpoint import load_checkpoint, save_checkpoint
from .curves import CurveWriter
from .large_windows import WindowCutter, Windows
from .launch import average_gradients
from .loss_crops import detail_cuts, person_windows, within_boxes
from .losses import (
    PerceptualLoss,
    discriminator_loss,
    generator_loss,
    opacity_loss,
    r1_penalty,
    smooth_l1,
)
from .optimizers import parameter_groups
from .pose_augmentation import PoseAugmentation
from .schedule import (
    adversarial_weight,
    attention_on,
    augments,
    discriminator_on,
    frames_of_step,
    learning_rate_factor,
    texture_trains,
)

CHECKPOINT_FILE = "checkpoint.safetensors"
HANDS = slice(1, 3)  # of `Batch.boxes`
MASK_NEAR_HANDS = 0.1  # weight of the person mask near hands
HANDS_COUNT = 10.0  # weight of the few hand pixels in the opacity loss
PHOTOMETRIC_NEAR_HANDS = 0.25  # photometric weight near hands: fingers a pixel off are better sharp than blurred
_CURVES_EVERY = 10
_SAMPLES_EVERY = 250
_SAMPLES = 4


class Trainer:
    """Trains an avatar's network on a capture, saving a checkpoint and the avatar in its folder regularly."""

    def __init__(self, avatar: Avatar, data: CaptureDataset, preset: Preset, folder: Path, fabric: Fabric):
        self.avatar, self.data, self.folder, self.fabric = avatar, data, folder, fabric
        self.preset, self.config = preset, preset.training
        config, device = self.config, fabric.device
        self.network = channels_last(avatar.network.to(device))
        self.texture = list(self.network.neural_texture.parameters())
        fused = device.type == "cuda"
        groups = parameter_groups(self.network, config)
        self.optimizer = torch.optim.Adam(groups, betas=config.betas, fused=fused)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.modules: dict[str, nn.Module] = {"network": self.network}
        self.optimizers = {"network": self.optimizer}
        if config.adversarial_weight:
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                critic = TemporalDiscriminator(preset.network)
            self.critic = channels_last(critic.to(device))
            self.critic_optimizer = torch.optim.Adam(
                self.critic.parameters(), config.discriminator_learning_rate, (0.0, 0.99), fused=fused
            )
            self.modules["critic"], self.optimizers["critic"] = self.critic, self.critic_optimizer
        self.perceptual = channels_last(PerceptualLoss(config.perceptual_layers).to(device))
        # VGG's wide convolutions are faster in bf16 wherever the hardware supports it, CPUs included.
        self.feature_precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=multiplies_bf16(device))
        self.neighbors = preset.network.temporal_attention or bool(config.adversarial_weight)
        self.augmentation = None
        if config.pose_augmentation:
            self.augmentation = PoseAugmentation(data, config.seed)
        self.windows = WindowCutter(data, config.seed) if data.large is not None else None
        self.step, self.seconds = 0, 0.0
        self.network.mark_trained(data.capture.train_frames)

    # Checkpoints --------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's file."""
        return self.folder / CHECKPOINT_FILE

    def resume(self) -> bool:
        """Resume from the folder's checkpoint if there is one; return whether there was.

        Raises:
            UserError: the checkpoint is damaged, or belongs to another preset or capture.
        """
        if not self.checkpoint.is_file():
            return False
        facts = load_checkpoint(self.checkpoint, self.modules, self.optimizers)
        if facts.take("run", dict) != self._run():
            raise UserError(
                f"{self.checkpoint}: belongs to a run with another preset or capture; start over with --overwrite"
            )
        self.step, self.seconds = int(facts.number("step", 0, self.config.steps)), facts.number("seconds", 0, LARGEST)
        return True

    def save(self) -> None:
        """Save the checkpoint, then the avatar."""
        facts = {"step": self.step, "seconds": self.seconds, "run": self._run()}
        save_checkpoint(self.checkpoint, self.modules, self.optimizers, facts)
        self.avatar.training |= {"step": self.step, "seconds": round(self.seconds, 1)}
        self.avatar.save(self.folder)

    def _run(self) -> dict[str, Any]:
        """Return what identifies this run: a checkpoint of another one must not be resumed."""
        capture = self.data.capture
        run: dict[str, Any] = {"preset": asdict(self.preset), "source": capture.source, "frames": len(capture)}
        if capture.left_out:
            run["left_out"] = [asdict(frames) for frames in capture.left_out]
        return _plain(run)

    # The loop -----------------------------------------------------------------------------------------------

    def run(self, progress: Progress) -> None:
        """Train to the last step. On Ctrl-C, save and re-raise.

        With several processes only the first one writes; the others only take their share of every step.
        """
        if not self.fabric.is_global_zero:
            while self.step < self.config.steps:
                self.train_step()
                self.step += 1
            return
        saved = time.monotonic()
        try:
            with disk_errors(self.folder), CurveWriter(self.folder / "curves", self.step) as curves:
                while self.step < self.config.steps:
                    started = time.monotonic()
                    losses = self.train_step()
                    self.seconds += time.monotonic() - started
                    self.step += 1
                    progress.step("Training", self.step, self.config.steps)
                    if self.step % _CURVES_EVERY == 0:
                        self._write_curves(curves, losses)
                    if self.step % _SAMPLES_EVERY == 0:
                        curves.add_image("held out: video, avatar", self._samples(), self.step)
                    if time.monotonic() - saved > self.config.checkpoint_seconds:
                        self.save()
                        saved = time.monotonic()
        finally:
            self.save()

    def train_step(self) -> dict[str, Tensor]:
        """Train the network, and the discriminator once it is on, for one step; return the loss terms."""
        step, config = self.step, self.config
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * learning_rate_factor(step, config)
        for parameter in self.texture:
            parameter.requires_grad_(texture_trains(step, config))
        frames = frames_of_step(step, self.data.capture.train_frames, config)
        frames = frames[self.fabric.global_rank :: self.fabric.world_size]
        batch = self.data.batch(frames, self.neighbors)
        if moves := self.augmentation is not None and augments(step, config):
            batch = self.augmentation(batch, frames.tolist(), step)
        self.network.train()
        with self.fabric.autocast():
            painting = self.network.paint(batch.maps, style=batch.index, attention=attention_on(step, config))
            rendering = self.network.compose(painting, batch.maps.surface)
            shown = rendering.over(batch.plate)
        losses = self._losses(batch, rendering, shown)
        if self.windows is None or moves:  # of limbs that have moved there is no large image
            losses["detail"] = self._detail(batch, shown)
        else:
            losses["detail"] = self._large_detail(self.windows(frames.tolist(), step), painting)
        adversarial = discriminator_on(step, config) and not moves  # which has no true neighbours
        if adversarial:
            self.critic.requires_grad_(False)
            with self.fabric.autocast():
                score = self.critic(torch.cat([batch.before, shown, batch.after], 1))
            losses["adversarial"] = adversarial_weight(step, config) * generator_loss(score.float())
        self._descend(self.optimizer, self.network, losses, config.gradient_clip)
        if adversarial:
            losses |= self._train_critic(batch, shown.detach())
        means = self.fabric.all_reduce({name: value.detach() for name, value in losses.items()}, reduce_op="mean")
        assert isinstance(means, dict)  # as given
        return means

    def _descend(
        self, optimizer: torch.optim.Optimizer, module: nn.Module, losses: dict[str, Tensor], clip: float | None = None
    ) -> None:
        """Take one optimizer step on the sum of the losses."""
        reduce(torch.add, losses.values()).backward()
        parameters = list(module.parameters())
        average_gradients(self.fabric, parameters)
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        optimizer.zero_grad()  # now instead of before the next step, to free the gradients' memory

    def _losses(self, batch: Batch, rendering: Rendering, shown: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of the network, without the adversarial one."""
        config, inside = self.config, batch.inside
        hands = within_boxes(batch.boxes[:, HANDS], self.data.size)
        weight = inside * (1 + config.person_weight * batch.mask) * (1 - (1 - PHOTOMETRIC_NEAR_HANDS) * hands)
        losses = {"photometric": config.photometric_weight * smooth_l1(shown, batch.image, weight)}
        # There is no truth beyond the video's edges.
        seen, truth = shown * inside, batch.image * inside
        with self.feature_precision():
            window = person_windows(batch.mask * inside)
            losses["perceptual"] = config.perceptual_weight * self.perceptual(window(seen), window(truth))
        if self.avatar.network.config.alpha and config.alpha_weight:
            target, trust = self._opacity(batch, hands)
            losses["alpha"] = config.alpha_weight * opacity_loss(rendering.alpha, target, trust * inside)
        return losses

    def _detail(self, batch: Batch, shown: Tensor) -> Tensor:
        """Return the perceptual loss about face and hands, of images of the network's size."""
        cut = detail_cuts(batch.boxes, self.data.size)
        with self.feature_precision():
            difference = self.perceptual(cut(shown * batch.inside), cut(batch.image * batch.inside))
        return self.config.detail_weight * difference

    def _large_detail(self, windows: Windows, painting: Painting) -> Tensor:
        """Return the perceptual loss of windows of large images."""
        shown = windows.show(self.network, painting, self.data.size)
        with self.feature_precision():
            difference = self.perceptual(shown * windows.inside, windows.truth * windows.inside)
        return self.config.detail_weight * difference

    def _opacity(self, batch: Batch, hands: Tensor) -> tuple[Tensor, Tensor]:
        """Return the opacity's target and its weight, [B, 1, S, S] each.

        The person mask is too coarse for fingers, and half of a finger would be painted as a ghost. Hands wear no
        clothes, so there the template's outline is the better target; just outside it, nothing is reliable.
        """
        covered = hands * batch.maps.mask
        trust = 1 - (1 - MASK_NEAR_HANDS) * (hands - covered) + (HANDS_COUNT - 1) * covered
        return torch.maximum(batch.mask, covered), trust

    def _train_critic(self, batch: Batch, shown: Tensor) -> dict[str, Tensor]:
        """Train the discriminator for one step: neighbours are always real, the middle frame real or generated."""
        self.critic.requires_grad_(True)
        triple = lambda middle: torch.cat([batch.before, middle, batch.after], 1)
        with self.fabric.autocast():
            real, generated = self.critic(triple(batch.image)), self.critic(triple(shown))
        losses = {"critic": discriminator_loss(real.float(), generated.float())}
        if self.step % self.config.r1_every == 0:
            penalty = r1_penalty(self.critic, triple(batch.image))
            losses["critic r1"] = 0.5 * self.config.r1_weight * self.config.r1_every * penalty
        self._descend(self.critic_optimizer, self.critic, losses)
        return losses

    # TensorBoard --------------------------------------------------------------------------------------------

    def _write_curves(self, curves: CurveWriter, losses: dict[str, Tensor]) -> None:
        numbers = {f"loss/{name}": float(value) for name, value in losses.items()}
        numbers |= {"learning rate": self.optimizer.param_groups[0]["lr"], "seconds a step": self.seconds / self.step}
        curves.add_numbers(numbers, self.step)

    @torch.no_grad()
    def _samples(self) -> Tensor:
        """Return [3, 2S, nS] uint8: some held-out frames above the avatar's renderings of them."""
        index = torch.tensor(choose_frames(self.data.capture.held_out, _SAMPLES))
        batch = self.data.batch(index, self.neighbors)
        self.network.eval()
        with self.fabric.autocast():
            shown = self.network(batch.maps, attention=attention_on(self.step, self.config)).over(batch.plate)
        rows = [torch.cat(list(to_uint8(images)), 2) for images in (batch.image, shown.float())]
        return torch.cat(rows, 1)


def _plain(value: Any) -> Any:
    """Convert to what JSON reads back: tuples become lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
