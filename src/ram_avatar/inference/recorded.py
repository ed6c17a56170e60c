"""The renderer for GPUs: every frame is one program, recorded as one graph where that is possible."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..core.device import multiplies_bf16
from ..rendering.frame_maps import FrameMapper
from .cuda_graph import record
from .folding import FoldedNetwork
from .frame_program import FrameProgram
from .shot import Shot


@dataclass
class _Prepared:
    """A program with its run, and a pair of host buffers for each shot in flight."""

    program: FrameProgram
    run: Callable[[], object]
    numbers: list[Tensor]
    pictures: list[Tensor]
    plate: np.ndarray | None = None  # the one that the program has

    def __post_init__(self) -> None:
        self.turn = 0


class RecordedRenderer:
    """Renders shots on a GPU; see `shot.Renderer`. One is computed while the picture before it leaves.

    Args:
        exact: float32; otherwise bf16 where the GPU is fast at it.
    """

    ahead = 1

    def __init__(self, avatar: Avatar, mapper: FrameMapper, exact: bool):
        self._avatar, self._mapper = avatar, mapper
        network = FoldedNetwork(avatar.network).to(avatar.device)
        half = not exact and multiplies_bf16(avatar.device)
        self._network = network.in_bf16() if half else network
        self._prepared: dict[tuple, _Prepared] = {}
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None, float]] = deque()
        self.timings: dict[str, float] = {}

    def submit(self, shot: Shot) -> None:
        """Send a shot's numbers to the GPU, and let it render."""
        if len(self._waiting) > self.ahead:
            raise ValueError(f"{len(self._waiting)} pictures wait to be collected; at most {self.ahead} may")
        started = time.perf_counter()
        kind = (shot.behind.shape, shot.times, shot.enlarged)
        if kind not in self._prepared:
            self._prepared[kind] = self._prepare(shot)
        prepared = self._prepared[kind]
        program, slot = prepared.program, prepared.turn
        prepared.turn = (slot + 1) % (1 + self.ahead)
        prepared.numbers[slot].copy_(torch.from_numpy(program.numbers_of(shot)))
        program.numbers.copy_(prepared.numbers[slot], non_blocking=True)
        if prepared.plate is not shot.behind:
            program.plate.copy_(torch.from_numpy(shot.behind))
            prepared.plate = shot.behind
        prepared.run()
        prepared.pictures[slot].copy_(program.picture, non_blocking=True)
        done = None
        if self._on_cuda:
            done = torch.cuda.Event()
            done.record()
        self.timings = {"submit": time.perf_counter() - started}
        self._waiting.append((prepared.pictures[slot], done, started))

    def collect(self) -> np.ndarray:
        """Wait for the earliest picture."""
        picture, done, started = self._waiting.popleft()
        asked = time.perf_counter()
        if done is not None:
            done.synchronize()
        found = picture.numpy().copy()
        finished = time.perf_counter()
        self.timings |= {"wait": finished - asked, "total": finished - started}
        return found

    def _prepare(self, shot: Shot) -> _Prepared:
        """Write the program for a kind of shot, and record it."""
        program = FrameProgram(self._avatar, self._mapper, self._network, shot)
        run = record(program.run) if self._on_cuda else program.run
        return _Prepared(program, run, self._buffers(program.numbers), self._buffers(program.picture))

    def _buffers(self, like: Tensor) -> list[Tensor]:
        """Return host memory for each shot in flight, which a GPU reads and writes by itself."""
        return [torch.empty_like(like, device="cpu", pin_memory=self._on_cuda) for _ in range(1 + self.ahead)]

    @property
    def _on_cuda(self) -> bool:
        return self._avatar.device.type == "cuda"
