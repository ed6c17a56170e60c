from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.networks.cost import (
    REST,
    MetaAutocast,
    Meter,
    TrainingStep,
    frame_flops,
    full_maps,
    parameters,
    parts,
    step_cost,
)
from ram_avatar.training.dataset import Batch
from ram_avatar.training.trainer import Trainer

CONVOLUTION = 2 * 5 * 3 * 3 * 3 * 8 * 6  # 5 outputs, 3 inputs, 3 x 3 weights, 8 x 6 positions


def metered_step(preset, device: str, autocast) -> tuple[Meter, TrainingStep]:
    """A second step with everything in it: of the first one there are states of Adam."""
    with Meter(device) as meter, torch.device(device):
        step = TrainingStep(preset, meter, autocast)
        meter.watch(parts(step.network) | {"VGG": step.perceptual, "discriminator": step.critic})
        step.run(penalty=True)
        meter.flops.clear()
        meter.peak_bytes = 0
        step.run(penalty=True)
    return meter, step


def test_flop_of_a_convolution_forward_and_backward():
    with Meter() as meter, torch.device("meta"):
        layer = nn.Conv2d(3, 5, 3, padding=1)
        meter.watch({"layer": layer})
        y = layer(torch.zeros(1, 3, 8, 6, requires_grad=True))
        assert meter.flops == {"layer": CONVOLUTION}
        y.sum().backward()
        assert meter.flops == {"layer": 3 * CONVOLUTION}  # by the weights and by the input as well
        meter.part = REST
        torch.zeros(4, 5) @ torch.zeros(5, 6)
    assert meter.flops == {"layer": 3 * CONVOLUTION, REST: 2 * 4 * 5 * 6}


def test_backward_passes_are_told_apart_also_where_a_module_s_input_has_no_gradient():
    with Meter() as meter, torch.device("meta"):
        layers = {"a": nn.Linear(2, 3), "b": nn.Linear(5, 3), "c": nn.Linear(3, 7)}
        meter.watch(layers)
        layers["c"](layers["a"](torch.zeros(1, 2)) + layers["b"](torch.zeros(1, 5))).sum().backward()
    assert meter.flops == {"a": 2 * 2 * 6, "b": 2 * 2 * 15, "c": 3 * 2 * 21}


def test_bytes_of_two_layers():
    """[1, 4, 8, 8] -> convolution -> ReLU in place -> convolution -> sum: what is alive, and when."""
    with Meter() as meter, torch.device("meta"):
        first, second = nn.Conv2d(4, 6, 1, bias=False), nn.Conv2d(6, 2, 1, bias=False)
        weights = 4 * (4 * 6 + 6 * 2)
        assert meter.bytes == weights
        x = torch.zeros(1, 4, 8, 8)
        hidden = lambda channels: 4 * channels * 8 * 8  # noqa: E731
        loss = second(first(x).relu_()).sum()
        # The last result is needed by nobody: a sum's gradient does not depend on it.
        assert meter.bytes == weights + hidden(4) + hidden(6) + 4
        assert meter.peak_bytes == weights + hidden(4) + hidden(6) + hidden(2) + 4
        loss.backward()
        assert meter.bytes == 2 * weights + hidden(4) + 4
        del x, loss, first, second
    assert meter.bytes == 0


def test_the_meter_counts_what_torch_s_own_counter_does(tiny):
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        AvatarNetwork(tiny.network)(full_maps(1, 64))
    assert frame_flops(tiny.network).total() == counter.get_total_flops()


def test_the_meta_device_counts_what_a_cpu_does(tiny):
    """To the FLOP and to the byte; but for the neural texture, which on a CPU looks up covered pixels only."""
    tiny = replace(tiny, training=replace(tiny.training, perceptual_layers=("relu1_1",)))  # VGG takes a CPU its time
    bf16 = partial(torch.autocast, "cpu", torch.bfloat16)
    for meta, cpu in ((nullcontext, nullcontext), (MetaAutocast, bf16)):
        counted, promised = metered_step(tiny, "meta", meta)
        real, done = metered_step(tiny, "cpu", cpu)
        assert counted.flops == real.flops
        assert counted.peak_bytes == pytest.approx(real.peak_bytes, rel=0.02)
        for part in done.activations.keys() - {"neural texture"}:
            assert promised.activations[part] == done.activations[part], part


class Everywhere:
    """As a `CaptureDataset`, of a person who covers everything: what the twin trains on."""

    def __init__(self, size: int):
        self.size, self.capture = size, SimpleNamespace(train_frames=1)
        self.plate, self.inside = torch.ones(1, 3, size, size), torch.ones(1, 1, size, size)

    def batch(self, index: torch.Tensor) -> Batch:
        image, mask = (torch.ones(len(index), channels, self.size, self.size) for channels in (3, 1))
        return Batch(index, full_maps(len(index), self.size), image, mask, before=image.clone(), after=image.clone())

    def part_boxes(self, index: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(index), 3, 3)


def test_the_twin_does_what_the_trainer_does(tiny, tmp_path):
    training = replace(tiny.training, steps=100, discriminator_start=0.0, attention_start=0.0)
    preset = replace(tiny, training=training)
    with Meter("cpu") as meter:
        avatar = SimpleNamespace(network=AvatarNetwork(tiny.network))
        fabric = Fabric(accelerator="cpu", devices=1)
        trainer = Trainer(avatar, Everywhere(tiny.network.image_size), preset, tmp_path, fabric)
        trainer.feature_precision = nullcontext  # bf16 on some machines
        flops = []
        for trainer.step in (15, 16):  # without the gradient penalty, and with it
            meter.flops.clear()
            meter.peak_bytes = 0
            trainer.train_step()
            flops.append(meter.flops.total())
    twin = step_cost(preset, bf16=False)
    assert sum(twin.flops.values()) == pytest.approx(flops[0] + (flops[1] - flops[0]) / training.r1_every)
    assert twin.peak_bytes == pytest.approx(meter.peak_bytes, rel=0.02)


def test_parts_are_all_of_the_network(tiny):
    network = AvatarNetwork(tiny.network)
    counted = sum(parameters(parts(network)).values())
    assert counted + network.styles.codes.numel() + network.alpha.belief.numel() == sum(
        p.numel() for p in network.parameters()
    )
    flops = frame_flops(tiny.network)
    assert flops.keys() - {REST} == parts(network).keys() - {"neural texture"}  # which only looks up
    assert flops[REST] < 1e-4 * flops.total()  # the mean style code


def test_a_step_s_peak_holds_its_states_and_activations(tiny):
    exact, half = step_cost(tiny, bf16=False), step_cost(tiny, bf16=True)
    assert exact.flops == half.flops
    assert exact.peak_bytes > exact.state_bytes * 3 / 4 + sum(exact.activations.values())
    assert 0.5 < half.peak_bytes / exact.peak_bytes < 0.8
