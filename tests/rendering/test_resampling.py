import numpy as np
import pytest
import torch
from PIL import Image

from ram_avatar.rendering.resampling import weights

SIZE = 24


def by_pillow(image: np.ndarray, start: float, step: float, count: int) -> np.ndarray:
    """Resample the columns of an image [H, SIZE]."""
    box = (start, 0, start + step * count, image.shape[0])
    return np.asarray(Image.fromarray(image).resize((count, image.shape[0]), Image.Resampling.BICUBIC, box=box))


@pytest.mark.parametrize(
    ("start", "step", "count"),
    [(0, 1, 24), (0, 0.5, 48), (3.3, 0.37, 40), (0, 2, 12), (1.7, 1.6, 13), (0.4, 3.9, 6), (5.25, 1.0, 12)],
)
def test_in_the_interior_it_matches_pillow(start, step, count):
    """Pillow cuts the kernel off at the edges, where this repeats the last pixel."""
    image = np.random.default_rng(0).normal(size=(5, SIZE)).astype(np.float32)
    found = image @ weights(start, step, count, SIZE).numpy().T
    centres, reach = start + step * (np.arange(count) + 0.5), 2 * max(1, step)
    inner = (centres > reach) & (centres < SIZE - reach)
    assert inner.sum() >= 2
    np.testing.assert_allclose(found[:, inner], by_pillow(image, start, step, count)[:, inner], atol=2e-5)


@pytest.mark.parametrize(("start", "step"), [(-9.0, 0.4), (-3.2, 1.0), (-30.0, 2.7), (-100.0, 40.0)])
def test_at_the_edges_the_last_pixel_repeats(start, step):
    count, wide = 60, 400
    repeated = torch.eye(SIZE)[torch.arange(-wide, SIZE + wide).clamp(0, SIZE - 1)]
    wanted = weights(start + wide, step, count, SIZE + 2 * wide) @ repeated
    near = torch.arange(count) * step + start < SIZE + wide / 2
    found = weights(start, step, count, SIZE)
    torch.testing.assert_close(found[near], wanted[near], rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [1, 2, SIZE])
@pytest.mark.parametrize("step", [0.01, 0.8, 7.0, 1e4])
@pytest.mark.parametrize("start", [-40.0, 0.3, 1e5])
def test_rows_sum_to_one(size, step, start):
    found = weights(start, step, 9, size)
    assert found.shape == (9, size)
    torch.testing.assert_close(found.sum(1), torch.ones(9))


def test_at_the_same_size_and_place_nothing_changes():
    assert torch.equal(weights(0.0, 1.0, SIZE, SIZE), torch.eye(SIZE))
