import pytest
import torch
from torch import Tensor

from ram_avatar.networks.dual_attention import AttentionBranch, CrissCrossAttention, distance_weight


def attend_plainly(attention: CrissCrossAttention, current: Tensor, other: Tensor) -> Tensor:
    """Attend with the full matrix of all positions, masking those in other rows and columns."""
    batch, channels, height, width = current.shape
    flat = lambda layer, x: layer(x.flatten(2).transpose(1, 2))
    query = flat(attention.query, current)
    key, value = flat(attention.key, other), flat(attention.value, other)
    y, x = torch.arange(height * width) // width, torch.arange(height * width) % width
    down, across = (y[:, None] - y).abs(), (x[:, None] - x).abs()
    distance = 1 / ((down + across).float() ** attention.distance_power + 1)
    if attention.distance_power == 0:
        distance = torch.ones_like(distance)
    energy = (query @ key.transpose(1, 2) * distance).masked_fill((down > 0) & (across > 0), -torch.inf)
    found = (energy.softmax(-1) @ value).transpose(1, 2).reshape(batch, channels, height, width)
    return current + attention.gain * found


def criss_cross(channels: int = 12, power: float = 0.8, gain: float = 0.7) -> CrissCrossAttention:
    attention = CrissCrossAttention(channels, power)
    torch.nn.init.constant_(attention.gain, gain)
    return attention


def test_distance_function_is_equation_1():
    weight = distance_weight(5, 0.8)
    assert weight[2, 2] == 1 and weight[1, 2] == 0.5
    assert weight[0, 4].item() == pytest.approx(1 / (4**0.8 + 1))
    assert (distance_weight(5, 0) == 1).all()


@pytest.mark.parametrize("power", [0.8, 0])
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 4)])
def test_criss_cross_attention_is_the_masked_full_matrix(size, power):
    attention = criss_cross(power=power)
    current, other = torch.randn(2, 12, *size) * 2, torch.randn(2, 12, *size) * 2
    torch.testing.assert_close(attention(current, other), attend_plainly(attention, current, other))


def test_criss_cross_attention_in_bfloat16():
    attention = criss_cross()
    current, other = torch.randn(1, 12, 8, 8), torch.randn(1, 12, 8, 8)
    exact = attention(current, other)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(attention(current, other).float(), exact, rtol=0.05, atol=0.05)


def test_it_starts_as_the_identity_with_a_gain_that_learns():
    attention = CrissCrossAttention(12, 0.8)
    current = torch.randn(1, 12, 6, 6)
    result = attention(current, torch.randn(1, 12, 6, 6))
    torch.testing.assert_close(result, current, rtol=0, atol=0)
    (result * torch.randn(result.shape)).sum().backward()
    assert attention.gain.grad != 0


def test_one_pass_reaches_a_cross_and_two_the_whole_map():
    attention = criss_cross()
    current, other = torch.randn(1, 12, 6, 6), torch.randn(1, 12, 6, 6)
    changed = other.clone()
    changed[..., 2, 3] += 1
    once = [attention(current, x) for x in (other, changed)]
    twice = [attention(x, x) for x in once]
    touched = (once[0] != once[1]).any(1)[0]
    assert touched.sum() == 11 and touched[2].all() and touched[:, 3].all()
    assert (twice[0] != twice[1]).any(1).all()


def test_a_branch_works_on_odd_sizes_and_stores_nothing_that_grows_with_the_size():
    branch = AttentionBranch(inputs=3, outputs=2, widths=(8, 16), distance_power=0.8)
    held = sum(t.numel() for t in branch.state_dict().values())
    for size in ((9, 13), (16, 16)):
        assert branch(torch.randn(2, 12, *size), torch.randn(2, 12, *size)).shape == (2, 8, *size)
    assert sum(t.numel() for t in branch.state_dict().values()) == held < 5000
    assert not list(branch.buffers())
