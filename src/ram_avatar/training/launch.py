"""Training on several devices: this process drives the first, and one more process each of the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import ClusterEnvironment
from torch import Tensor, distributed
from torch.multiprocessing import get_context

_HOST = "127.0.0.1"
_TIMEOUT = timedelta(minutes=30)  # of a collective operation; Fabric's default


@contextmanager
def launched(
    device: torch.device, devices: int, precision: str, worker: Callable, *arguments: object
) -> Iterator[Fabric]:
    """Yield a fabric over `devices` devices, which lasts as long as the block.

    The other processes call `worker(fabric, *arguments)`, which has to take every step that this one takes.
    Fabric's own launcher runs the whole command again in every process; this one leaves the calling process, its
    progress bar and its environment variables as they are.
    """
    if devices == 1:
        yield _fabric(device.type, 1, precision)
        return
    store = distributed.TCPStore(_HOST, 0, devices, is_master=True, wait_for_workers=False)
    group, threads = _Group(device.type, devices, precision, store.port), torch.get_num_threads()
    context = get_context("spawn")
    others = [
        context.Process(target=_work, args=(group, rank, worker, arguments), daemon=True) for rank in range(1, devices)
    ]
    try:
        for process in others:
            process.start()
        yield group.join(0, store)
        for process in others:
            process.join()
    finally:
        for process in others:
            process.terminate()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        torch.set_num_threads(threads)


def average_gradients(fabric: Fabric, parameters: list[torch.nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
    assert isinstance(flat, Tensor)
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@dataclass(frozen=True)
class _Group:
    """The processes of one machine that train together, and the port where they meet."""

    device: str  # "cpu" or "cuda"
    size: int
    precision: str
    port: int

    def join(self, rank: int, store: distributed.TCPStore) -> Fabric:
        """Join the group as member `rank`; return once all members have joined."""
        if self.device == "cpu":
            torch.set_num_threads(max(1, torch.get_num_threads() // self.size))
        # Fabric would pass the address in environment variables, but it also accepts an initialized group.
        distributed.init_process_group(
            "nccl" if self.device == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=self.size,
            timeout=_TIMEOUT,
            device_id=torch.device("cuda", rank) if self.device == "cuda" else None,
        )
        fabric = _fabric(self.device, self.size, self.precision, strategy="ddp", plugins=[_Member(rank, self)])
        fabric.launch()
        return fabric


class _Member(ClusterEnvironment):
    """Fabric's view of one member of a group."""

    def __init__(self, rank: int, group: _Group):
        self._rank, self._group = rank, group

    creates_processes_externally = True
    main_address = _HOST

    @property
    def main_port(self) -> int:
        return self._group.port

    @staticmethod
    def detect() -> bool:
        return False  # never chosen by Fabric itself

    def world_size(self) -> int:
        return self._group.size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._rank

    def node_rank(self) -> int:
        return 0


def _fabric(device: str, devices: int, precision: Any, **options: Any) -> Fabric:
    """Make a fabric; `precision` is any that Fabric knows."""
    return Fabric(accelerator=device, devices=devices, precision=precision, **options)


def _work(group: _Group, rank: int, worker: Callable, arguments: tuple) -> None:
    store = distributed.TCPStore(_HOST, group.port, group.size, is_master=False)
    try:
        worker(group.join(rank, store), *arguments)
    finally:
        distributed.destroy_process_group()
