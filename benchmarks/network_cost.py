"""What the network costs, counted and not timed: FLOP and bytes, part by part, without a GPU.

On the meta device tensors have shapes and no values, and a training step of the largest preset is counted in
seconds. One FLOP is an addition or a multiplication of a convolution or a matrix product; no other operation
counts.
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
"""The part of all that happens outside of the watched modules."""


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
