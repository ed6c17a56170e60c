import numpy as np
import pytest
from shaken_room import ShakenRoom, shake

from ram_avatar.tracking.camera.exposure import ExposureMeter
from ram_avatar.tracking.camera.path import PathFinder

FRAMES = 40


def _gains(clip: ShakenRoom, hidden: tuple[int, ...] = ()) -> np.ndarray:
    finder, meter = PathFinder(), ExposureMeter()
    for n, (frame, mask) in enumerate(clip):
        if n in hidden:
            frame = np.zeros_like(frame)
        finder.add(frame, mask)
        meter.add(frame, mask)
    return meter.find(finder.find())


def _drift() -> np.ndarray:
    time = np.arange(FRAMES)
    return np.stack([1 + 0.15 * np.sin(time / 8), 1 + 0.12 * np.sin(time / 10 + 1), 1 - 0.1 * np.cos(time / 14)], 1)


@pytest.mark.parametrize("sway", [0.0, 0.03])
def test_drifting_exposure_and_tint_are_measured_to_one_percent(sway):
    path = shake(FRAMES, 360, 640, seed=1, sway=sway, turn=50 * sway, zoom=sway)
    found = _gains(ShakenRoom(path, grain=3, gain=_drift()))
    true = _drift() / np.median(_drift(), 0)
    assert np.abs(found / true - 1).max() < 0.01


def test_a_step_is_kept():
    gain = np.where(np.arange(FRAMES) < 15, 0.8, 1.0)[:, None] * np.ones(3)
    assert np.abs(_gains(ShakenRoom(shake(FRAMES, 360, 640), gain=gain)) / gain - 1).max() < 0.01


def test_without_drift_gains_are_exactly_one():
    assert (_gains(ShakenRoom(shake(FRAMES, 360, 640), grain=4)) == 1).all()


def test_gains_of_black_frames_are_interpolated():
    found = _gains(ShakenRoom(shake(FRAMES, 360, 640), gain=_drift()), hidden=(10, 11))
    assert np.abs(found[10:12] * np.median(_drift(), 0) / _drift()[10:12] - 1).max() < 0.02


def test_exposure_and_path_must_have_the_same_frames():
    clip, finder, meter = ShakenRoom(shake(3, 360, 640)), PathFinder(), ExposureMeter()
    for frame, mask in clip:
        finder.add(frame, mask)
    with pytest.raises(ValueError, match="0 frames"):
        meter.find(finder.find())
