"""What a GPU does, done on the pretend one: `python scenarios.py AVATAR CAPTURE` prints what was found as JSON.

A process of its own, since a pretend device lasts as long as the process.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from pretend_gpu.pretend_device import GPU, Ledger, pretend_gpu, set_up
from tiny_network import TINY_NETWORK

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture
from ram_avatar.config import Preset, TrainingConfig
from ram_avatar.core.progress import Silent
from ram_avatar.creation import train as creation
from ram_avatar.creation.options import TrainOptions
from ram_avatar.inference.engine import Engine
from ram_avatar.training.avatar_data import avatar_data
from ram_avatar.training.trainer import Trainer

FRAMES = 3
RENDERS = {
    "close-up": {"close_up": True},
    "scene": {"size": (512, 512)},
    "small scene": {"size": (48, 48)},
    "cut out": {"background": "transparent"},
}
STEPS = 3  # of a training run; the last one is looked at


class OneGpu:
    """What the trainer needs of a fabric."""

    device = torch.device("cpu")
    is_global_zero, global_rank, world_size = True, 0, 1

    def autocast(self):
        return nullcontext()

    def all_reduce(self, values, reduce_op):
        return values


def rendered(avatar: str, capture: Capture, options: dict) -> dict:
    """Render frames on both devices; count what the last one costs."""
    frames = list(capture.motion[:FRAMES].frames())
    wanted = list(Engine(Avatar.load(avatar), **options).render_all(frames))
    with pretend_gpu() as ledger:
        engine, found = Engine(Avatar.load(avatar).to(GPU), **options), []
        for frame in frames:
            ledger.reset()
            found.append(engine.render(frame))
        counts = counted(ledger)
    apart = np.abs(np.stack(found).astype(int) - np.stack(wanted)).max(-1)
    return {**counts, "differ": float((apart > 1).mean()), "contrast": float(np.std(found[0]))}


def trained(avatar: str, capture: Capture, large: int, **training) -> dict:
    """Take steps on both devices with everything on; count what the last one costs."""
    config = TrainingConfig(
        steps=12, batch_size=2, attention_start=0.0, texture_frozen=0.0, discriminator_start=0.0, warmup_steps=1,
        perceptual_layers=("relu1_1", "relu2_1"), large_size=large, **training,
    )  # fmt: skip
    preset = Preset("tiny", TINY_NETWORK, config, texture_size=64)

    def steps(device: str, ledger: Ledger | None = None) -> list[dict[str, float]]:
        fabric, folder = OneGpu(), Path(tempfile.mkdtemp())
        fabric.device = torch.device(device)
        here = Avatar.load(avatar).to(device)
        data = avatar_data(here, capture, fabric.device, Silent(), large=large)
        trainer, losses = Trainer(here, data, preset, folder, fabric), []
        for _ in range(STEPS):
            if ledger:
                ledger.reset()
            losses.append(trainer.train_step())
            trainer.step += 1
        counts.update(counted(ledger) if ledger else {})
        return [{name: float(value) for name, value in each.items()} for each in losses]

    counts: dict = {}
    wanted = steps("cpu")
    with pretend_gpu() as ledger:
        found = steps(GPU, ledger)
    return {**counts, "losses": found, "on the CPU": wanted}


def commanded(capture: Capture) -> dict:
    """Run all of `train` on the pretend GPU: the surface, the steps, the alignment, the figures, the preview."""
    config = TrainingConfig(
        steps=4, batch_size=2, perceptual_layers=("relu1_1",), large_size=128, pose_augmentation=0.3, clothing=True
    )
    options = TrainOptions(preset=Preset("tiny", TINY_NETWORK, config, texture_size=64))

    @contextmanager
    def launched(device: torch.device, *others: object):
        fabric = OneGpu()
        fabric.device = device
        yield fabric

    on_gpu = {"choose_device": lambda name: torch.device(GPU), "check_devices": lambda *asked: None}
    with pretend_gpu(), mock.patch.multiple(creation, launched=launched, **on_gpu):
        folder = Path(tempfile.mkdtemp()) / "avatar"
        made = creation.train(capture, folder, options)
    return {"device": made.device.type, "files": sorted(path.name for path in folder.iterdir())}


def counted(ledger: Ledger) -> dict:
    """Return the counts of a ledger."""
    return {"launches": ledger.launches, "waits": dict(ledger.waits), "copies": dict(ledger.copies)}


def main() -> None:
    """Play all scenarios; one that fails says why."""
    set_up()
    torch.set_num_threads(1)
    avatar, capture = sys.argv[1], Capture.load(sys.argv[2])
    plays: dict[str, Callable[[], dict]] = {
        f"render {name}": lambda options=options: rendered(avatar, capture, options)
        for name, options in RENDERS.items()
    }
    plays["train"] = lambda: trained(avatar, capture, 0)
    plays["train on large windows"] = lambda: trained(avatar, capture, 128)
    plays["train with moved limbs"] = lambda: trained(avatar, capture, 0, pose_augmentation=1.0)
    plays["the train command"] = lambda: commanded(capture)
    found = {}
    for name, play in plays.items():
        try:
            found[name] = play()
        except Exception:
            found[name] = {"failed": traceback.format_exc()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
