import cv2
import numpy as np
import pytest
from shaken_room import ShakenRoom, shake

from ram_avatar.tracking.camera.black_bars import find_bars
from ram_avatar.video import read_frames

WIDTH, HEIGHT = 180, 320


def _frames(count: int = 8) -> list[np.ndarray]:
    return [f for f, _ in ShakenRoom(shake(count, WIDTH, HEIGHT), WIDTH, HEIGHT)]


def _barred(left: int, top: int, right: int, bottom: int, black: float = 0.0, noise: float = 0.0) -> list[np.ndarray]:
    rng, frames = np.random.default_rng(0), []
    for frame in _frames():
        bars = rng.normal(black, noise, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
        bars[top : HEIGHT - bottom, left : WIDTH - right] = frame[top : HEIGHT - bottom, left : WIDTH - right]
        frames.append(bars)
    return frames


@pytest.mark.parametrize("bars", [(20, 0, 20, 0), (0, 40, 0, 40), (0, 30, 52, 2), (12, 18, 24, 6)])
@pytest.mark.parametrize(("black", "noise"), [(0, 0), (16, 1.5)])
def test_bars_are_found_to_the_pixel(bars, black, noise):
    left, top, right, bottom = bars
    assert find_bars(_barred(*bars, black, noise)) == (left, top, WIDTH - right, HEIGHT - bottom)


def test_the_picture_within_bars_has_even_sides():
    left, top, right, bottom = find_bars(_barred(21, 33, 20, 0))
    assert left in (21, 22) and right in (WIDTH - 20, WIDTH - 21) and top in (33, 34) and bottom == HEIGHT - (top == 33)
    assert (right - left) % 2 == 0 and (bottom - top) % 2 == 0


def test_a_blurred_edge_is_cut_with_its_bar():
    frames = _barred(20, 0, 0, 0)
    for frame in frames:
        frame[:, 20] //= 3
    assert find_bars(frames) == (22, 0, WIDTH, HEIGHT)


def test_a_frame_without_bars_is_left_as_it_is():
    odd = [f[:-1] for f in _frames()]
    assert find_bars(odd) == (0, 0, WIDTH, HEIGHT - 1)


def test_a_person_in_the_dark_has_no_bars():
    """The black around the lit person is part of the scene."""
    frames = []
    for n in range(8):
        frame = np.random.default_rng(n).integers(0, 12, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.ellipse(frame, (90 + 2 * n, 180), (40, 120), 0, 0, 360, (190, 190, 190), -1)
        frames.append(frame)
    assert find_bars(frames) == (0, 0, WIDTH, HEIGHT)


def test_a_black_stage_with_a_lit_floor_has_no_bars():
    frames = []
    for n in range(8):
        light = np.clip(np.arange(HEIGHT) - 200, 0, 120).astype(np.uint8)  # it fades into the dark
        frame = np.repeat(np.repeat(light[:, None], WIDTH, 1)[..., None], 3, 2)
        frame[150:310, 70 + n : 110 + n] = 190
        frames.append(frame)
    assert find_bars(frames) == (0, 0, WIDTH, HEIGHT)


def test_dark_frames_do_not_make_bars():
    frames = _frames(20)
    for frame in frames[:4]:
        frame[:, :30] = 0
    assert find_bars(frames) == (0, 0, WIDTH, HEIGHT)
    assert find_bars([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 3) == (0, 0, WIDTH, HEIGHT)


def test_no_frame_is_an_error():
    with pytest.raises(ValueError, match="no frame"):
        find_bars([])


@pytest.mark.parametrize(
    ("name", "active"),
    [
        ("handheld_hall.mp4", (0, 154, 406, 894)),
        ("bedroom_dance.mp4", (0, 0, 692, 1108)),
        ("stage_dance.mp4", (0, 0, 1080, 1920)),
    ],
)
def test_real_clips(shared, name, active):
    frames = (f for i, f in enumerate(read_frames(shared / "videos" / name)) if i % 36 == 0)
    assert find_bars(frames) == active
