from dataclasses import fields, replace
from importlib.resources import files

import pytest
import torch
import yaml
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.config import NetworkConfig
from ram_avatar.core.untrusted.records import as_record
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps

SMALL = NetworkConfig(
    image_size=32,
    texture_channels=4,
    texture_resolution=16,
    attention_channels=4,
    attention_widths=(8, 16),
    face_channels=4,
    hand_channels=4,
    feature_widths=(4, 8),
    unet_widths=(8, 12, 16),
    style_dim=8,
    styles=4,
    novelty=True,
    discriminator_widths=(8, 16),
)


def lite() -> NetworkConfig:
    recipe = yaml.safe_load((files("ram_avatar") / "presets" / "lite.yaml").read_text())
    return as_record(NetworkConfig, recipe["network"])


def condition_maps(batch: int = 2, size: int = 32) -> ConditionMaps:
    mask = torch.zeros(batch, 1, size, size)
    mask[..., size // 4 : -size // 8, size // 4 : -size // 4] = 1
    position = lambda: torch.cat([(torch.rand(batch, 3, size, size) * 2 - 1) * mask, mask], 1)
    return ConditionMaps(
        position=position(),
        previous=position(),
        expanded=position(),
        face=torch.randn(batch, 3, size, size) * mask,
        hands=torch.rand(batch, 5, size, size) * mask,
        color=(torch.rand(batch, 3, size, size) * 2 - 1) * mask,
        novelty=torch.rand(batch, 1, size, size) * mask,
    )


def train(network: AvatarNetwork, steps: int, **arguments) -> None:
    maps = condition_maps()
    target, plate = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(1, 3, 32, 32) * 2 - 1
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(maps, **arguments).over(plate) - target).square().mean().backward()
        optimizer.step()


def test_an_untrained_network_draws_the_textured_mesh_over_the_plate():
    maps, plate = condition_maps(), torch.rand(1, 3, 32, 32) * 2 - 1
    rendering = AvatarNetwork(SMALL)(maps)
    torch.testing.assert_close(rendering.color, maps.color, rtol=0, atol=0)
    mesh = torch.where(maps.mask > 0, maps.color, plate)
    blurred = F.avg_pool2d(maps.mask, 3, 1, 1, count_include_pad=False)
    off, edge = (rendering.over(plate) - mesh).abs(), (blurred > 0) & (blurred < 1)
    assert off[~edge.expand_as(off)].max() < 2 * 0.019 and 0.1 < edge.float().mean() < 0.3
    # At a straight edge the blurred mask is two thirds at the inner pixel and one third at the outer.
    alpha = rendering.alpha[0, 0, 8:10, 16]
    torch.testing.assert_close(rendering.alpha[0, 0, 7:9, 16], torch.sigmoid(torch.tensor([-4 / 3, 4 / 3])))
    assert alpha[1] > 0.98


def test_every_parameter_of_every_module_learns():
    # The image and the attention's gain start at zero: the second step reaches the layers that write the image, the
    # third those behind the gain.
    network = AvatarNetwork(SMALL)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    train(network, steps=3, style=torch.tensor([0, 1]))
    still = [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    assert not still
    moved = (network.styles.codes != before["styles.codes"]).any(1)
    assert moved.tolist() == [True, True, False, False]


def test_without_attention_its_weights_are_frozen_and_its_maps_ignored():
    network = AvatarNetwork(SMALL)
    train(network, steps=3, style=torch.tensor([0, 1]), attention=False)
    assert all(p.grad is None for p in network.dual_attention.parameters())
    maps = condition_maps()
    other = replace(maps, previous=torch.full_like(maps.previous, torch.nan), expanded=maps.expanded[:0])
    plain = network(maps, attention=False).color
    torch.testing.assert_close(network(other, attention=False).color, plain)
    assert not torch.allclose(network(maps).color, plain)


def test_the_mean_code_is_that_of_the_training_frames():
    network = AvatarNetwork(SMALL)
    assert not network.styles(None).any()
    with pytest.raises(IndexError):
        network.mark_trained([SMALL.styles])
    network.mark_trained([0, 2])
    torch.testing.assert_close(network.styles(None), network.styles.codes[[0, 2]].mean(0, keepdim=True))
    train(network, steps=2, style=torch.tensor([0, 2]))
    maps = condition_maps()
    before = network(maps).color
    with torch.no_grad():
        network.styles.codes[[1, 3]] += 100
    torch.testing.assert_close(network(maps).color, before, rtol=0, atol=0)
    loaded = AvatarNetwork(SMALL)
    loaded.load_state_dict(network.state_dict())
    torch.testing.assert_close(loaded(maps).color, before)


@pytest.mark.parametrize(
    "part",
    ["temporal_attention", "spatial_attention", "face", "hands", "style_codes", "alpha", "novelty", "warm_start"],
)
def test_each_part_can_be_left_out(part):
    network = AvatarNetwork(replace(SMALL, **{part: False}, **({"novelty": False} if part == "warm_start" else {})))
    full = AvatarNetwork(SMALL)
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in full.parameters())
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    train(network, steps=3, style=torch.tensor([0, 1]))
    assert not [name for name, p in network.named_parameters() if torch.equal(p, before[name])]


def test_as_published_it_paints_the_whole_frame():
    network = AvatarNetwork(
        replace(SMALL, alpha=False, warm_start=False, novelty=False, temporal_attention=False, spatial_attention=False)
    )
    rendering = network(condition_maps())
    assert (rendering.alpha == 1).all() and not rendering.color.any()
    train(network, steps=2)
    assert network(condition_maps()).color[..., 0, 0].any()


def test_in_bfloat16_it_learns_and_renders_the_same():
    network = AvatarNetwork(SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        train(network, steps=3, style=torch.tensor([0, 1]))
    maps = condition_maps()
    exact = network(maps)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(maps)
    assert rough.color.dtype == rough.alpha.dtype == torch.float32
    torch.testing.assert_close(rough.color, exact.color, rtol=0, atol=0.05)
    torch.testing.assert_close(rough.alpha, exact.alpha, rtol=0, atol=0.05)


def test_frames_of_a_batch_are_independent():
    network = AvatarNetwork(SMALL)
    train(network, steps=3)
    maps = condition_maps()
    both = network(maps).color
    torch.testing.assert_close(both[1:], network(maps[1:]).color, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_renders_the_same_on_cuda():
    network, maps = AvatarNetwork(SMALL), condition_maps()
    train(network, steps=3)
    with torch.no_grad():
        expected = network(maps).color
        found = network.cuda()(maps.to("cuda")).color.cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_exports_to_a_graph_that_does_not_depend_on_the_pose():
    network = AvatarNetwork(SMALL).eval()
    train(network, steps=3)

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, *maps):
            rendering = self.network(ConditionMaps(*maps))
            return rendering.color, rendering.alpha

    tensors = tuple(vars(condition_maps(1)).values())
    with torch.no_grad():
        program = torch.export.export(Flat(), tensors)
        other = condition_maps(1)
        other.position[:, :, :10] = 0  # a different number of covered pixels
        torch.testing.assert_close(program.module()(*vars(other).values())[0], network(other).color)


def test_lite_costs_about_six_gflop_and_paper_no_more_than_half_of_the_published():
    for config, low, high in ((lite(), 2e9, 4e9), (NetworkConfig(), 0, 384e9)):
        with torch.device("meta"):
            network, maps = AvatarNetwork(config), condition_maps(1, config.image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(maps)
        assert low <= counter.get_total_flops() <= high


def test_default_sizes_are_those_of_table_1():
    config = NetworkConfig()
    assert config.image_size == 1024
    assert (config.face_channels, config.hand_channels) == (16, 16)
    assert (config.body_channels, config.attention_channels) == (48, 24)


@pytest.mark.parametrize(
    ("field", "value"),
    [("image_size", 33), ("texture_channels", 0), ("unet_widths", (8,)), ("attention_distance_power", -1.0)],
)
def test_invalid_sizes_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})


def test_a_configuration_survives_json():
    plain = {f.name: list(v) if isinstance(v := getattr(SMALL, f.name), tuple) else v for f in fields(SMALL)}
    assert as_record(NetworkConfig, plain) == SMALL
    with pytest.raises(ValueError, match="no_such"):
        as_record(NetworkConfig, {"no_such": 1})
