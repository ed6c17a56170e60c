"""The shipped presets: `paper` matches the supplement; all of them, and their ablations, can be built."""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning_fabric import Fabric
from measures.network_cost import frame_flops, full_maps, parts
from measures.training_cost import step_cost

from ram_avatar.config import load_preset, preset_names
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.networks.discriminator import TemporalDiscriminator
from ram_avatar.networks.layers import unfold
from ram_avatar.training.schedule import (
    adversarial_weight,
    attention_on,
    discriminator_on,
    learning_rate_factor,
    texture_trains,
)
from ram_avatar.training.trainer import Trainer

TABLE_1 = {"H": 1024, "W": 1024, "C_1": 16, "C_2": 16, "C_3": 48, "C_4": 24}
PUBLISHED_FLOPS = 768e9
"""FLOPs per frame of the authors' released network at 1024 x 1024, counted the same way."""
ABLATIONS = yaml.safe_load((Path(__file__).parents[1] / "benchmarks" / "ablations.yaml").read_text())

paper = cache(lambda: load_preset("paper"))


def feature_maps(network: AvatarNetwork) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the feature maps that each part of a network outputs for one frame, at full size."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(part: str, output) -> None:
        maps = output if isinstance(output, list) else [output]
        shapes[part] = [tuple(unfold(x).shape[1:]) for x in maps]

    modules = parts(network) | {"dual attention": network.dual_attention}
    for part in modules.keys() - {"StyleUNet"}:
        modules[part].register_forward_hook(lambda _module, _inputs, output, part=part: note(part, output))
    rendering = network(full_maps(1, network.config.image_size))
    shapes["image"] = [tuple(rendering.color.shape[1:])]
    return shapes


def test_paper_has_the_feature_maps_of_table_1():
    with torch.device("meta"):
        shapes = feature_maps(AvatarNetwork(paper().network))
    size = TABLE_1["H"], TABLE_1["W"]
    assert shapes == {
        "face network": [(TABLE_1["C_1"], *size)],
        "hand network": [(TABLE_1["C_2"], *size)],
        "neural texture": [(TABLE_1["C_3"], *size)] * 3,  # of frame n, of frame n-1, of the expanded mesh
        "temporal branch": [(TABLE_1["C_4"], *size)],
        "spatial branch": [(TABLE_1["C_4"], *size)],
        "dual attention": [(TABLE_1["C_4"], *size)],
        "image": [(3, *size)],
    }
    assert paper().network.attention_distance_power == 0.8


def test_paper_is_trained_as_in_the_supplement():
    training = paper().training
    assert (training.steps, training.batch_size) == (150_000, 1)
    assert [attention_on(step, training) for step in (0, 9_999, 10_000, 149_999)] == [False, False, True, True]
    assert [texture_trains(step, training) for step in (0, 129_999, 130_000, 149_999)] == [True, True, False, False]
    assert all(discriminator_on(step, training) for step in (0, 149_999))
    for rate in (training.learning_rate, training.texture_learning_rate):
        assert rate * learning_rate_factor(0, training) == 1e-4
        assert rate * learning_rate_factor(75_000, training) == pytest.approx(5e-5)
        assert rate * learning_rate_factor(149_999, training) < 1e-13
    assert adversarial_weight(2_000, training) == pytest.approx(1.1e-3)
    assert adversarial_weight(149_999, training) == pytest.approx(0.02)


def test_the_papers_weight_decay_and_learning_rates_reach_adam(tiny, tmp_path):
    preset = replace(tiny, training=paper().training)
    avatar = SimpleNamespace(network=AvatarNetwork(tiny.network))
    data = SimpleNamespace(capture=SimpleNamespace(train_frames=[0]), large=None)
    trainer = Trainer(avatar, data, preset, tmp_path, Fabric(accelerator="cpu", devices=1))
    assert isinstance(trainer.optimizer, torch.optim.Adam)
    groups = trainer.optimizer.param_groups
    assert {group["lr"] for group in groups} == {1e-4}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    layer = avatar.network.style_unet.encoders[0].refine
    assert decay[id(layer.weight)] == pytest.approx(1e-4 * layer.scale**2)  # on the scaled weights that the layer uses
    assert decay[id(layer.bias)] == decay[id(avatar.network.neural_texture.planes)] == 0
    reached = {id(p) for group in groups for p in group["params"]}
    assert reached == {id(p) for p in avatar.network.parameters()}


def test_as_published_is_paper_without_alpha_and_warm_start():
    published = load_preset("as-published")
    assert published.network == replace(paper().network, alpha=False, warm_start=False)
    assert replace(published, name="paper", network=paper().network) == paper()


def test_paper_has_every_part_and_costs_at_most_half_of_the_published_network():
    network = paper().network
    parts = {field.name for field in fields(network)} - {"keep_hands", "novelty", "sharpness"}  # additions of ours
    assert all(getattr(network, name) for name in parts)
    assert frame_flops(network).total() <= PUBLISHED_FLOPS / 2


def test_a_training_step_of_paper_fits_into_24_gb():
    assert step_cost(paper(), bf16=False).peak_bytes < 24e9


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_builds_and_renders(name):
    preset = load_preset(name)
    config = preset.network
    with torch.device("meta"):
        rendering = AvatarNetwork(config)(full_maps(1, config.image_size))
        scores = TemporalDiscriminator(config)(torch.zeros(2, 9, config.image_size, config.image_size))
    assert rendering.color.shape == (1, 3, config.image_size, config.image_size)
    assert rendering.alpha.shape == (1, 1, config.image_size, config.image_size)
    assert scores.shape == (2,)


def test_standard_costs_40_to_60_gflop_a_frame():
    assert 40e9 < frame_flops(load_preset("standard").network).total() < 60e9


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_changes_lite_and_renders(name):
    lite = load_preset("lite")
    ablated = lite.with_changes(**ABLATIONS[name])
    assert (ablated == lite) == (name == "lite")
    size = lite.network.image_size
    with torch.device("meta"):
        assert AvatarNetwork(ablated.network)(full_maps(1, size)).color.shape == (1, 3, size, size)
