import pytest

from ram_avatar.core.camera import Camera


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ((0, 1, 1, 8, 8), "focal"),
        ((float("nan"), 1, 1, 8, 8), "focal"),
        ((1, float("inf"), 1, 8, 8), "center_x"),
        ((1, 1, 1, 0, 8), "width: expected 1 to 16384, found 0"),
        ((1, 1, 1, 8, 20_000), "height: expected 1 to 16384, found 20000"),
        ((1, 1, 1, 16_384, 16_384), "width x height"),
    ],
)
def test_impossible_cameras_are_refused(values, cause):
    with pytest.raises(ValueError, match=cause):
        Camera(*values)
