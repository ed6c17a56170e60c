"""What a training step costs: FLOP and bytes, counted as in `networks.cost`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from network_cost import (
    REST,
    MetaAutocast,
    Meter,
    full_maps,
    parameters,
    parts,
)
from torch import Tensor, nn

from ram_avatar.config import Preset
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.networks.discriminator import TemporalDiscriminator
from ram_avatar.training.loss_crops import detail_cuts, person_windows
from ram_avatar.training.losses import (
    PerceptualLoss,
    discriminator_loss,
    generator_loss,
    opacity_loss,
    r1_penalty,
    smooth_l1,
)
from ram_avatar.training.optimizers import parameter_groups

_DETAILS = 3  # a face and two hands
_STATE_BYTES = 16  # of a trained parameter in float32: itself, its gradient, and Adam's two moments


@dataclass(frozen=True)
class StepCost:
    """Of a training step in which everything that the preset has takes part."""

    parameters: dict[str, int]
    """By part."""
    flops: dict[str, float]
    """By part; of the gradient penalty, its share of a step."""
    activations: dict[str, int]
    """Bytes held by part when the network's backward pass begins."""
    state_bytes: int
    """Of weights, gradients and Adam's moments."""
    peak_bytes: int
    """The most that was alive at once, all of the above included, in a step with a gradient penalty."""


def step_cost(preset: Preset, bf16: bool) -> StepCost:
    """Count a training step of a preset, in float32 or as with autocast to bf16.

    Not in the memory: the maps' rasterizer, the CUDA context, workspaces of single operations, and what an
    allocator loses. The neural texture is counted as if the person covered the whole picture.
    """
    with Meter() as meter, torch.device("meta"):
        step = TrainingStep(preset, meter, MetaAutocast if bf16 else nullcontext)
        modules = parts(step.network) | step.judges
        meter.watch(modules)
        step.run(penalty=False)  # from the second one on there are states of Adam
        meter.flops.clear()
        step.run(penalty=False)
        plain = meter.flops.copy()
        meter.flops.clear()
        meter.peak_bytes = 0
        step.run(penalty=True)
    every = preset.training.r1_every
    counts = parameters(modules)
    trained = [p for module in (step.network, *step.judges.values()) for p in module.parameters()]
    return StepCost(
        parameters=counts,
        flops={part: plain[part] + (meter.flops[part] - plain[part]) / every for part in [*modules, REST]},
        activations=step.activations,
        state_bytes=_STATE_BYTES * sum(p.numel() for p in trained),
        peak_bytes=meter.peak_bytes,
    )


class TrainingStep:
    """The twin of `training.trainer.Trainer.train_step` that needs no capture: what it computes, on any device,
    of a person who covers everything.

    A test holds the two together.

    Args:
        meter: under which this is made and run.
        autocast: of the networks and VGG.
    """

    def __init__(self, preset: Preset, meter: Meter, autocast: Callable[[], AbstractContextManager]):
        self.config, self.meter, self.autocast = preset.training, meter, autocast
        self.size, batch = preset.network.image_size, preset.training.batch_size
        self.network = AvatarNetwork(preset.network)
        layout = torch.channels_last
        self.perceptual = PerceptualLoss(self.config.perceptual_layers).to(meter.device, memory_format=layout)
        self.judges: dict[str, nn.Module] = {"VGG": self.perceptual}
        self.adversarial = self.config.adversarial_weight > 0
        if self.adversarial:
            self.critic = TemporalDiscriminator(preset.network).to(memory_format=layout)
            self.critic_optimizer = torch.optim.Adam(self.critic.parameters())
            self.judges = {"discriminator": self.critic} | self.judges
        self.optimizer = torch.optim.Adam(parameter_groups(self.network, preset.training))
        picture = lambda *shape: torch.ones(*shape, self.size, self.size)
        self.maps = full_maps(batch, self.size)
        self.index = torch.zeros(batch, dtype=torch.long)
        self.before, self.image, self.after = (picture(batch, 3) for _ in range(3))
        self.mask, self.plate, self.inside = picture(batch, 1), picture(1, 3), picture(1, 1)
        self.boxes = torch.ones(batch, _DETAILS, 3)
        self.activations: dict[str, int] = {}

    def run(self, penalty: bool) -> None:
        """One step, with the discriminator's gradient penalty or without."""
        before = self.meter.alive.copy()
        with self.autocast():
            rendering = self.network(self.maps, style=self.index)
            shown = rendering.over(self.plate)
        loss = self._loss(rendering.alpha, shown)
        if self.adversarial:
            self.critic.requires_grad_(False)
            loss = loss + generator_loss(self._score(shown))
        self.activations = {part: size - before[part] for part, size in self.meter.alive.items()}
        self._descend(self.optimizer, self.network, loss, self.config.gradient_clip)
        if self.adversarial:
            self._train_critic(shown.detach(), penalty)

    def _train_critic(self, shown: Tensor, penalty: bool) -> None:
        self.critic.requires_grad_(True)
        loss = discriminator_loss(self._score(self.image), self._score(shown))
        if penalty:
            loss = loss + r1_penalty(self.critic, self._triple(self.image))
        self._descend(self.critic_optimizer, self.critic, loss)

    def _loss(self, alpha: Tensor, shown: Tensor) -> Tensor:
        loss = smooth_l1(shown, self.image, self.inside * (1 + self.mask))
        seen, truth = shown * self.inside, self.image * self.inside
        with self.autocast():
            # Where the windows are matters to nobody, and a mask without values does not say.
            window = person_windows(torch.zeros(self.mask.shape, device="cpu"))
            cut = detail_cuts(self.boxes, self.size)
            loss = loss + self.perceptual(window(seen), window(truth)) + self.perceptual(cut(seen), cut(truth))
        return loss + opacity_loss(alpha, self.mask, self.inside) if alpha.requires_grad else loss

    def _triple(self, middle: Tensor) -> Tensor:
        return torch.cat([self.before, middle, self.after], 1)

    def _score(self, middle: Tensor) -> Tensor:
        with self.autocast():
            return self.critic(self._triple(middle)).float()

    def _descend(self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor, clip: float | None = None):
        loss.backward()
        self.meter.part = REST
        if clip:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
