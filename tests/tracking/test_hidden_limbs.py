"""Hidden limbs, which the detector imagines elsewhere in every frame."""

import numpy as np
import pytest
import torch
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector

from ram_avatar.body.anatomy import anatomy_of
from ram_avatar.core.camera import Camera
from ram_avatar.motion.motion import PARTS, Motion
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE, HolisticDetector
from ram_avatar.tracking.hidden_limbs import hidden_time, rest_share, sitting
from ram_avatar.tracking.observations import (
    limb_visibility,
    observe,
    trust,
)
from ram_avatar.tracking.offline.fitting import FitSettings, fit
from ram_avatar.tracking.online.solver import LiveSolver
from ram_avatar.video import probe, read_frames

CAMERA = Camera.default(WIDTH, HEIGHT)
LEFT_LEG, RIGHT_LEG = PARTS.index("left_leg"), PARTS.index("right_leg")
FPS = 25.0
SETTINGS = FitSettings(60, 60)


def _hide(clip, *legs: str, seed: int = 0) -> None:
    """Make landmarks of legs as imagined behind a desk: far off, and of low visibility."""
    draw = np.random.default_rng(seed)
    for landmarks in clip:
        for leg in legs:
            rows = list(MEDIAPIPE.limbs[PARTS[4:].index(leg)])
            landmarks.pose[rows] += draw.normal(0, 40, (len(rows), 2))
            landmarks.pose_world[rows] += draw.normal(0, 0.2, (len(rows), 3))
            landmarks.visibility[rows] = draw.uniform(0.02, 0.27, len(rows))


def _bones(template, motion: Motion, identity) -> dict[str, np.ndarray]:
    """Unit vectors [N, 3] along thighs and shins in the world."""
    with torch.no_grad():
        joints = template.body(identity).pose(*motion.parameters()).joints[..., :3, 3].double().numpy()
    bones = {}
    for side in "LR":
        for start, end in (("thigh", "shin"), ("shin", "foot")):
            along = joints[:, template.joint_of(f"{end}.{side}")] - joints[:, template.joint_of(f"{start}.{side}")]
            bones[f"{start}.{side}"] = along / np.linalg.norm(along, axis=1, keepdims=True)
    return bones


def _angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1)))


def _swing(bone: np.ndarray) -> float:
    """The largest angle between any two frames, degrees."""
    return float(_angle(bone[:, None], bone).max())


def _step(bone: np.ndarray) -> float:
    return float(_angle(bone[1:], bone[:-1]).max())


@pytest.fixture(scope="module")
def played(template):
    """A person who waves and sways the hips, all visible."""
    motion, identity = performance(template)
    sway = 0.15 * torch.sin(torch.linspace(0, 9, len(motion)))
    motion.root_rotation[:, 0] += sway
    motion.root_rotation[:, 1] += 0.5 * sway
    return motion, identity


def _clip(template, played, frames: slice = slice(None)):
    motion, identity = played
    return seen_by_a_perfect_detector(template, motion[frames], identity, CAMERA)


def _solve(template, identity, clip) -> Motion:
    solver = LiveSolver(template, identity, CAMERA, MEDIAPIPE)
    return Motion.of_frames(template.name, FPS, [solver.solve(landmarks) for landmarks in clip])


@pytest.fixture(scope="module")
def seen_whole(template, played):
    return fit(template, observe(_clip(template, played), WIDTH, HEIGHT, FPS), settings=SETTINGS)


@pytest.fixture(scope="module")
def behind_a_desk(template, played):
    clip = _clip(template, played)
    _hide(clip, "left_leg", "right_leg")
    return clip


def test_legs_that_are_never_visible_stand_still(template, played, seen_whole, behind_a_desk):
    fitted = fit(template, observe(behind_a_desk, WIDTH, HEIGHT, FPS), settings=SETTINGS)
    legs = [LEFT_LEG, RIGHT_LEG]
    assert fitted.motion.confidence[:, legs].max() == 0 and seen_whole.motion.confidence.min() > 0.8
    assert fitted.motion.confidence[:, [PARTS.index("left_arm"), PARTS.index("right_arm")]].min() > 0.8
    for name, bone in _bones(template, fitted.motion, fitted.identity).items():
        assert _swing(bone) < 5 and _step(bone) < 2 and bone[:, 2].max() < -0.97, name  # upright
    assert fitted.errors["body"] < 0.012  # of visible parts
    arms = [template.joint_of(f"hand.{side}") for side in "LR"]
    hands = [
        template.body(each.identity).pose(*each.motion.parameters()).joints[:, arms][..., [0, 2], 3]
        for each in (seen_whole, fitted)
    ]
    assert (hands[0] - hands[1]).norm(dim=-1).mean() < 0.04  # metres; visible parts are followed as before


def test_legs_that_are_never_visible_stand_still_live(template, played, behind_a_desk):
    made = _solve(template, played[1], behind_a_desk)
    assert made.confidence[:, [LEFT_LEG, RIGHT_LEG]].max() == 0 and made.confidence[:, :6].min() > 0.6
    for name, bone in _bones(template, made, played[1]).items():
        assert _swing(bone) < 5 and _step(bone) < 2 and bone[:, 2].max() < -0.97, name


def test_a_briefly_hidden_leg_keeps_moving(template, played, seen_whole):
    clip = _clip(template, played)
    _hide(clip[9:15], "left_leg")
    fitted = fit(template, observe(clip, WIDTH, HEIGHT, FPS), settings=SETTINGS)
    assert fitted.motion.confidence[9:15, LEFT_LEG].max() == 0 and fitted.motion.confidence[9:15, RIGHT_LEG].min() > 0.8
    whole, hidden = (_bones(template, each.motion, each.identity) for each in (seen_whole, fitted))
    for name, bone in hidden.items():
        assert _angle(bone, whole[name]).max() < 8, name
        assert _step(bone) < _step(whole[name]) + 2, name


@pytest.fixture(scope="module")
def seated(template):
    motion, identity = performance(template)
    anatomy = anatomy_of(template)
    angles = anatomy.to_angles(motion.pose)
    for side in "LR":
        for role, turn in (("thigh", -1.4), ("shin", 1.4)):
            row = template.pose_joints.index(template.roles[f"{role}.{side}"])
            angles[:, row, 0] += turn * (1 if anatomy.axes[row, 0, 0] > 0 else -1)
    motion.pose = anatomy.to_pose(angles)
    return motion, identity


@pytest.mark.parametrize("live", [False, True])
def test_a_hidden_leg_sits_if_the_other_one_does(template, seated, live):
    clip = _clip(template, seated)
    _hide(clip, "right_leg")
    if live:
        motion, identity = _solve(template, seated[1], clip), seated[1]
    else:
        fitted = fit(template, observe(clip, WIDTH, HEIGHT, FPS), settings=SETTINGS)
        motion, identity = fitted.motion, fitted.identity
    bones = _bones(template, motion, identity)
    forward = -bones["thigh.R"][:, 1]
    assert forward.min() > 0.8 and bones["shin.R"][:, 2].max() < -0.9
    assert _swing(bones["shin.R"]) < 5


def test_one_joint_or_a_hand_makes_a_limb_visible():
    trusted = np.zeros((4, 33))
    trusted[0, 15], trusted[1, 25], trusted[2, 26] = 0.9, 0.45, 0.25
    seen, confidence = limb_visibility(trusted, np.array([[False, False]] * 3 + [[False, True]]), MEDIAPIPE)
    assert np.allclose(seen, [[1, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    assert confidence[0, 0] == pytest.approx(0.9) and confidence[3, 1] == 1


def test_landmarks_outside_the_image_are_not_trusted():
    pose = np.array([[10.0, 10.0], [-1.0, 10.0], [10.0, 101.0], [np.nan, np.nan]])
    assert trust(pose, np.array([0.9, 0.9, 0.9, 0.0]), 100, 100).tolist() == [0.9, 0, 0, 0]


def test_rest_begins_slowly_and_not_in_a_short_gap():
    seen = np.ones((40, 4))
    seen[10:13, 0] = seen[5:, 1] = seen[:, 2] = 0.0
    away = hidden_time(seen, 25.0)
    assert away[11, 0] == pytest.approx(2 / 25) and away[39, 1] == pytest.approx(35 / 25) and np.isinf(away[:, 2]).all()
    share = rest_share(seen, away)
    assert share[10:13, 0].max() < 0.001 and share[39, 1] == 1 and (share[:, 2] == 1).all() and (share[:, 3] == 0).all()


def test_a_kick_is_not_sitting():
    upright, lifted = np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])
    thighs = np.tile(upright, (100, 2, 1))
    thighs[40:50, 0] = lifted
    seen = np.array([[1.0, 0.0]] * 100)
    assert sitting(thighs, np.zeros((100, 3)), seen, 25.0).max() == 0
    assert sitting(np.tile(lifted, (100, 2, 1)), np.zeros((100, 3)), seen, 25.0).min() == 1
    assert sitting(np.tile(lifted, (100, 2, 1)), np.zeros((100, 3)), 0 * seen, 25.0).max() == 0  # no leg is visible


@pytest.mark.slow
def test_a_dancer_behind_a_desk(template, shared):
    """With a real detector's landmarks: knees at a visibility of 0.15, and thighs that swung by 44 degrees."""
    video = shared / "cases" / "behind_a_desk.mp4"
    if not video.is_file():
        pytest.skip(f"no {video}")
    info, detector = probe(video), HolisticDetector()
    clip = [detector.detect(frame) for frame in read_frames(video)]
    detector.close()
    fitted = fit(template, observe(clip, info.width, info.height, float(info.fps)))
    solver = LiveSolver(template, fitted.identity, Camera.default(info.width, info.height), MEDIAPIPE)
    live = Motion.of_frames(template.name, float(info.fps), [solver.solve(landmarks) for landmarks in clip])
    for motion in (fitted.motion, live):
        for name, bone in _bones(template, motion, fitted.identity).items():
            assert _swing(bone) < 5 and _step(bone) < 2, name
