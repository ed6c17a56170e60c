import cv2
import numpy as np
import pytest
import torch

from ram_avatar.evaluation.flicker import FLICKER, judge_flicker, own_noise
from ram_avatar.evaluation.metrics import StLpips

N, S = 5, 96


def mean_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A judge for what is not about the network."""
    return (a - b).abs().mean((1, 2, 3))


@pytest.fixture(scope="module")
def judge() -> StLpips:
    return StLpips()


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """A wide picture to look at through a window that moves."""
    noise = np.random.default_rng(0).normal(size=(S + 40, S + 120, 3))
    return np.clip(128 + 300 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)


def film(wall: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The wall as it moves: frame n is shifted right and down by steps[n] pixels from its middle."""
    return np.stack([wall[20 - y : 20 - y + S, 60 - x : 60 - x + S] for x, y in steps])


def line(speed: int) -> np.ndarray:
    return np.stack([speed * np.arange(N), np.zeros(N, int)], 1)


@pytest.fixture()
def masks() -> np.ndarray:
    masks = np.zeros((N, S, S), np.uint8)
    masks[:, 20:76, 24:72] = 255
    return masks


def test_a_clip_is_as_calm_as_itself(wall, masks, judge):
    clip = film(wall, line(2))
    series = judge_flicker(clip, clip, masks, judge)
    assert tuple(series) == FLICKER
    for values in series.values():
        assert np.isnan(values[0]) and (values[1:] == 0).all()


@pytest.mark.parametrize("speed", [1, 2, 3])
def test_the_flow_error_of_a_clip_that_should_stand_is_its_speed(wall, masks, speed):
    error = judge_flicker(film(wall, line(speed)), film(wall, line(0)), masks, mean_difference)["flow_error"]
    assert error[1:] == pytest.approx(np.full(N - 1, speed), rel=0.05)


def test_a_constant_offset_is_no_flicker(wall, masks):
    truth = film(wall, line(2))
    series = judge_flicker(film(wall, line(2) + 3), truth, masks, mean_difference)
    assert np.nanmax(series["flow_error"]) < 0.2
    assert np.nanmax(judge_flicker(truth // 2 + 40, truth // 2, masks, mean_difference)["change_error"]) == 0


def test_jitter_is_worse_in_every_figure_at_the_same_psnr(wall, masks, judge):
    truth = film(wall, line(2))
    off = np.random.default_rng(0).choice([-1, 1], (N, 2))
    steady, jittered = film(wall, line(2) + [1, -1]), film(wall, line(2) + off)
    error = lambda clip: (clip.astype(float) - truth)[masks > 127].std()
    assert error(jittered) == pytest.approx(error(steady), rel=0.06)  # half a decibel
    calm, restless = (judge_flicker(clip, truth, masks, judge) for clip in (steady, jittered))
    for name in FLICKER:
        assert np.nanmean(restless[name]) > 1.2 * np.nanmean(calm[name]), name


def test_change_error_by_hand():
    truth, masks = np.full((3, 32, 32, 3), 100, np.uint8), np.zeros((3, 32, 32), np.uint8)
    shown = truth.copy()
    masks[0, 4:8, 4:8] = 255  # 16 pixels
    masks[1, 4:8, 4:12] = 255  # 32, the 16 among them
    masks[2, 20:24, 20:24] = 255  # 16 others
    shown[1, 4:8, 4:8] = 106  # 6 more in 16 of 32
    truth[1, :, :, 0] = 97  # 3 less in one of three channels
    truth[2], shown[2] = truth[1], shown[1]
    shown[2, 4:8, 8:12] = 160  # 60 more in 16 of the 48
    error = judge_flicker(shown, truth, masks, mean_difference)["change_error"]
    # 6 in the half that shown changes, and 3 more in one channel of all
    assert error[1:] == pytest.approx([6 / 2 + 3 / 3, 60 / 3])


def test_the_perceptual_flicker_is_seen_in_the_persons_box_only(wall, masks, judge):
    truth = film(wall, line(0))
    outside, inside = truth.copy(), truth.copy()
    outside[::2, :8] = 0
    inside[::2, 40:48, 40:48] = 0
    flicker = lambda clip: judge_flicker(clip, truth, masks, judge)["perceptual_flicker"][1:]
    assert flicker(outside) == pytest.approx(np.zeros(N - 1), abs=1e-6)
    assert (flicker(inside) > 1e-3).all()


def test_frames_without_a_person_have_no_figures(wall, masks):
    masks[3:5] = 0
    told = []
    series = judge_flicker(film(wall, line(1)), film(wall, line(0)), masks, mean_difference, told.append)
    for values in series.values():
        assert np.flatnonzero(np.isnan(values)).tolist() == [0, 4]  # the step to 3 still has the person of 2
    assert told[-1] == N


def test_one_frame_has_no_step(wall, masks):
    clip = film(wall, line(0))[:1]
    assert all(np.isnan(v).tolist() == [True] for v in judge_flicker(clip, clip, masks[:1], mean_difference).values())
    with pytest.raises(ValueError, match="do not match"):
        judge_flicker(clip, clip, masks, mean_difference)


def test_own_noise_is_the_mean_change():
    frames = np.full((3, 8, 8, 3), 250, np.uint8)
    frames[1, :4] = 254  # 4 in half of the picture
    noise = own_noise(frames)
    assert np.isnan(noise[0]) and noise[1:].tolist() == [2, 2]
