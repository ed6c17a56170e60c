import pytest
import torch
from torch import Tensor

from ram_avatar.networks.hand_detail import DRAWING, TRAINING, HandRule, limit_at_hands, near_bones, shade_hands

NEAR, FAR = (30, 23), torch.ones(64, 64, dtype=torch.bool)
FAR[28:33, 18:29] = False


def _bone() -> Tensor:
    """Make a hand map with one bone."""
    hands = torch.zeros(1, 5, 64, 64)
    hands[0, 2, 30, 20:26] = 1.0
    return hands


def _shaded(color: Tensor, rule: HandRule) -> Tensor:
    return shade_hands(color, near_bones(_bone(), 64, rule), 64, rule)


def _limited(logit: Tensor, rule: HandRule) -> Tensor:
    """Limit a logit, given a mask that ends at the bone's row."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, :31] = 1.0
    return limit_at_hands(logit, mask, near_bones(_bone(), 64, rule), rule)


def test_colours_are_smooth_near_bones():
    """They match a plain computation near bones, and are unchanged elsewhere."""
    color = torch.randn(1, 3, 64, 64)
    kept = _shaded(color, DRAWING)
    assert torch.equal(kept[..., FAR], color[..., FAR])
    y, x = NEAR
    twice = [(y + dy + ey, x + dx + ex) for dy, dx in _neighbours() for ey, ex in _neighbours()]
    mean = sum(color[0, 1, row, column] for row, column in twice) / len(twice)
    assert torch.isclose(kept[0, 1, y, x], DRAWING.shaded_by * mean, atol=1e-5)


def test_opacity_keeps_to_the_templates_side_of_the_outline():
    logit = torch.randn(1, 1, 64, 64)
    logit[0, 0, 30, 22:24] = torch.tensor([-2.0, 2.0])
    logit[0, 0, 31, 22:24] = torch.tensor([-2.0, 2.0])  # outside the mask
    kept = _limited(logit, DRAWING)
    assert torch.equal(kept[..., FAR], logit[..., FAR])
    # The second row is two thirds near.
    assert kept[0, 0, 30:32, 22:24].tolist() == [[0.0, 2.0], [-2.0, pytest.approx(2 / 3)]]


def test_the_limits_are_looser_in_training():
    """All of the smooth colours are added, and opacity outside the mask is free."""
    color, logit = torch.randn(1, 3, 64, 64), torch.randn(1, 1, 64, 64)
    free, drawn = _shaded(color, TRAINING), _shaded(color, DRAWING)
    y, x = NEAR
    assert torch.allclose(DRAWING.shaded_by * free[..., y, x], drawn[..., y, x], atol=1e-5)
    assert _limited(logit, TRAINING)[0, 0, 31, 23] == logit[0, 0, 31, 23]


def _neighbours() -> list[tuple[int, int]]:
    return [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
