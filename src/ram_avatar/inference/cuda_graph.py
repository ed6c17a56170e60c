"""A folded network as a CUDA graph."""

import torch
from torch import Tensor

from ..rendering.condition_maps import MeshMaps
from .folding import FoldedNetwork, Windows


class CudaGraphNetwork:
    """A folded network on a CUDA GPU, recorded as one graph, so no kernel is launched separately in any frame.

    Args:
        maps: of any frame; later frames must have the same shapes.
    """

    def __init__(self, network: FoldedNetwork, maps: MeshMaps):
        self._maps = MeshMaps(**{name: tensor.clone() for name, tensor in vars(maps).items()})
        self.attends_to_previous = network.attends_to_previous
        self._previous = maps.position.clone() if network.attends_to_previous else None
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # warm up: lazy initialization must not be recorded
            for _ in range(3):
                network(self._maps, self._previous)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._image = network(self._maps, self._previous)

    def __call__(self, maps: MeshMaps, previous: Tensor | None, windows: Windows | None = None) -> Tensor:
        """Run the network, see `FoldedNetwork.forward`. The next call overwrites the result."""
        for name, tensor in vars(maps).items():
            getattr(self._maps, name).copy_(tensor)
        if self._previous is not None:
            self._previous.copy_(maps.position if previous is None else previous)
        self._graph.replay()
        return self._image
