from dataclasses import dataclass

import pytest

from ram_avatar.core.ranges import check_range, check_ranges


@dataclass
class Box:
    side: float | None = 1.0
    sides: tuple[float, ...] = (1.0, 2.0)


def test_bounds_are_inclusive_and_none_is_left_alone():
    for side in (0, 2, None):
        check_ranges(Box(side), {"side": (0, 2), "sides": (1, 2)})


@pytest.mark.parametrize(
    ("box", "cause"),
    [
        (Box(3), "side: expected 0 to 2, found 3"),
        (Box(float("nan")), "side: expected 0 to 2, found nan"),
        (Box(sides=(1, -1)), "sides: expected 0 to 2, found -1"),
    ],
)
def test_what_is_out_of_range_is_named(box, cause):
    with pytest.raises(ValueError, match=cause):
        check_ranges(box, {"side": (0, 2), "sides": (0, 2)})


def test_large_bounds_are_written_out():
    with pytest.raises(ValueError, match="expected 1 to 100000000, found 100000001"):
        check_range("steps", 100_000_001, 1, 100_000_000)
