import numpy as np
import pytest
import torch
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector

from ram_avatar.core.camera import Camera
from ram_avatar.motion.motion import Motion
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE, HolisticDetector
from ram_avatar.tracking.observations import observe
from ram_avatar.tracking.offline.fitting import FitSettings, fit
from ram_avatar.tracking.online.solver import LiveSolver
from ram_avatar.video import probe, read_frames

CAMERA = Camera.default(WIDTH, HEIGHT)
JOINTS = ("wrist.L", "wrist.R", "foot.L", "foot.R", "head", "lowerarm01.R", "finger2-3.R")


def _joints(template, motion, identity) -> torch.Tensor:
    """[N, 7, 3] about the root."""
    joints = template.body(identity).pose(*motion.parameters()).joints[..., :3, 3]
    return (joints - joints[:, :1])[:, [template.joint(name) for name in JOINTS]]


def _blank(landmarks, *parts: str) -> None:
    for part in parts:
        getattr(landmarks, part)[:] = np.nan


def _nobody(landmarks) -> None:
    _blank(landmarks, "pose", "pose_world", "left_hand", "right_hand", "face")
    landmarks.visibility[:] = 0


def _solve(template, identity, clip, camera=CAMERA, solver=None) -> Motion:
    solver = solver or LiveSolver(template, identity, camera, MEDIAPIPE)
    return Motion.of_frames(template.name, 25.0, [solver.solve(landmarks) for landmarks in clip])


@pytest.fixture(scope="module")
def played(template):
    motion, identity = performance(template)
    return motion, identity, seen_by_a_perfect_detector(template, motion, identity, CAMERA)


@pytest.fixture(scope="module")
def solved(template, played):
    return _solve(template, played[1], played[2])


def test_a_known_motion_is_recovered_live(template, played, solved):
    motion, identity, _ = played
    error = (_joints(template, solved, identity) - _joints(template, motion, identity)).norm(dim=-1)
    assert error.mean() < 0.02 and error.max() < 0.06  # metres
    place = (solved.root_translation - motion.root_translation).abs().mean(0)
    assert place[0] < 0.01 and place[2] < 0.01 and place[1] < 0.10  # depth is the hardest for one camera
    assert (solved.confidence > 0.8).all()


def test_the_jaw_follows_the_true_one(template, played, solved):
    motion = played[0]
    jaw = template.action_names.index("jawOpen")
    assert np.corrcoef(motion.facial_actions[:, jaw], solved.facial_actions[:, jaw])[0, 1] > 0.95
    assert (motion.facial_actions[:, jaw] - solved.facial_actions[:, jaw]).abs().mean() < 0.12
    assert solved.facial_actions.min() >= 0 and solved.facial_actions.max() <= 1


def test_the_nets_actions_are_followed(template, played):
    blink, jaw = (template.action_names.index(name) for name in ("eyeBlinkLeft", "jawOpen"))
    silent = np.full(len(template.action_names), np.nan)
    closed = silent.copy()
    closed[[blink, jaw]] = 0.9
    solver = LiveSolver(template, played[1], CAMERA, MEDIAPIPE)
    for landmarks in played[2][:4]:
        without = solver.solve(landmarks, silent).facial_actions
    for landmarks in played[2][4:10]:
        frame = solver.solve(landmarks, closed)
    assert without[blink] < 0.2 and frame.facial_actions[blink] > 0.5
    assert frame.facial_actions[jaw] < 0.8  # landmarks are better for jaws: the net is ignored


def test_fast_movement_is_followed(template):
    """Wrists that move by a quarter of a metre from frame to frame."""
    motion, identity = performance(template, frames=30, speed=12.0)
    wrist = _joints(template, motion, identity)[:, 1]
    assert wrist.diff(dim=0).norm(dim=-1).max() > 0.15
    made = _solve(template, identity, seen_by_a_perfect_detector(template, motion, identity, CAMERA))
    error = (_joints(template, made, identity)[:, 1] - wrist)[:, [0, 2]].norm(dim=-1)
    assert error.mean() < 0.03 and error.max() < 0.08


def test_lost_parts_have_no_confidence_and_do_not_drift(template, played, solved):
    motion, identity, _ = played
    clip = seen_by_a_perfect_detector(template, motion, identity, CAMERA)
    for landmarks in clip[8:16]:
        _blank(landmarks, "right_hand", "face")
    made = _solve(template, identity, clip)
    assert (made.confidence[8:16, 2:4] == 0).all() and (made.confidence[8:16, :2] > 0.8).all()
    assert (made.confidence[16:] > 0.8).all()
    turns = (made.pose[9:16] - made.pose[8:15]).norm(dim=-1)
    assert turns.max() < 0.35
    assert torch.allclose(made.facial_actions[8:16], made.facial_actions[7].expand(8, -1))


def test_imagined_parts_are_rejected(template, played):
    motion, identity, _ = played
    clip = seen_by_a_perfect_detector(template, motion, identity, CAMERA)[:3]
    clip[1].left_hand += 90.0  # pixels: not at the wrist
    clip[2].pose_world[:, 2] *= -1  # seen from behind
    confidence = _solve(template, identity, clip).confidence
    assert (confidence[0] > 0.8).all()
    assert confidence[1, 1] == 0 and confidence[1, 2] > 0.8
    assert confidence[2, 3] == 0


def test_a_lost_person_keeps_the_last_pose(template, played):
    solver = LiveSolver(template, played[1], CAMERA, MEDIAPIPE)
    clip = seen_by_a_perfect_detector(template, played[0], played[1], CAMERA)
    for landmarks in clip[4:8]:
        _nobody(landmarks)
    made = _solve(template, played[1], clip, solver=solver)
    assert (made.confidence[4:8] == 0).all() and (made.confidence[8:, 0] > 0.8).all()
    assert torch.equal(made.pose[4:8], made.pose[3].expand(4, -1, -1))
    back = (_joints(template, made, played[1]) - _joints(template, played[0], played[1])).norm(dim=-1)
    assert back[8:].mean() < 0.03


def test_before_anybody_is_seen_the_pose_is_at_rest(template):
    motion, identity = performance(template, 2)
    clip = seen_by_a_perfect_detector(template, motion, identity, CAMERA)
    _nobody(clip[0])
    made = _solve(template, identity, clip)
    assert (made.confidence[0] == 0).all() and (made.confidence[1] > 0.8).all()


def test_a_person_who_returns_elsewhere_is_found(template, played):
    """Turned by 150 degrees, to the side and farther away, after a second."""
    motion, identity, clip = played
    away = seen_by_a_perfect_detector(template, motion, identity, CAMERA)[:15]
    for landmarks in away:
        _nobody(landmarks)
    turned = motion[:6]
    turned.root_rotation = torch.tensor([0.0, 0.0, 2.6]).repeat(6, 1)
    turned.root_translation = turned.root_translation + torch.tensor([-0.4, 0.8, 0.0])
    back = seen_by_a_perfect_detector(template, turned, identity, CAMERA)
    made = _solve(template, identity, [*clip[:5], *away, *back])[20:]
    error = (_joints(template, made, identity) - _joints(template, turned, identity)).norm(dim=-1)
    assert error[0].mean() < 0.05 and error.mean() < 0.04
    assert (made.root_translation - turned.root_translation).abs().mean(0)[0] < 0.02


def test_the_solve_recovers_from_a_wrong_start(template, played):
    """A cut to a person who is upside down, without a gap: they are found within two frames."""
    motion, identity, clip = played
    turned = motion[:8]
    turned.root_rotation = torch.tensor([0.0, 3.1, 0.0]).repeat(8, 1)
    after = seen_by_a_perfect_detector(template, turned, identity, CAMERA)
    made = _solve(template, identity, [*clip[:5], *after])[5:]
    error = (_joints(template, made, identity) - _joints(template, turned, identity)).norm(dim=-1).mean(1)
    assert error[2:].max() < 0.05


@pytest.mark.slow
def test_a_real_clip_agrees_with_the_offline_fit(template, shared):
    """24 frames of a dance, with the identity from the offline fit."""
    video = shared / "videos" / "bedroom_dance.mp4"
    info = probe(video)
    detector, clip = HolisticDetector(), []
    for _, frame in zip(range(24), read_frames(video), strict=False):
        clip.append(detector.detect(frame))
    detector.close()
    observed = observe(clip, info.width, info.height, float(info.fps))
    fitted = fit(template, observed, settings=FitSettings(80, 120))
    made = _solve(template, fitted.identity, clip, fitted.camera)
    both = [_joints(template, motion, fitted.identity) for motion in (made, fitted.motion)]
    apart = (both[0] - both[1])[..., [0, 2]].norm(dim=-1)  # within the image
    assert apart.mean() < 0.025
    for part in range(4):
        agreed = (made.confidence[:, part] > 0.3) == (fitted.motion.confidence[:, part] > 0.3)
        assert agreed.float().mean() > 0.9
