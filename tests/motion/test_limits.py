import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.motion.limits import check_frames, check_name, check_resampling

HOUR = 432_000  # frames at 120 per second


@pytest.mark.parametrize(
    ("frames", "joints", "size"), [(HOUR, 52, 540 << 20), (HOUR, 24, 120 << 20), (60_000, 60, 1000), (4000, 1000, 1000)]
)
def test_long_recordings_and_short_ones_are_allowed(frames, joints, size):
    check_frames(frames, joints, size)


@pytest.mark.parametrize(
    ("frames", "joints", "size", "cause"),
    [
        (3_400_000, 52, 526_030, "too many for a file of 513 kB"),
        (100_000, 999, 228_000, "too many"),
        (1, 1001, 1000, ""),
    ],
)
def test_small_files_cannot_ask_for_much(frames, joints, size, cause):
    with pytest.raises(ValueError, match=cause or "has 1001 joints"):
        check_frames(frames, joints, size)


def test_resampling_is_bounded():
    check_resampling(HOUR, 52, 24.0, 60.0)
    check_resampling(100, 52, 1.0, 240.0)
    with pytest.raises(UserError, match="10000 seconds at 60 frames a second are too many frames"):
        check_resampling(100, 52, 0.01, 60.0)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x1b[2J", "a\u202eb"])
def test_names_are_printable_and_bounded(name):
    with pytest.raises(ValueError, match="1 to 200 printable characters"):
        check_name(name)
    assert check_name("mixamorig:Hüfte") == "mixamorig:Hüfte"
