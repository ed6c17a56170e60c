"""Detects on any device what a CUDA graph cannot record."""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
_WAITS = {aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.equal, aten.allclose}
_SHAPES_FROM_DATA = {
    aten.nonzero, aten.masked_select, aten.unique_dim, aten._unique2, aten.unique_consecutive, aten.bincount,
    aten.repeat_interleave,
}  # fmt: skip
_INDEXING = {aten.index, aten.index_put, aten.index_put_}


class GraphSafe(TorchDispatchMode):
    """Raises AssertionError at the first operation that a CUDA graph cannot record.

    These wait for the device, have a result whose shape depends on values, or read a tensor made from Python values.

    Args:
        known: modules and tensors that are already on the device.
    """

    def __init__(self, *known: nn.Module | Tensor):
        super().__init__()
        self._known: dict[int, Tensor] = {}  # by storage; holding the tensors keeps the ids unique
        for each in known:
            for tensor in [each] if isinstance(each, Tensor) else [*each.parameters(), *each.buffers()]:
                self._know(tensor)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        packet = operation.overloadpacket
        assert packet not in _WAITS, f"{operation} waits for the device"
        assert packet not in _SHAPES_FROM_DATA, f"{operation} has a shape that depends on values"
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in given:
            assert tensor.untyped_storage()._cdata in self._known, f"{operation} reads a tensor made on the host"
            if packet in _INDEXING:
                assert tensor is args[0] or tensor.dtype not in (torch.bool, torch.uint8), f"{operation} by a mask"
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._know(leaf)
        return result

    def _know(self, tensor: Tensor) -> None:
        self._known[tensor.untyped_storage()._cdata] = tensor
