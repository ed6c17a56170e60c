"""A pretend GPU: a device that computes on the CPU, but minds what belongs to it, and counts what a GPU would wait for.

Its tensors have the device "gpu". An operation that mixes them with tensors of the host fails, as on a real GPU.
Process-wide once it is set up, so it is used in processes of its own.
"""

from collections import Counter
from contextlib import contextmanager
from unittest import mock

import torch
import warp as wp
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

GPU = "gpu:0"
aten = torch.ops.aten
_AUTOCAST = torch.library.Library("_", "IMPL")
_WAITS = {
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.unique_dim, aten._unique2,
    aten.unique_consecutive, aten.bincount, aten.is_nonzero, aten.equal,
}  # fmt: skip
_COPIES = {aten._to_copy, aten.copy_}


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.zeros(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        pass


class GpuTensor(Tensor):
    """A tensor of the pretend GPU around one of the CPU."""

    @staticmethod
    def __new__(cls, inner: Tensor):
        assert type(inner) is Tensor, type(inner)
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=torch.device(GPU), requires_grad=False,
        )  # fmt: skip

    def __init__(self, inner: Tensor):
        self.held = inner

    def __repr__(self) -> str:
        return f"GpuTensor({list(self.shape)}, {self.dtype})"

    def tolist(self) -> list:
        return self.cpu().tolist()

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _on_gpu(args[1]), *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise AssertionError(f"{operation}: the pretend GPU is used outside of `pretend_gpu`")


class Ledger(TorchDispatchMode):
    """Runs operations on the pretend GPU.

    Attributes:
        launches: number of operations on it, views aside, and kernels of Warp's.
        waits: those that wait for it, by name.
        copies: "to the GPU" and "from the GPU", of tensors that have more than one number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Start to count anew."""
        self.launches, self.waits, self.copies = 0, Counter[str](), Counter[str]()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs, packet = dict(kwargs or {}), operation.overloadpacket
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = [tensor for tensor in given if isinstance(tensor, GpuTensor)]
        asked = kwargs.get("device")
        there = torch.device(asked).type == "gpu" if asked is not None else bool(here)
        if there and asked is not None:
            kwargs["device"] = torch.device("cpu")
        if packet is aten.copy_:
            there = isinstance(args[0], GpuTensor)
        elif packet not in _COPIES and here:
            strangers = [tensor for tensor in given if not isinstance(tensor, GpuTensor) and tensor.ndim]
            assert not strangers, f"{operation}: reads a tensor {list(strangers[0].shape)} of the host"
        self._count(operation, packet, here, there)
        inner = tree_map(lambda x: x.held if isinstance(x, GpuTensor) else x, (args, kwargs))
        result = operation(*inner[0], **inner[1])
        if not there:
            return args[0] if packet is aten.copy_ else result
        wrapped = tree_map(lambda x: GpuTensor(x) if isinstance(x, Tensor) else x, result)
        return return_and_correct_aliasing(operation, args, kwargs, wrapped)

    def _count(self, operation, packet, here: list[Tensor], there: bool) -> None:
        if packet in _COPIES and bool(here) != there:  # one side only
            self.copies["to the GPU" if there else "from the GPU"] += 1
        elif packet is aten.copy_ and there and len(here) == 1:
            self.copies["to the GPU"] += 1
        if here and packet in _WAITS:
            self.waits[str(operation)] += 1
        if (
            there
            and not operation.is_view
            and not torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), "CompositeImplicitAutograd")
        ):
            self.launches += 1


def _on_gpu(index: object) -> object:
    """Send an index that is a list to the GPU, as torch would do by itself on a real one."""
    if isinstance(index, tuple):
        return tuple(_on_gpu(each) for each in index)
    return torch.tensor(index).to(GPU) if isinstance(index, list) else index


def set_up() -> None:
    """Register the device, once in a process."""
    _setup_privateuseone_for_python_backend("gpu", backend_module=_Module())
    _AUTOCAST.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # nothing runs in half precision


@contextmanager
def pretend_gpu():
    """Provide the pretend GPU; yields its ledger."""
    ledger = Ledger()
    from_torch, launch, make = wp.from_torch, wp.launch, torch.tensor

    def unwrapped(tensor: Tensor, *args, **kwargs):
        return from_torch(tensor.held if isinstance(tensor, GpuTensor) else tensor, *args, **kwargs)

    def counted(*args, **kwargs):
        ledger.launches += 1
        return launch(*args, **kwargs)

    def tensor(data, *, device=None, **kwargs) -> Tensor:
        made = make(data, **kwargs)
        return made if device is None else made.to(device)

    with (
        mock.patch.object(torch, "tensor", tensor),
        mock.patch.object(wp, "from_torch", unwrapped),
        mock.patch.object(wp, "launch", counted),
        mock.patch.object(wp, "device_from_torch", lambda device: "cpu"),
        mock.patch.object(nn.Module, "_apply", _apply),
        ledger,
    ):
        yield ledger


def _apply(module: nn.Module, change, recurse: bool = True) -> nn.Module:
    """Change all tensors of a module; without the swap of tensors in place that torch tries for subclasses."""
    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is not None:
                each._parameters[name] = nn.Parameter(change(parameter.detach()), parameter.requires_grad)
        for name, buffer in each._buffers.items():
            if buffer is not None:
                each._buffers[name] = change(buffer)
    return module
