import numpy as np
import pytest

from ram_avatar.rendering.visible_mark import mark


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_the_mark_is_small_and_opaque_and_drawn_on_a_copy(size):
    rgba = np.zeros((size, size, 4), np.uint8)
    marked = mark(rgba)
    changed = (marked != rgba).any(-1)
    assert not rgba.any() and 0.002 < changed.mean() < 0.08
    assert (marked[changed][:, 3] == 255).all() and marked[..., 0].max() > 200
    ys, xs = np.nonzero(changed)
    assert ys.min() > 0.7 * size and xs.min() > 0.3 * size
