"""Cost of a training step: FLOP and bytes, counted as in `network_cost`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from measures.network_cost import (
    REST,
    MetaAutocast,
    Meter,
    full_maps,
    parameters,
    parts,
)
from ram_avatar.config import Preset
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.networks.discriminator import TemporalDiscriminator
from ram_avatar.networks.painting import Painting
from ram_avatar.training.large_windows import COUNT, Windows
from ram_avatar.training.large_windows import SIZE as WINDOW_SIZE
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
_STATE_BYTES = 16  # per trained parameter in float32: value, gradient, and Adam's two moments


@dataclass(frozen=True)
class StepCost:
    """Cost of a training step with every part of the preset active."""

    parameters: dict[str, int]
    """By part."""
    flops: dict[str, float]
    """By part, with the gradient penalty averaged over steps."""
    activations: dict[str, int]
    """Bytes held when the network's backward pass begins, by part."""
    state_bytes: int
    """Bytes of weights, gradients and Adam's moments."""
    peak_bytes: int
    """Peak of live bytes, including all of the above, in a step with a gradient penalty."""


def step_cost(preset: Preset, bf16: bool) -> StepCost:
    """Count a training step of a preset, in float32 or with autocast to bf16.

    Memory excludes the rasterizer of the condition maps, the CUDA context, workspaces of single operations, and
    fragmentation. The neural texture is counted as if the person covered the whole image.
    """
    with Meter() as meter, torch.device("meta"):
        step = TrainingStep(preset, meter, MetaAutocast if bf16 else nullcontext)
        modules = parts(step.network) | step.loss_networks
        meter.watch(modules)
        step.run(penalty=False)  # Adam has states from the second step on
        meter.flops.clear()
        step.run(penalty=False)
        plain = meter.flops.copy()
        meter.flops.clear()
        meter.peak_bytes = 0
        step.run(penalty=True)
    every = preset.training.r1_every
    counts = parameters(modules)
    trained = [p for module in (step.network, *step.loss_networks.values()) for p in module.parameters()]
    return StepCost(
        parameters=counts,
        flops={part: plain[part] + (meter.flops[part] - plain[part]) / every for part in [*modules, REST]},
        activations=step.activations,
        state_bytes=_STATE_BYTES * sum(p.numel() for p in trained),
        peak_bytes=meter.peak_bytes,
    )


def full_windows(batch: int) -> Windows:
    """Return windows that the person covers, as many as `WindowCutter` cuts out of a batch."""
    count = batch * COUNT
    image = lambda channels: torch.ones(count, channels, WINDOW_SIZE, WINDOW_SIZE)
    return Windows(
        frames=[place for place in range(batch) for _ in range(COUNT)],
        boxes=[(0.0, 0.0, WINDOW_SIZE / 2)] * count,
        truth=image(3),
        inside=image(1),
        behind=image(3),
        surface=image(4),
    )


class TrainingStep:
    """A copy of `training.trainer.Trainer.train_step` that needs no capture and runs on any device.

    The person covers the whole image. A test keeps it in step with the trainer.

    Args:
        meter: the meter under which it is created and run.
        autocast: context of the networks and VGG.
    """

    def __init__(self, preset: Preset, meter: Meter, autocast: Callable[[], AbstractContextManager]) -> None:
        self.config, self.meter, self.autocast = preset.training, meter, autocast
        self.size, batch = preset.network.image_size, preset.training.batch_size
        self.network = AvatarNetwork(preset.network)
        layout = torch.channels_last
        self.perceptual = PerceptualLoss(self.config.perceptual_layers).to(meter.device, memory_format=layout)
        self.loss_networks: dict[str, nn.Module] = {"VGG": self.perceptual}
        self.adversarial = self.config.adversarial_weight > 0
        if self.adversarial:
            self.discriminator = TemporalDiscriminator(preset.network).to(memory_format=layout)
            self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters())
            self.loss_networks = {"discriminator": self.discriminator} | self.loss_networks
        self.optimizer = torch.optim.Adam(parameter_groups(self.network, preset.training))
        image = lambda *shape: torch.ones(*shape, self.size, self.size)
        self.maps = full_maps(batch, self.size)
        self.index = torch.zeros(batch, dtype=torch.long)
        self.before, self.image, self.after = (image(batch, 3) for _ in range(3))
        self.mask, self.plate, self.inside = image(batch, 1), image(1, 3), image(1, 1)
        self.boxes = torch.ones(batch, _DETAILS, 3)
        self.windows = full_windows(batch) if self.config.large_size > self.size else None
        self.activations: dict[str, int] = {}

    def run(self, penalty: bool) -> None:
        """Run one step, with or without the discriminator's gradient penalty."""
        before = self.meter.alive.copy()
        with self.autocast():
            painting = self.network.paint(self.maps, style=self.index)
            rendering = self.network.compose(painting, self.maps.surface)
            image = rendering.over(self.plate)
        loss = self._loss(rendering.alpha, image) + self._detail(painting, image)
        if self.adversarial:
            self.discriminator.requires_grad_(False)
            loss = loss + generator_loss(self._score(image))
        self.activations = {part: size - before[part] for part, size in self.meter.alive.items()}
        self._descend(self.optimizer, self.network, loss, self.config.gradient_clip)
        if self.adversarial:
            self._train_discriminator(image.detach(), penalty)

    def _train_discriminator(self, rendered: Tensor, penalty: bool) -> None:
        self.discriminator.requires_grad_(True)
        loss = discriminator_loss(self._score(self.image), self._score(rendered))
        if penalty:
            loss = loss + r1_penalty(self.discriminator, self._triple(self.image))
        self._descend(self.discriminator_optimizer, self.discriminator, loss)

    def _loss(self, alpha: Tensor, rendered: Tensor) -> Tensor:
        loss = smooth_l1(rendered, self.image, self.inside * (1 + self.mask))
        seen, truth = rendered * self.inside, self.image * self.inside
        with self.autocast():
            window = person_windows(self.mask)
            loss = loss + self.perceptual(window(seen), window(truth))
        return loss + opacity_loss(alpha, self.mask, self.inside) if alpha.requires_grad else loss

    def _detail(self, painting: Painting, rendered: Tensor) -> Tensor:
        if self.windows is not None:
            shown = self.windows.show(self.network, painting, self.size)
            with self.autocast():
                return self.perceptual(shown * self.windows.inside, self.windows.truth * self.windows.inside)
        cut = detail_cuts(self.boxes, self.size)
        with self.autocast():
            return self.perceptual(cut(rendered * self.inside), cut(self.image * self.inside))

    def _triple(self, middle: Tensor) -> Tensor:
        return torch.cat([self.before, middle, self.after], 1)

    def _score(self, middle: Tensor) -> Tensor:
        with self.autocast():
            return self.discriminator(self._triple(middle)).float()

    def _descend(self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor, clip: float | None = None):
        loss.backward()
        self.meter.part = REST
        if clip:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
