from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from measures.network_cost import (
    MetaAutocast,
    Meter,
    full_maps,
    parts,
)
from measures.training_cost import TrainingStep, full_windows, step_cost

from ram_avatar.capture.dataset import Batch
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.training.trainer import Trainer


def metered_step(preset, device: str, autocast) -> tuple[Meter, TrainingStep]:
    """Run two steps with everything active and meter the second one, when Adam has states."""
    with Meter(device) as meter, torch.device(device):
        step = TrainingStep(preset, meter, autocast)
        meter.watch(parts(step.network) | step.loss_networks)
        step.run(penalty=True)
        meter.flops.clear()
        meter.peak_bytes = 0
        step.run(penalty=True)
    return meter, step


def test_meta_device_agrees_with_a_cpu(tiny):
    """To the FLOP and byte, except for the neural texture, which on a CPU looks up covered pixels only."""
    tiny = replace(tiny, training=replace(tiny.training, perceptual_layers=("relu1_1",)))  # others are slow
    bf16 = partial(torch.autocast, "cpu", torch.bfloat16)
    for meta, cpu in ((nullcontext, nullcontext), (MetaAutocast, bf16)):
        counted, predicted = metered_step(tiny, "meta", meta)
        measured, actual = metered_step(tiny, "cpu", cpu)
        assert counted.flops == measured.flops
        assert counted.peak_bytes == pytest.approx(measured.peak_bytes, rel=0.02)
        for part in actual.activations.keys() - {"neural texture"}:
            assert predicted.activations[part] == actual.activations[part], part


class Everywhere:
    """Stands in for a `CaptureDataset` of a person who covers the whole image."""

    large = None

    def __init__(self, size: int):
        self.size, self.capture = size, SimpleNamespace(train_frames=[0])

    def batch(self, index: torch.Tensor, neighbors: bool = True) -> Batch:
        image, mask = (torch.ones(len(index), channels, self.size, self.size) for channels in (3, 1))
        maps, others = full_maps(len(index), self.size), (image.clone() for _ in range(3))
        return Batch(index, maps, image, mask, mask.clone(), *others, boxes=torch.ones(len(index), 3, 3))


@pytest.mark.parametrize(("adversarial_weight", "large_size"), [(1e-3, 0), (0.0, 0), (0.0, 128)])
def test_step_matches_the_trainer(tiny, tmp_path, adversarial_weight, large_size):
    training = replace(
        tiny.training,
        steps=100,
        adversarial_weight=adversarial_weight,
        large_size=large_size,
        discriminator_start=0.0,
        attention_start=0.0,
    )
    preset = replace(tiny, training=training)
    with Meter("cpu") as meter:
        avatar = SimpleNamespace(network=AvatarNetwork(tiny.network))
        fabric = Fabric(accelerator="cpu", devices=1)
        trainer = Trainer(avatar, Everywhere(tiny.network.image_size), preset, tmp_path, fabric)
        if large_size:
            trainer.windows = lambda frames, step: full_windows(len(frames))
        trainer.feature_precision = nullcontext  # otherwise bf16 on some machines
        flops = []
        for trainer.step in (15, 16):  # without the gradient penalty, and with it
            meter.flops.clear()
            meter.peak_bytes = 0
            trainer.train_step()
            flops.append(meter.flops.total())
    cost = step_cost(preset, bf16=False)
    assert ("discriminator" in cost.flops) == (adversarial_weight > 0)
    assert sum(cost.flops.values()) == pytest.approx(flops[0] + (flops[1] - flops[0]) / training.r1_every)
    assert cost.peak_bytes == pytest.approx(meter.peak_bytes, rel=0.02)


def test_peak_includes_states_and_activations(tiny):
    exact, half = step_cost(tiny, bf16=False), step_cost(tiny, bf16=True)
    assert exact.flops == half.flops
    assert exact.peak_bytes > exact.state_bytes * 3 / 4 + sum(exact.activations.values())
    assert 0.5 < half.peak_bytes / exact.peak_bytes < 0.8
