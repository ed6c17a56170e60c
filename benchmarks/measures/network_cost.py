"""Cost of the network, counted rather than timed: FLOP and bytes by part, without a GPU.

On the meta device tensors have shapes but no values, so a training step of the largest preset is counted in seconds.
One FLOP is an addition or multiplication in a convolution or matrix product; other operations do not count.
"""

import weakref
from collections import Counter

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from ram_avatar.config import NetworkConfig
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps

REST = "the rest"
"""The part for all operations outside the watched modules."""


class Meter(TorchDispatchMode):
    """Counts FLOP and the bytes of live tensors, by part.

    Bytes are those of distinct storages on one device, from the operation that creates them until they are released:
    parameters, gradients, optimizer states, saved activations and temporaries. Storages created before the meter was
    entered are not counted, nor is memory internal to an operation (a convolution's workspace).
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = torch.device(device)
        self.part = REST
        """The current part; set it to REST after a backward pass."""
        self.flops: Counter[str] = Counter()
        self.alive: Counter[str] = Counter()
        """Live bytes, by the part that created them."""
        self.peak_bytes = 0
        self._tracked: set[int] = set()

    @property
    def bytes(self) -> int:
        """Live bytes."""
        return self.alive.total()

    def watch(self, parts: dict[str, nn.Module]) -> None:
        """Count these modules, forward and backward, under these names."""
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
                # Autograd runs in reverse order: from this gradient on it is in this module, until it reaches the
                # outputs of an earlier one.
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    tensor.register_hook(enter_backward)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        if operation is torch.ops.aten.convolution.default and result.is_meta:
            # Keep the memory format of the weights, as on real devices; the meta device loses it, which adds copies.
            result = result.contiguous(memory_format=suggest_memory_format(args[1]))
        if formula := flop_registry.get(operation.overloadpacket):
            self.flops[self.part] += formula(*args, **kwargs, out_val=result)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device.type:
                self._track(tensor.untyped_storage())
        return result

    def _track(self, storage: torch.UntypedStorage) -> None:
        key, part, size = storage._cdata, self.part, storage.nbytes()
        if key in self._tracked:
            return
        self._tracked.add(key)
        self.alive[part] += size
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        weakref.finalize(storage, self._forget, key, part, size)

    def _forget(self, key: int, part: str, size: int) -> None:
        self._tracked.remove(key)
        self.alive[part] -= size


class MetaAutocast(TorchFunctionMode):
    """Autocast to bf16 for the meta device, which `torch.autocast` ignores.

    Convolutions and matrix products cast their arguments, as on a GPU.
    """

    products = (torch.conv2d, nn.functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.products:
            args, kwargs = tree_map(_to_bf16, (args, kwargs))
        return function(*args, **(kwargs or {}))


def _to_bf16(value):
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def parts(network: AvatarNetwork) -> dict[str, nn.Module]:
    """Return the parts of a network that have a cost, by their names in the paper."""
    branches = {"previous": "temporal branch", "expanded": "spatial branch"}
    features = {"face": "face network", "hands": "hand network"}
    return {
        "neural texture": network.neural_texture,
        **{branches[name]: branch for name, branch in network.dual_attention.branches.items()},
        **{features[name]: part for name, part in network.part_networks.items() if name in features},
        "StyleUNet": network.style_unet,
    }


def parameters(modules: dict[str, nn.Module]) -> dict[str, int]:
    """Return the number of parameters of each module."""
    return {part: sum(p.numel() for p in module.parameters()) for part, module in modules.items()}


def full_maps(batch: int, size: int) -> ConditionMaps:
    """Return condition maps of a person who covers the whole image, on torch's default device."""
    channels = {"position": 4, "previous": 4, "expanded": 4, "face": 3, "hands": 5, "color": 3, "novelty": 1}
    return ConditionMaps(**{name: torch.ones(batch, count, size, size) for name, count in channels.items()})


def frame_flops(config: NetworkConfig) -> Counter[str]:
    """Count the FLOP of one forward frame, by part."""
    with Meter() as meter, torch.device("meta"), torch.no_grad():
        network = AvatarNetwork(config)
        meter.watch(parts(network))
        network(full_maps(1, config.image_size))
    return meter.flops
