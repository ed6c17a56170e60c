import torch
from measures.network_cost import (
    REST,
    Meter,
    frame_flops,
    full_maps,
    parameters,
    parts,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.networks.avatar_network import AvatarNetwork

CONVOLUTION = 2 * 5 * 3 * 3 * 3 * 8 * 6  # 5 outputs, 3 inputs, 3 x 3 weights, 8 x 6 positions


def test_flop_of_a_convolution_forward_and_backward():
    with Meter() as meter, torch.device("meta"):
        layer = nn.Conv2d(3, 5, 3, padding=1)
        meter.watch({"layer": layer})
        y = layer(torch.zeros(1, 3, 8, 6, requires_grad=True))
        assert meter.flops == {"layer": CONVOLUTION}
        y.sum().backward()
        assert meter.flops == {"layer": 3 * CONVOLUTION}  # also with respect to weights and input
        meter.part = REST
        torch.zeros(4, 5) @ torch.zeros(5, 6)
    assert meter.flops == {"layer": 3 * CONVOLUTION, REST: 2 * 4 * 5 * 6}


def test_backward_passes_are_attributed_even_if_a_modules_input_has_no_gradient():
    with Meter() as meter, torch.device("meta"):
        layers = {"a": nn.Linear(2, 3), "b": nn.Linear(5, 3), "c": nn.Linear(3, 7)}
        meter.watch(layers)
        layers["c"](layers["a"](torch.zeros(1, 2)) + layers["b"](torch.zeros(1, 5))).sum().backward()
    assert meter.flops == {"a": 2 * 2 * 6, "b": 2 * 2 * 15, "c": 3 * 2 * 21}


def test_bytes_of_two_layers():
    """Live bytes of [1, 4, 8, 8] -> convolution -> ReLU in place -> convolution -> sum."""
    with Meter() as meter, torch.device("meta"):
        first, second = nn.Conv2d(4, 6, 1, bias=False), nn.Conv2d(6, 2, 1, bias=False)
        weights = 4 * (4 * 6 + 6 * 2)
        assert meter.bytes == weights
        x = torch.zeros(1, 4, 8, 8)
        hidden = lambda channels: 4 * channels * 8 * 8
        loss = second(first(x).relu_()).sum()
        # The input of the sum is released: the gradient does not depend on it.
        assert meter.bytes == weights + hidden(4) + hidden(6) + 4
        assert meter.peak_bytes == weights + hidden(4) + hidden(6) + hidden(2) + 4
        loss.backward()
        assert meter.bytes == 2 * weights + hidden(4) + 4
        del x, loss, first, second
    assert meter.bytes == 0


def test_meter_agrees_with_torchs_own_counter(tiny):
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        AvatarNetwork(tiny.network)(full_maps(1, 64))
    assert frame_flops(tiny.network).total() == counter.get_total_flops()


def test_parts_cover_the_network(tiny):
    network = AvatarNetwork(tiny.network)
    counted = sum(parameters(parts(network)).values())
    assert counted + network.styles.codes.numel() + network.alpha.belief.numel() == sum(
        p.numel() for p in network.parameters()
    )
    flops = frame_flops(tiny.network)
    assert flops.keys() - {REST} == parts(network).keys() - {"neural texture"}  # which is a lookup
    assert flops[REST] < 1e-4 * flops.total()  # the mean style code
