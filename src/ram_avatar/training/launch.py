"""Several devices: this process drives the first, and one more process each of the others."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor
from torch.multiprocessing import get_context


@contextmanager
def launched(device: torch.device, devices: int, precision: str, worker: Callable, *arguments) -> Iterator[Fabric]:
    """A fabric over `devices` devices, for as long as the block lasts.

    The other processes call `worker(fabric, *arguments)`, which has to take every step that this one takes.
    Unlike Fabric's own launcher, which runs the whole command again in every process, it leaves this process
    as it is: with its progress bar, and whoever called it.
    """
    if devices == 1:
        yield Fabric(accelerator=device.type, devices=1, precision=precision)
        return
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    before, threads = dict(os.environ), torch.get_num_threads()
    context = get_context("spawn")
    others = [
        context.Process(target=_work, args=(place, rank, device, devices, precision, worker, arguments), daemon=True)
        for rank in range(1, devices)
    ]
    try:
        for process in others:
            process.start()
        yield _join(place, 0, device, devices, precision)
        for process in others:
            process.join()
    finally:
        for process in others:
            process.terminate()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads(threads)


def average_gradients(fabric: Fabric, parameters: list[torch.nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat: Tensor = fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _join(place: dict[str, str], rank: int, device: torch.device, devices: int, precision: str) -> Fabric:
    os.environ.update(place | {"LOCAL_RANK": str(rank)})
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    environment = LightningEnvironment()
    fabric = Fabric(
        accelerator=device.type, devices=devices, strategy="ddp", precision=precision, plugins=[environment]
    )
    fabric.launch()
    return fabric


def _work(place, rank, device, devices, precision, worker, arguments) -> None:
    worker(_join(place, rank, device, devices, precision), *arguments)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
