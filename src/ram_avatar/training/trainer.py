"""The training loop (method, section 6)."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from ..avatar import Avatar
from ..config import Preset
from ..errors import UserError
from ..hardware import multiplies_bf16
from ..networks.avatar_network import Rendering
from ..networks.discriminator import TemporalDiscriminator
from ..pictures import to_uint8
from ..progress import Progress
from .checkpoint import load_checkpoint, save_checkpoint
from .dataset import Batch, CaptureDataset
from .losses import PerceptualLoss, discriminator_loss, generator_loss, opacity_loss, r1_penalty, smooth_l1
from .schedule import (
    adversarial_weight,
    attention_on,
    discriminator_on,
    frames_of_step,
    learning_rate_factor,
    texture_trains,
)

CHECKPOINT_FILE = "checkpoint.safetensors"
DETAIL_SIZE = 64  # pixels of the cut-outs of face and hands
_CURVES_EVERY = 10
_PICTURES_EVERY = 250
_PICTURED = 4


class Trainer:
    """Fits an avatar's network to a capture, and leaves a checkpoint and the avatar in its folder as it goes."""

    def __init__(self, avatar: Avatar, data: CaptureDataset, preset: Preset, folder: Path, fabric: Fabric):
        self.avatar, self.data, self.folder, self.fabric = avatar, data, folder, fabric
        self.preset, self.config = preset, preset.training
        config, device = self.config, fabric.device
        network = avatar.network.to(memory_format=torch.channels_last)
        texture = list(network.neural_texture.parameters())
        planes = {id(p) for p in texture}
        rest = [p for p in network.parameters() if id(p) not in planes]
        optimizer = torch.optim.Adam(
            [
                {"params": rest, "lr": config.learning_rate},
                {"params": texture, "lr": config.texture_learning_rate},
            ],
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        critic = TemporalDiscriminator(preset.network).to(memory_format=torch.channels_last)
        critic_optimizer = torch.optim.Adam(critic.parameters(), config.discriminator_learning_rate, (0.0, 0.99))
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.texture_parameters = texture
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.critic, self.critic_optimizer = fabric.setup(critic, critic_optimizer)
        self.modules = {"network": network, "critic": critic}
        self.optimizers = {"network": self.optimizer, "critic": self.critic_optimizer}
        self.perceptual = PerceptualLoss(config.perceptual_layers).to(device, memory_format=torch.channels_last)
        # VGG's wide convolutions gain from bf16 wherever there are units for it, CPUs with AMX included.
        self.feature_precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=multiplies_bf16(device))
        self.step, self.seconds = 0, 0.0
        network.mark_trained(range(data.capture.train_frames))

    # Going on -----------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    def resume(self) -> bool:
        """Go on from the folder's checkpoint where there is one of this very run."""
        if not self.checkpoint.is_file():
            return False
        facts = load_checkpoint(self.checkpoint, self.modules, self.optimizers)
        if facts["run"] != self._run():
            raise UserError(
                f"{self.checkpoint}: left by a run with another preset or capture; start anew with --overwrite"
            )
        self.step, self.seconds = facts["step"], facts["seconds"]
        return True

    def save(self) -> None:
        """The checkpoint, then the avatar."""
        facts = {"step": self.step, "seconds": self.seconds, "run": self._run()}
        save_checkpoint(self.checkpoint, self.modules, self.optimizers, facts)
        self.avatar.training |= {"step": self.step, "seconds": round(self.seconds, 1)}
        self.avatar.save(self.folder)

    def _run(self) -> dict:
        capture = self.data.capture
        return _plain({"preset": asdict(self.preset), "source": capture.source, "frames": len(capture)})

    # The loop -----------------------------------------------------------------------------------------------

    def run(self, progress: Progress) -> None:
        """Train to the last step; Ctrl-C saves what there is and is passed on."""
        saved = time.monotonic()
        writer = SummaryWriter(self.folder / "curves", purge_step=self.step)
        try:
            while self.step < self.config.steps:
                started = time.monotonic()
                losses = self.train_step()
                self.seconds += time.monotonic() - started
                self.step += 1
                progress.step("Training", self.step, self.config.steps)
                if self.step % _CURVES_EVERY == 0:
                    self._write_curves(writer, losses)
                if self.step % _PICTURES_EVERY == 0:
                    writer.add_image("held out: video, avatar", self._picture(), self.step)
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
        finally:
            writer.close()
            self.save()

    def train_step(self) -> dict[str, Tensor]:
        """One step of the network, and of the discriminator where its time has come. Returns the loss terms."""
        step, config = self.step, self.config
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * learning_rate_factor(step, config)
        for parameter in self.texture_parameters:
            parameter.requires_grad_(texture_trains(step, config))
        batch = self.data.batch(frames_of_step(step, self.data.capture.train_frames, config))
        self.network.train()
        rendering = self.network(batch.maps, style=batch.index, attention=attention_on(step, config))
        shown = rendering.over(self.data.plate)
        losses = self._losses(batch, rendering, shown)
        adversarial = discriminator_on(step, config)
        if adversarial:
            self.critic.requires_grad_(False)
            score = self.critic(torch.cat([batch.before, shown, batch.after], 1))
            losses["adversarial"] = adversarial_weight(step, config) * generator_loss(score)
        self.optimizer.zero_grad()
        self.fabric.backward(sum(losses.values()))
        self.fabric.clip_gradients(self.network, self.optimizer, max_norm=config.gradient_clip)
        self.optimizer.step()
        if adversarial:
            losses |= self._train_critic(batch, shown.detach())
        return {name: value.detach() for name, value in losses.items()}

    def _losses(self, batch: Batch, rendering: Rendering, shown: Tensor) -> dict[str, Tensor]:
        config, inside = self.config, self.data.inside
        weight = inside * (1 + config.person_weight * batch.mask)
        losses = {"photometric": config.photometric_weight * smooth_l1(shown, batch.image, weight)}
        # What lies beyond the video's edges is mirrored and teaches nothing.
        seen, truth = shown * inside, batch.image * inside
        with self.feature_precision():
            window = self._person_windows(batch.mask)
            losses["perceptual"] = config.perceptual_weight * self.perceptual(window(seen), window(truth))
            cut = self._detail_cuts(batch.index)
            losses["detail"] = config.detail_weight * self.perceptual(cut(seen), cut(truth))
        if self.avatar.network.config.alpha and config.alpha_weight:
            losses["alpha"] = config.alpha_weight * opacity_loss(rendering.alpha, batch.mask, inside)
        return losses

    def _person_windows(self, mask: Tensor):
        """A function that cuts the same upright window about the person out of a batch."""
        size = mask.shape[-1]
        width = size * 5 // 8 // 16 * 16
        columns = (mask > 0.5).float().sum((1, 2))  # [B, S]
        centre = (columns * torch.arange(size, device=mask.device)).sum(1) / columns.sum(1).clamp(min=1)
        left = (centre.round().long() - width // 2).clamp(0, size - width).tolist()
        return lambda x: torch.stack([x[i, :, :, at : at + width] for i, at in enumerate(left)])

    def _detail_cuts(self, index: Tensor):
        """A function that cuts face and hands [3B, C, D, D] out of a batch."""
        size, frames = self.data.size, index.cpu()
        boxes = torch.stack([box[frames] for box in self.data.boxes.values()], 1).to(index.device)  # [B, 3, 3]
        ramp = (torch.arange(DETAIL_SIZE, device=index.device) + 0.5) / DETAIL_SIZE
        x = (boxes[..., 0:1] + boxes[..., 2:3] * ramp) / size * 2 - 1  # [B, 3, D]
        y = (boxes[..., 1:2] + boxes[..., 2:3] * ramp) / size * 2 - 1
        grid = torch.stack(torch.broadcast_tensors(x[:, :, None, :], y[:, :, :, None]), -1)  # [B, 3, D, D, 2]

        def cut(pictures: Tensor) -> Tensor:
            repeated = pictures.repeat_interleave(boxes.shape[1], 0)
            return F.grid_sample(repeated, grid.flatten(0, 1), align_corners=False, padding_mode="border")

        return cut

    def _train_critic(self, batch: Batch, shown: Tensor) -> dict[str, Tensor]:
        """Neighbours are always real; the middle frame is real or generated."""
        self.critic.requires_grad_(True)
        triple = lambda middle: torch.cat([batch.before, middle, batch.after], 1)  # noqa: E731
        losses = {"critic": discriminator_loss(self.critic(triple(batch.image)), self.critic(triple(shown)))}
        if self.step % self.config.r1_every == 0:
            penalty = r1_penalty(self.critic, triple(batch.image))
            losses["critic r1"] = 0.5 * self.config.r1_weight * self.config.r1_every * penalty
        self.critic_optimizer.zero_grad()
        self.fabric.backward(sum(losses.values()))
        self.critic_optimizer.step()
        return losses

    # What is shown ------------------------------------------------------------------------------------------

    def _write_curves(self, writer: SummaryWriter, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            writer.add_scalar(f"loss/{name}", float(value), self.step)
        writer.add_scalar("learning rate", self.optimizer.param_groups[0]["lr"], self.step)
        writer.add_scalar("seconds a step", self.seconds / self.step, self.step)

    @torch.no_grad()
    def _picture(self) -> Tensor:
        """[3, 2S, nS] uint8: some held-out frames above what the avatar makes of them."""
        first, last = self.data.capture.train_frames, len(self.data) - 1
        index = torch.linspace(first, last, min(_PICTURED, last - first + 1)).round().long()
        batch = self.data.batch(index)
        self.network.eval()
        with self.fabric.autocast():
            shown = self.network(batch.maps, attention=attention_on(self.step, self.config)).over(self.data.plate)
        rows = [torch.cat(list(to_uint8(pictures)), 2) for pictures in (batch.image, shown.float())]
        return torch.cat(rows, 1)


def _plain(value):
    """As JSON gives it back: tuples are lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
