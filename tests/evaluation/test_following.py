from dataclasses import replace

import numpy as np
import pytest
import torch
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector

from ram_avatar.core.camera import Camera
from ram_avatar.evaluation.control import scaled
from ram_avatar.evaluation.figures import COLUMNS, FIGURES, Figure, column_values
from ram_avatar.evaluation.following import MIN_FRAMES, Follower, correlate
from ram_avatar.evaluation.jitter import joint_accelerations
from ram_avatar.tracking.detection.topology import JOINTS
from ram_avatar.tracking.observations import observe

FRAMES = 40
TIME = np.linspace(0, 4 * np.pi, 400, endpoint=False)
FEW = np.where(np.arange(400) < 9, TIME, np.nan)
START = TIME < 6

CAMERA = Camera.default(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def driver(template):
    """A driver with a large face who moves everything, and their motion."""
    motion, identity = performance(template, FRAMES)
    motion = motion.map(torch.clone)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        blinks = 0.5 + 0.5 * torch.sin(torch.arange(FRAMES) / 3)
        motion.facial_actions[:, template.action_names.index(name)] = blinks
    return seen(template, motion, identity), motion, identity


def seen(template, motion, identity):
    found = seen_by_a_perfect_detector(template, motion, identity, CAMERA)
    return [scaled(landmarks, 4.0) for landmarks in found]


# Correlation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [0.0, 0.5, np.pi / 2, np.pi])
def test_correlation_of_a_late_wave_is_the_cosine_of_its_lag(lag):
    figure, apart = correlate(3 * np.sin(TIME - lag) + 7, np.sin(TIME), 0.1)
    assert figure.value == pytest.approx(np.cos(lag), abs=1e-6) and not figure.absent
    assert np.mean(apart**2) == pytest.approx(2 * (1 - figure.value), abs=1e-6)


def test_only_frames_that_show_both_are_compared():
    ours, theirs = np.sin(TIME), np.sin(TIME)
    ours[:100], theirs[300:] = np.nan, np.nan
    ours[350:] = 50.0
    figure, apart = correlate(ours, theirs, 0.1)
    assert figure.value == pytest.approx(1) and np.isfinite(apart).tolist() == [100 <= i < 300 for i in range(400)]


def test_a_result_that_stands_still_does_not_follow():
    assert correlate(np.full(400, 0.3), np.sin(TIME), 0.1)[0] == Figure(0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        (np.sin(TIME), 0.01 * np.sin(TIME), "the driver hardly moves it"),
        (FEW, np.sin(TIME), "found in 9 of the 400 frames that show the driver's"),
        (TIME, FEW, f"seen in 9 of the driver's frames; {MIN_FRAMES} are needed"),
        (np.where(START, TIME, np.nan), np.where(START, 0.0, TIME), "the driver hardly moves it where it is found"),
    ],
)
def test_a_correlation_that_means_nothing_is_absent_and_says_why(ours, theirs, why):
    figure, apart = correlate(ours, theirs, 0.1)
    assert figure == Figure(None, why) and np.isnan(apart).all()


# A whole person -------------------------------------------------------------------------------------------------


def test_the_driver_follows_themselves(driver):
    landmarks, *_ = driver
    following = Follower(landmarks)(landmarks)
    assert set(following.figures) == set(FIGURES)
    values = {name: figure.value for name, figure in following.figures.items()}
    for name in ("arms_angle", "legs_angle", "head_yaw", "head_pitch", "head_roll"):
        assert values[name] == pytest.approx(0, abs=1e-3)
    for name in ("arms_followed", "legs_followed", "mouth", "right_lid", "left_lid", "right_index", "jitter"):
        assert values[name] == pytest.approx(1, abs=1e-5)
    assert following.figures["left_index"].absent == "the driver hardly moves it"
    assert all(len(values) == FRAMES for values in following.series.values())


def test_another_build_elsewhere_in_the_picture_follows_as_well(template, driver):
    """What depends on the build, distances, would say otherwise."""
    landmarks, motion, _ = driver
    child = template.default_identity()
    child[template.identity_names.index("age")] = 0.33
    moved = replace(motion, root_translation=motion.root_translation + torch.tensor([0.4, 1.0, 0.2]))
    figures = Follower(landmarks)(seen(template, moved, child)).figures
    assert figures["arms_angle"].value < 8 and figures["legs_angle"].value < 8 and figures["head_yaw"].value < 5
    assert figures["arms_followed"].value > 0.95 and 0.8 < figures["jitter"].value < 1.25
    assert min(figures[name].value for name in ("mouth", "right_lid", "left_lid", "right_index")) > 0.9


def test_faces_below_sixty_pixels_have_no_gestures(driver):
    landmarks, *_ = driver
    small = [scaled(each, 0.1) for each in landmarks]
    figures = Follower(small)(landmarks).figures
    assert figures["mouth"].absent == f"the driver's face is 60 pixels high in 0 of {FRAMES} frames; 24 are needed"
    assert figures["left_lid"] == figures["mouth"]
    assert figures["head_yaw"].value == pytest.approx(0, abs=1e-3) and figures["right_index"].value is not None
    few = Follower(landmarks[:9])(landmarks[:9]).figures["mouth"]
    assert few.absent == f"seen in 9 of the driver's frames; {MIN_FRAMES} are needed"
    assert Follower(landmarks)(small).figures["mouth"].value == pytest.approx(1)  # the result may be small


def test_a_person_who_is_lost_counts_in_the_share(driver):
    landmarks, *_ = driver
    lost = [replace(each, **{part: np.full_like(getattr(each, part), np.nan) for part in PARTS}) for each in landmarks]
    following = Follower(landmarks)([*landmarks[: FRAMES // 2], *lost[FRAMES // 2 :]])
    figures, series = following.figures, following.series
    assert figures["arms_followed"].value == pytest.approx(0.5) and figures["arms_angle"].value == pytest.approx(0)
    assert series["arms_followed"][-1] == 0 and np.isnan(series["arms_angle"][-1])
    assert figures["mouth"].absent == f"found in {FRAMES // 2} of the {FRAMES} frames that show the driver's"
    nobody = Follower(lost)(landmarks).figures
    assert all(figure.value is None and figure.absent for figure in nobody.values())


PARTS = ("pose", "pose_world", "left_hand", "right_hand", "face")


# Jitter ---------------------------------------------------------------------------------------------------------


def test_acceleration_is_that_of_a_fall_in_heights(driver):
    landmarks = driver[0]
    falling = [replace(landmarks[0], pose=landmarks[0].pose + [0, 2.0 * k**2]) for k in range(6)]
    clip = observe(falling, 0, 0, 0)
    found = joint_accelerations(clip, range(6))
    assert found.shape == (6, len(JOINTS)) and np.isnan(found[[0, 5]]).all()
    assert found[1:5] == pytest.approx(4 / clip.person_height, rel=1e-3)
    assert np.isnan(joint_accelerations(clip, [0, 1, 2, 9, 10, 11])[2:4]).all()  # beside a gap


def test_trembling_shows_in_the_ratio(driver):
    landmarks, *_ = driver
    follower, height = Follower(landmarks), observe(landmarks, 0, 0, 0).person_height
    trembling = [replace(each, pose=each.pose + [0, 0.01 * height * (-1) ** k]) for k, each in enumerate(landmarks)]
    assert follower(trembling).figures["jitter"].value > 3
    still = [replace(each, pose=landmarks[0].pose) for each in landmarks]
    assert follower(still).figures["jitter"].value == pytest.approx(0, abs=1e-6)
    assert Follower(still)(landmarks).figures["jitter"] == Figure(None, "the driver stands perfectly still")


def test_columns_are_means_of_what_is_known():
    figures = {name: Figure(None, "why") for name in FIGURES} | {"right_index": Figure(0.5), "right_thumb": Figure(0.9)}
    values = column_values(figures)
    assert set(values) == set(COLUMNS) and values["fingers"] == pytest.approx(0.7) and values["lids"] is None
