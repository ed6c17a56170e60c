import cv2
import numpy as np
import pytest
import torch

from ram_avatar.evaluation.flicker import FLICKER, measure_flicker, own_noise
from ram_avatar.evaluation.metrics import StLpips

N, S = 5, 96


def mean_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Stands in for ST-LPIPS in tests that are not about the network."""
    return (a - b).abs().mean((1, 2, 3))


@pytest.fixture(scope="module")
def st_lpips() -> StLpips:
    return StLpips()


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """A wide image, seen through a moving window."""
    noise = np.random.default_rng(0).normal(size=(S + 40, S + 120, 3))
    return np.clip(128 + 300 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)


def clip_of(wall: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the moving wall: frame n is shifted right and down by steps[n] pixels."""
    return np.stack([wall[20 - y : 20 - y + S, 60 - x : 60 - x + S] for x, y in steps])


def line(speed: int) -> np.ndarray:
    return np.stack([speed * np.arange(N), np.zeros(N, int)], 1)


@pytest.fixture()
def masks() -> np.ndarray:
    masks = np.zeros((N, S, S), np.uint8)
    masks[:, 20:76, 24:72] = 255
    return masks


def test_clip_has_no_flicker_against_itself(wall, masks, st_lpips):
    clip = clip_of(wall, line(2))
    series = measure_flicker(clip, clip, masks, st_lpips)
    assert tuple(series) == FLICKER
    for values in series.values():
        assert np.isnan(values[0]) and (values[1:] == 0).all()


@pytest.mark.parametrize("speed", [1, 2, 3])
def test_flow_error_of_a_clip_that_should_stand_still_is_its_speed(wall, masks, speed):
    error = measure_flicker(clip_of(wall, line(speed)), clip_of(wall, line(0)), masks, mean_difference)["flow_error"]
    assert error[1:] == pytest.approx(np.full(N - 1, speed), rel=0.05)


def test_constant_offset_is_no_flicker(wall, masks):
    truth = clip_of(wall, line(2))
    series = measure_flicker(clip_of(wall, line(2) + 3), truth, masks, mean_difference)
    assert np.nanmax(series["flow_error"]) < 0.2
    assert np.nanmax(measure_flicker(truth // 2 + 40, truth // 2, masks, mean_difference)["change_error"]) == 0


def test_jitter_is_worse_in_every_metric_at_the_same_psnr(wall, masks, st_lpips):
    truth = clip_of(wall, line(2))
    off = np.random.default_rng(0).choice([-1, 1], (N, 2))
    steady, jittered = clip_of(wall, line(2) + [1, -1]), clip_of(wall, line(2) + off)
    error = lambda clip: (clip.astype(float) - truth)[masks > 127].std()
    assert error(jittered) == pytest.approx(error(steady), rel=0.06)  # half a decibel
    calm, restless = (measure_flicker(clip, truth, masks, st_lpips) for clip in (steady, jittered))
    for name in FLICKER:
        assert np.nanmean(restless[name]) > 1.2 * np.nanmean(calm[name]), name


def test_change_error_by_hand():
    truth, masks = np.full((3, 32, 32, 3), 100, np.uint8), np.zeros((3, 32, 32), np.uint8)
    shown = truth.copy()
    masks[0, 4:8, 4:8] = 255  # 16 pixels
    masks[1, 4:8, 4:12] = 255  # 32, the 16 among them
    masks[2, 20:24, 20:24] = 255  # 16 other pixels
    shown[1, 4:8, 4:8] = 106  # 6 more in 16 of 32 pixels
    truth[1, :, :, 0] = 97  # 3 less in one of three channels
    truth[2], shown[2] = truth[1], shown[1]
    shown[2, 4:8, 8:12] = 160  # 60 more in 16 of the 48
    error = measure_flicker(shown, truth, masks, mean_difference)["change_error"]
    # 6 in half of the pixels, and 3 in one of three channels everywhere
    assert error[1:] == pytest.approx([6 / 2 + 3 / 3, 60 / 3])


def test_perceptual_flicker_counts_the_persons_box_only(wall, masks, st_lpips):
    truth = clip_of(wall, line(0))
    outside, inside = truth.copy(), truth.copy()
    outside[::2, :8] = 0
    inside[::2, 40:48, 40:48] = 0
    flicker = lambda clip: measure_flicker(clip, truth, masks, st_lpips)["perceptual_flicker"][1:]
    assert flicker(outside) == pytest.approx(np.zeros(N - 1), abs=1e-6)
    assert (flicker(inside) > 1e-3).all()


def test_frames_without_a_person_are_nan(wall, masks):
    masks[3:5] = 0
    steps = []
    series = measure_flicker(clip_of(wall, line(1)), clip_of(wall, line(0)), masks, mean_difference, steps.append)
    for values in series.values():
        assert np.flatnonzero(np.isnan(values)).tolist() == [0, 4]  # at frame 3 the mask of frame 2 still counts
    assert steps[-1] == N


def test_single_frame_is_nan(wall, masks):
    clip = clip_of(wall, line(0))[:1]
    assert all(np.isnan(v).tolist() == [True] for v in measure_flicker(clip, clip, masks[:1], mean_difference).values())
    with pytest.raises(ValueError, match="do not match"):
        measure_flicker(clip, clip, masks, mean_difference)


def test_own_noise_is_the_mean_change():
    frames = np.full((3, 8, 8, 3), 250, np.uint8)
    frames[1, :4] = 254  # 4 in half of the image
    noise = own_noise(frames)
    assert np.isnan(noise[0]) and noise[1:].tolist() == [2, 2]
