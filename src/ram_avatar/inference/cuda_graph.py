"""Work on a CUDA GPU as one graph, so that no kernel is launched separately."""

import warnings
from collections.abc import Callable

import torch

_WARM_UP = 3  # runs before the recording: what is set up on first use must not be recorded


class CudaGraph:
    """Records work once and replays it.

    Args:
        work: takes its inputs from tensors that stay, and leaves its results in some; it must not wait for the GPU, nor
            use shapes that depend on values.
    """

    def __init__(self, work: Callable[[], object]):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            work()

    def __call__(self) -> None:
        """Run the work again. This overwrites its results."""
        self._graph.replay()


def record(work: Callable[[], object]) -> Callable[[], object]:
    """Return work as a `CudaGraph`; with a warning, the work itself if this GPU or its driver cannot record it."""
    try:
        return CudaGraph(work)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"frames are not recorded as a graph here, which is slower: {reason}", RuntimeWarning, stacklevel=2
        )
        return work
