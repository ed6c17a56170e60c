import pytest
import torch

from ram_avatar.networks.layers import upsample
from ram_avatar.rendering.rectangles import Window, apart, crop

SIZE = 32


@pytest.mark.parametrize("window", [Window(0, 5, 7, 32), Window(3, 8, 9, 14), Window(31, 0, 32, 1)])
def test_the_source_of_an_upsampled_window_is_sufficient_and_necessary(window):
    low = torch.randn(1, 2, SIZE // 2, SIZE // 2)
    whole, source = Window.whole(SIZE // 2), window.source(SIZE // 2)
    wanted = crop(upsample(low), window, Window.whole(SIZE))
    made = crop(upsample(crop(low, source, whole)), window, source.doubled())
    torch.testing.assert_close(made, wanted)
    outside = low.clone()
    rows, columns = source.slices
    outside[:, :, rows, columns] = 0
    assert not crop(upsample(outside), window, Window.whole(SIZE)).any()


@pytest.mark.parametrize("window", [Window(1, 2, 3, 4), Window(30, 0, 32, 32), Window(5, 17, 14, 31)])
def test_a_fitted_window_contains_the_original_and_lies_within_the_map(window):
    fitted = window.fitted(8, SIZE)
    assert fitted.joined(window) == fitted and fitted.joined(Window.whole(SIZE)) == Window.whole(SIZE)
    assert fitted.top % 4 == fitted.left % 4 == 0
    assert fitted.height % 8 == fitted.width % 8 == 0


def test_growing_stops_at_the_edges_and_shrinking_keeps_them():
    assert Window(2, 10, 20, 31).grown(4, SIZE) == Window(0, 6, 24, 32)
    assert Window(0, 6, 24, 32).inner(4, SIZE) == Window(0, 10, 20, 32)


def test_overlapping_windows_are_joined_through_chains_too():
    a, b, bridge, far = Window(0, 0, 4, 4), Window(0, 8, 4, 12), Window(1, 3, 2, 9), Window(20, 20, 24, 24)
    assert apart([a, b, far]) == [a, b, far]
    assert sorted(apart([a, far, b, bridge]), key=lambda w: w.top) == [Window(0, 0, 4, 12), far]
    assert apart([a, Window(4, 0, 8, 4)]) == [a, Window(4, 0, 8, 4)]  # touching is not overlapping
