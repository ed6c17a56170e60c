import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ram_avatar.motion.motion import Motion
from ram_avatar.tracking.online.smoothing import (
    Cutoff,
    MotionFilter,
    NumberFilter,
    RotationFilter,
)


def one_euro(values, seconds, least, slope):
    """Algorithm 1 of the paper, for one number."""
    smoothed, made = None, []
    speed = 0.0
    alpha = lambda cutoff: 1.0 / (1.0 + (1.0 / (2 * math.pi * cutoff)) / seconds)
    for value in values:
        if smoothed is None:
            smoothed = value
        else:
            derivative = (value - smoothed) / seconds
            speed = alpha(1.0) * derivative + (1 - alpha(1.0)) * speed
            a = alpha(least + slope * abs(speed))
            smoothed = a * value + (1 - a) * smoothed
        made.append(smoothed)
    return np.array(made)


@pytest.fixture()
def signal():
    rng = np.random.default_rng(0)
    time = np.arange(80) / 25
    return 0.8 * np.sin(3 * time) + 0.05 * rng.normal(size=80) + (time > 2)


def test_numbers_are_filtered_as_published(signal):
    wanted = one_euro(signal, 0.04, 1.3, 0.7)
    filter_ = NumberFilter()
    made = np.array([filter_.step(np.array([value, 2 * value]), 0.04, Cutoff(1.3, 0.7)) for value in signal])
    assert np.allclose(made[:, 0], wanted, atol=1e-12)
    assert np.allclose(made[:, 1], one_euro(2 * signal, 0.04, 1.3, 0.7), atol=1e-12)


def test_rotations_about_one_axis_are_filtered_like_numbers(signal):
    axis = np.array([2.0, -1.0, 2.0]) / 3
    filter_ = RotationFilter()
    made = np.array([filter_.step(value * axis[None], 0.04, Cutoff(1.3, 0.7))[0] for value in signal])
    assert np.allclose(made, one_euro(signal, 0.04, 1.3, 0.7)[:, None] * axis, atol=1e-9)


def test_rotations_take_the_short_way():
    """From 179 degrees to -179 it is two degrees, not 358."""
    filter_ = RotationFilter()
    for degrees in (179.0, -179.0):
        made = filter_.step(np.radians([[0.0, 0.0, degrees]]), 0.04, Cutoff(1.0, 0.0))
    assert np.degrees(Rotation.from_rotvec(made[0]).magnitude()) > 178.9


def _trembling(random_motion, amount: float, frames: int = 60):
    """A person standing still, as a tracker measures them."""
    motion = random_motion(1)
    still = motion.frame(0)
    noise = random_motion(frames, seed=1, turn=amount)
    return [
        type(still)(
            root_rotation=still.root_rotation + each.root_rotation,
            root_translation=still.root_translation + amount * (each.root_translation - [0, 3, 0]),
            pose=still.pose + each.pose,
            facial_actions=np.clip(0.5 + amount * (each.facial_actions - 0.5), 0, 1),
            confidence=still.confidence,
        )
        for each in noise.frames()
    ]


def _unrest(frames) -> dict[str, float]:
    motion = Motion.of_frames("", 25.0, frames)
    names = ("root_rotation", "root_translation", "pose", "facial_actions")
    return {name: float(getattr(motion, name)[10:].diff(dim=0).square().mean().sqrt()) for name in names}


def test_more_strength_is_smoother_and_none_changes_nothing(random_motion):
    frames = _trembling(random_motion, 0.01)
    made = {}
    for strength in (0.0, 0.3, 0.6, 1.0):
        filter_ = MotionFilter(strength)
        made[strength] = [filter_.step(frame, 0.04) for frame in frames]
    for frame, same in zip(frames, made[0.0], strict=True):
        assert np.allclose(same.pose, frame.pose, atol=1e-9)
        assert np.allclose(same.facial_actions, frame.facial_actions)
        assert np.allclose(same.root_translation, frame.root_translation)
    unrest = [_unrest(each) for each in made.values()]
    for calm, calmer in pairwise(unrest):
        assert all(calmer[name] < calm[name] for name in calm)
    assert unrest[2]["pose"] < 0.4 * unrest[0]["pose"]


def test_fast_movement_hardly_lags(random_motion):
    """An arm that swings by 90 degrees in half a second arrives within a few degrees."""
    still = random_motion(1, turn=0.0).frame(0)
    filter_ = MotionFilter(0.5)
    for k in range(26):
        frame = type(still)(**vars(still) | {"pose": still.pose.copy()})
        frame.pose[6, 1] = math.radians(90) * min(1.0, max(0.0, (k - 10) / 12))
        made = filter_.step(frame, 0.04)
        if k == 22:
            assert math.degrees(frame.pose[6, 1] - made.pose[6, 1]) < 8
    assert math.degrees(frame.pose[6, 1] - made.pose[6, 1]) < 2
