import pytest
import torch

from ram_avatar.networks.hand_detail import DRAWING, TRAINING, keep_hands

NEAR, FAR = (30, 23), torch.ones(64, 64, dtype=torch.bool)
FAR[28:33, 18:29] = False


def _image() -> tuple[torch.Tensor, ...]:
    """Make a network's output, an outline, a mask that ends at the bone's row, and a hand map with one bone."""
    image, mask, hands = torch.randn(1, 4, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 5, 64, 64)
    hands[0, 2, 30, 20:26] = 1.0
    mask[:, :, :31] = 1.0
    return image, torch.rand(1, 1, 64, 64), mask, hands


def test_colours_are_smooth_near_bones():
    """They match a plain computation near bones, and are unchanged elsewhere."""
    image, *others = _image()
    kept, _ = keep_hands(image, *others, 64, DRAWING)
    assert torch.equal(kept[..., FAR], image[..., FAR])
    y, x = NEAR
    twice = [(y + dy + ey, x + dx + ex) for dy, dx in _neighbours() for ey, ex in _neighbours()]
    mean = sum(image[0, 1, row, column] for row, column in twice) / len(twice)
    assert torch.isclose(kept[0, 1, y, x], DRAWING.shaded_by * mean, atol=1e-5)


def test_opacity_keeps_to_the_templates_side_of_the_outline():
    image, *others = _image()
    image[0, 3, 30, 22:24] = torch.tensor([-2.0, 2.0])
    image[0, 3, 31, 22:24] = torch.tensor([-2.0, 2.0])  # outside the mask
    kept, _ = keep_hands(image, *others, 64, DRAWING)
    assert kept[0, 3, 30:32, 22:24].tolist() == [[0.0, 2.0], [-2.0, pytest.approx(2 / 3)]]


def test_the_limits_are_looser_in_training():
    """All of the smooth colours are added, and opacity outside the mask is free."""
    image, *others = _image()
    free, drawn = keep_hands(image, *others, 64, TRAINING)[0], keep_hands(image, *others, 64, DRAWING)[0]
    y, x = NEAR
    assert torch.allclose(DRAWING.shaded_by * free[0, :3, y, x], drawn[0, :3, y, x], atol=1e-5)
    assert free[0, 3, 31, 23] == image[0, 3, 31, 23]


def test_the_outline_is_sharp_near_bones():
    image, outline, mask, hands = _image()
    _, kept = keep_hands(image, outline, mask, hands, 64, DRAWING)
    assert torch.equal(kept[..., FAR], outline[..., FAR])
    assert torch.isclose(kept[0, 0, 30, 23], mask[0, 0, 30, 23])
    assert torch.isclose(kept[0, 0, 31, 23], outline[0, 0, 31, 23] / 3)  # two thirds near, and outside the mask


def test_without_an_alpha_logit_only_colours_are_limited():
    image, *others = _image()
    alone, whole = (keep_hands(shown, *others, 64, DRAWING) for shown in (image[:, :3], image))
    assert torch.equal(alone[0], whole[0][:, :3]) and torch.equal(alone[1], whole[1])


def _neighbours() -> list[tuple[int, int]]:
    return [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
