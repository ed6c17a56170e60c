from importlib.resources import files

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.config import NetworkConfig
from ram_avatar.core.untrusted.records import as_record
from ram_avatar.networks.discriminator import TemporalDiscriminator, batch_deviation


def small() -> TemporalDiscriminator:
    config = NetworkConfig(image_size=32, unet_widths=(8, 8), discriminator_widths=(8, 16, 16))
    return TemporalDiscriminator(config)


def test_the_score_depends_on_all_three_frames():
    critic, frames = small(), torch.randn(2, 9, 32, 32)
    score = critic(frames)
    assert score.shape == (2,)
    for frame in range(3):
        changed = frames.clone()
        changed[:, 3 * frame : 3 * frame + 3] += torch.randn(2, 3, 32, 32)
        assert not torch.isclose(critic(changed), score).any()


def test_batch_deviation_is_that_of_the_batch():
    x = torch.randn(3, 4, 5, 6)
    expected = x.std(0, correction=0).mean()
    torch.testing.assert_close(batch_deviation(x), expected.expand(3, 1, 5, 6))
    assert batch_deviation(x[:1]).max() < 1e-3


def test_every_parameter_learns():
    critic = small()
    critic(torch.randn(2, 9, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())


def test_lite_costs_about_one_gflop():
    recipe = yaml.safe_load((files("ram_avatar") / "presets" / "lite.yaml").read_text())
    critic = TemporalDiscriminator(as_record(NetworkConfig, recipe["network"]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        critic(torch.zeros(1, 9, 256, 256))
    assert counter.get_total_flops() == pytest.approx(1e9, rel=0.2)
