"""What the network and its training cost, counted and not timed: FLOP and bytes, part by part, without a GPU.

On the meta device tensors have shapes and no values, and a training step of the largest preset is counted in
seconds. One FLOP is an addition or a multiplication of a convolution or a matrix product; no other operation
counts.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from ..config import NetworkConfig, Preset
from ..training.losses import PerceptualLoss, discriminator_loss, generator_loss, opacity_loss, r1_penalty, smooth_l1
from ..training.windows import detail_cuts, person_windows
from .avatar_network import AvatarNetwork, ConditionMaps
from .discriminator import TemporalDiscriminator

REST = "the rest"
"""The part of all that happens outside of the watched modules."""
_DETAILS = 3  # a face and two hands
_STATE_BYTES = 16  # of a trained parameter in float32: itself, its gradient, and Adam's two moments


class Meter(TorchDispatchMode):
    """Counts what runs under it, part by part: FLOP, and the bytes of the tensors that are alive.

    Bytes are those of distinct storages on one device, from the operation that makes them until nobody holds
    them: parameters, gradients, optimizer states, saved activations and temporaries alike. What was made before
    the meter was entered is not counted, nor what an operation needs within itself (a convolution's workspace).
    """

    def __init__(self, device: str = "meta"):
        super().__init__()
        self.device = torch.device(device)
        self.part = REST
        """Who is at work; to be set back to REST after a backward pass."""
        self.flops: Counter[str] = Counter()
        self.alive: Counter[str] = Counter()
        """Bytes alive, by the part that made them."""
        self.peak_bytes = 0
        self._seen: set[int] = set()

    @property
    def bytes(self) -> int:
        """Bytes alive."""
        return self.alive.total()

    def watch(self, parts: dict[str, nn.Module]) -> None:
        """Count what these modules do, forward and backward, under these names."""
        for part, module in parts.items():
            self._watch(part, module)

    def _watch(self, part: str, module: nn.Module) -> None:
        outer: list[str] = []

        def enter(*_) -> None:
            outer.append(self.part)
            self.part = part

        def enter_backward(_gradient: Tensor) -> None:
            self.part = part

        def leave(_module: nn.Module, _inputs: tuple, outputs) -> None:
            self.part = outer.pop()
            for tensor in tree_leaves(outputs):
                # Autograd runs last what was first: from this gradient on it is in this module, until it comes to
                # the outputs of an earlier one.
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    tensor.register_hook(enter_backward)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        if operation is torch.ops.aten.convolution.default and result.is_meta:
            # In the order of the weights, as real ones; on the meta device they forget it, and copies follow.
            result = result.contiguous(memory_format=suggest_memory_format(args[1]))
        if formula := flop_registry.get(operation.overloadpacket):
            self.flops[self.part] += formula(*args, **kwargs, out_val=result)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device.type:
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, part, size = storage._cdata, self.part, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.alive[part] += size
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        weakref.finalize(storage, self._forget, key, part, size)

    def _forget(self, key: int, part: str, size: int) -> None:
        self._seen.remove(key)
        self.alive[part] -= size


class MetaAutocast(TorchFunctionMode):
    """Does on the meta device, which `torch.autocast` leaves alone, what that does in bf16 on a GPU: convolutions
    and matrix products cast their arguments."""

    products = (torch.conv2d, nn.functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.products:
            args, kwargs = tree_map(_to_bf16, (args, kwargs))
        return function(*args, **(kwargs or {}))


def _to_bf16(value):
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def parts(network: AvatarNetwork) -> dict[str, nn.Module]:
    """The parts of a network that cost anything, by their names in the paper."""
    branches = {"previous": "temporal branch", "expanded": "spatial branch"}
    features = {"face": "face network", "hands": "hand network"}
    return {
        "neural texture": network.neural_texture,
        **{branches[name]: branch for name, branch in network.dual_attention.branches.items()},
        **{features[name]: part for name, part in network.part_networks.items() if name in features},
        "StyleUNet": network.style_unet,
    }


def parameters(modules: dict[str, nn.Module]) -> dict[str, int]:
    """How many parameters each module has."""
    return {part: sum(p.numel() for p in module.parameters()) for part, module in modules.items()}


def full_maps(batch: int, size: int) -> ConditionMaps:
    """Condition maps of a person who covers everything, on torch's default device."""
    channels = {"position": 4, "previous": 4, "expanded": 4, "face": 3, "hands": 5, "color": 3}
    return ConditionMaps(**{name: torch.ones(batch, count, size, size) for name, count in channels.items()})


def frame_flops(config: NetworkConfig) -> Counter[str]:
    """FLOP of one frame, forward, by part."""
    with Meter() as meter, torch.device("meta"), torch.no_grad():
        network = AvatarNetwork(config)
        meter.watch(parts(network))
        network(full_maps(1, config.image_size))
    return meter.flops


@dataclass(frozen=True)
class StepCost:
    """Of a training step in which everything takes part: attention, texture and discriminator."""

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
        modules = parts(step.network) | {"discriminator": step.critic, "VGG": step.perceptual}
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
    trained = [*step.network.parameters(), *step.critic.parameters()]
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
        self.critic = TemporalDiscriminator(preset.network).to(memory_format=layout)
        self.perceptual = PerceptualLoss(self.config.perceptual_layers).to(meter.device, memory_format=layout)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters())
        picture = lambda *shape: torch.ones(*shape, self.size, self.size)  # noqa: E731
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
        self.critic.requires_grad_(False)
        loss = loss + generator_loss(self._score(shown))
        self.activations = {part: size - before[part] for part, size in self.meter.alive.items()}
        self._descend(self.optimizer, self.network, loss, self.config.gradient_clip)
        self.critic.requires_grad_(True)
        loss = discriminator_loss(self._score(self.image), self._score(shown.detach()))
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
        optimizer.zero_grad()
        loss.backward()
        self.meter.part = REST
        if clip:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
