import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector

from ram_avatar.core.camera import Camera
from ram_avatar.drivers import live_retargeting
from ram_avatar.drivers.camera import CameraDriver, Handover
from ram_avatar.drivers.driver import Status
from ram_avatar.drivers.profiles import Profile
from ram_avatar.drivers.settings import Settings
from ram_avatar.motion.motion import Motion
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE, HolisticDetector
from ram_avatar.video import read_frames

STEP = 1 / 25
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(template, tmp_path, monkeypatch):
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))


class Script:
    """A detector that returns given landmarks frame by frame, in a loop."""

    topology = MEDIAPIPE

    def __init__(self, clip):
        self.clip, self.asked, self.closed = clip, 0, False

    def detect(self, frame):
        self.asked += 1
        return self.clip[(self.asked - 1) % len(self.clip)]

    def close(self):
        self.closed = True


@pytest.fixture()
def clip(template):
    motion, identity = performance(template, frames=50)
    return seen_by_a_perfect_detector(template, motion, identity, Camera.default(WIDTH, HEIGHT))


def _nobody(landmarks):
    for part in ("pose", "pose_world", "left_hand", "right_hand", "face"):
        getattr(landmarks, part)[:] = np.nan
    landmarks.visibility[:] = 0


def _drive(tracker, frames: int, start: int = 0):
    return [tracker.drive(PICTURE, (start + i) * STEP) for i in range(frames)]


def _tracker(avatar, detector, **options) -> CameraDriver:
    """Make a driver that does not mirror."""
    tracker = CameraDriver(avatar, detector, **options)
    tracker.adjust(Settings(mirror=False))
    return tracker


def _jumps(frames) -> float:
    """Return the largest rotation of a joint between two frames, radians."""
    pose = np.stack([frame.pose for frame in frames])
    return float(np.linalg.norm(np.diff(pose, axis=0), axis=-1).max())


def test_the_avatar_follows_the_person(template, avatar, clip):
    motion, identity = performance(template, frames=50)
    tracker = _tracker(avatar, Script(clip))
    driven = _drive(tracker, 50)
    tracker.close()
    assert all(each.status == Status.SEEN for each in driven)
    assert set(driven[0].timings) == {"detect", "solve", "align"} and driven[0].landmarks.shape == (
        33 + 42 + len(MEDIAPIPE.face.drawn),
        2,
    )
    made = Motion.of_frames(template.name, 25.0, [each.frame for each in driven])
    joints = lambda m, who: template.body(who).pose(*m.parameters()).joints[..., :3, 3]
    avatar_joints, truth = joints(made, avatar.identity), joints(motion, identity)
    for joint in ("wrist.L", "wrist.R"):
        ways = [(j[:, template.joint(joint)] - j[:, 0])[:, 2].numpy() for j in (avatar_joints, truth)]
        assert np.corrcoef(ways)[0, 1] > 0.95
    # In the avatar's own place and on its floor, not the person's.
    assert (avatar_joints[:, 0, 1] - avatar.placement.y).abs().max() < 0.3
    assert abs(float(avatar_joints[:, template.joint("foot.L"), 2].mean()) - avatar.placement.floor) < 0.15


def test_a_person_absent_lost_and_found_again(avatar, clip):
    for index in [0, 1, *range(20, 30)]:
        _nobody(clip[index])
    tracker = _tracker(avatar, Script(clip))
    driven = _drive(tracker, 50)
    tracker.close()
    assert [each.status for each in driven[:3]] == [Status.WAITING, Status.WAITING, Status.SEEN]
    assert all(each.status == Status.LOST and each.frame is None for each in driven[20:30])
    assert all(each.status == Status.SEEN for each in driven[30:])
    assert np.isnan(driven[22].landmarks).all()
    shown = [driven[19].frame, *(each.frame for each in driven[30:])]
    assert _jumps(shown) < 0.25  # no jump when the person is back


def test_a_person_at_a_desk(template, avatar):
    """Only head and shoulders are visible: the avatar stands upright in its place, and the identity is learned."""
    motion, identity = performance(template, frames=80)
    motion.root_translation = torch.tensor([0.0, 1.1, -0.55]).repeat(80, 1)
    clip = seen_by_a_perfect_detector(template, motion, identity, Camera.default(WIDTH, HEIGHT))
    for landmarks in clip:
        outside = (landmarks.pose[:, 1] > HEIGHT) | (landmarks.pose[:, 0] > WIDTH) | (landmarks.pose[:, 0] < 0)
        assert outside[[23, 24, 25, 26, 27, 28]].all() and not outside[[0, 11, 12]].any()
        landmarks.visibility[outside] = 0.1
        landmarks.left_hand[:] = landmarks.right_hand[:] = np.nan
    tracker = _tracker(avatar, Script(clip))
    driven = _drive(tracker, 80)
    assert tracker._learner._thread is not None
    tracker.close()
    assert all(each.status == Status.SEEN for each in driven)
    frames = [each.frame for each in driven]
    made = Motion.of_frames(template.name, 25.0, frames)
    joints = template.body(avatar.identity).pose(*made.parameters()).joints[..., :3, 3]
    upright = joints[:, template.joint_of("neck1")] - joints[:, 0]
    assert (upright[:, 2] / upright.norm(dim=-1)).min() > 0.9
    assert (joints[:, 0, :2] - torch.tensor([avatar.placement.x, avatar.placement.y])).norm(dim=-1).max() < 0.4
    feet = joints[:, [template.joint_of("foot.L"), template.joint_of("foot.R")], 2]
    assert (feet - avatar.placement.floor).abs().max() < 0.25
    assert _jumps(frames[2:]) < 0.35  # an elbow enters the image
    turned = np.array([frame.root_rotation[2] for frame in frames])
    assert np.corrcoef(turned, motion.root_rotation[:, 2])[0, 1] > 0.8


def test_without_a_camera_nothing_changes(avatar, clip):
    detector = Script(clip)
    tracker = _tracker(avatar, detector)
    assert tracker.drive(None, 0.0).status == Status.WAITING and detector.asked == 0
    tracker.drive(PICTURE, 0.1)
    assert tracker.drive(None, 0.2).frame is None
    tracker.close()
    assert detector.closed


def test_smoothing_reduces_jitter(avatar, clip):
    rng = np.random.default_rng(0)
    shaking = [clip[0]] * 30
    for k, landmarks in enumerate(shaking):
        shaking[k] = type(landmarks)(**vars(landmarks) | {"pose": landmarks.pose + rng.normal(size=(33, 2))})

    def jitter(strength: float) -> float:
        tracker = CameraDriver(avatar, Script(shaking))
        tracker.adjust(Settings(mirror=False, smoothing=strength))
        pose = np.stack([each.frame.pose for each in _drive(tracker, 30)])
        tracker.close()
        return float(np.abs(np.diff(pose[10:], axis=0)).mean())

    assert jitter(1.0) < 0.5 * jitter(0.5) < 0.5 * jitter(0.0)


def test_poses_are_aligned_before_the_feet_are_placed(avatar, clip, monkeypatch):
    """The aligned pose is shown, and the page sets the strength of the alignment."""
    asked = []

    class Turned:
        def __init__(self, alignment, template, fps):
            self.strength, self.max_turn = 1.0, math.inf

        def __call__(self, frame):
            asked.append(self.strength)
            changed = frame.pose.copy()
            changed[0] = [0.0, 0.0, 0.3]
            return replace(frame, pose=changed)

    monkeypatch.setattr(live_retargeting, "Aligner", Turned)
    tracker = CameraDriver(replace(avatar, alignment=object()), Script(clip))
    tracker.adjust(Settings(alignment=0.7))
    driven = _drive(tracker, 3)
    tracker.adjust(Settings(alignment=0.2))
    driven += [tracker.drive(PICTURE, 1.0)]
    tracker.close()
    assert asked == [0.7, 0.7, 0.7, 0.2] and all(np.allclose(each.frame.pose[0], [0, 0, 0.3]) for each in driven)


def test_another_image_size_and_a_reset_start_over(avatar, clip):
    tracker = _tracker(avatar, Script(clip))
    first = _drive(tracker, 3)
    tracker.reset()
    assert tracker.drive(None, 0.5).status == Status.WAITING
    again = tracker.drive(PICTURE, 1.0)
    assert again.status == Status.SEEN and np.abs(again.frame.pose - first[2].frame.pose).max() < 0.5
    half = [vars(each) | {"pose": each.pose / 2} for each in clip]
    for each in half:
        each |= {part: each[part] / 2 for part in ("left_hand", "right_hand", "face")}
    tracker._detector.clip = [type(clip[0])(**each) for each in half]
    tracker._detector.asked = 3
    small = tracker.drive(np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8), 1.1)
    tracker.close()
    assert small.status == Status.SEEN and np.abs(small.frame.pose - first[2].frame.pose).max() < 0.5


def test_the_identity_is_learned_and_remembered(template, avatar, clip):
    """The avatar does not jump when calibration ends, and the identity is saved once the person wants that."""
    tracker = _tracker(avatar, Script(clip), profile="ada")
    tracker.calibrate()
    driven = _drive(tracker, 40)
    assert all(each.status == Status.CALIBRATING for each in driven)
    until = time.monotonic() + 300
    while tracker._learner is not None and tracker._learner.learned is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    after = _drive(tracker, 30, start=40)
    assert Profile.load("ada", template) is None
    tracker.adjust(Settings(remember=True))
    tracker.close()
    assert all(each.status == Status.SEEN for each in after)
    frames = [each.frame for each in (*driven, *after)]
    place = np.array([frame.root_translation for frame in frames])
    moved = np.linalg.norm(place[-1] - place[39])
    assert np.linalg.norm(np.diff(place, axis=0), axis=-1)[39:].max() < 0.3 * moved + 0.01
    kept = Profile.load("ada", template)
    size = template.identity_names.index("height")
    default = template.default_identity()
    assert kept is not None and len(kept.neutral_face) == len(template.action_names)
    assert (kept.tensor() - default).norm() > 0.05 and torch.isfinite(kept.tensor()).all()
    assert 0 <= kept.identity[size] <= 1

    known = _tracker(avatar, Script(clip), profile="ada")
    known.drive(PICTURE, 0.0)
    assert torch.equal(known._identity, kept.tensor()) and known._learner is None
    known.close()


def test_closing_cancels_the_learning(avatar, clip):
    tracker = _tracker(avatar, Script(clip))
    tracker.calibrate()
    _drive(tracker, 45)
    thread = tracker._learner._thread
    assert thread is not None and thread.is_alive()
    tracker.close()
    assert not thread.is_alive()


def test_a_handover_is_smooth_and_ends(random_motion):
    motion = random_motion(2, turn=0.5)
    here, there = motion.frames()
    handover = Handover()
    assert handover.step(here, STEP) is here
    handover.begin()
    made = [here, *(handover.step(there, STEP) for _ in range(20))]
    assert np.allclose(made[-1].pose, there.pose) and np.allclose(made[-1].root_translation, there.root_translation)
    assert handover.step(here, STEP) is here
    whole = np.abs(there.root_translation - here.root_translation).max()
    steps = np.abs(np.diff([frame.root_translation for frame in made], axis=0)).max(1)
    assert steps.max() < 0.25 * whole and steps[0] < 0.1 * whole


@pytest.mark.slow
def test_driving_with_the_real_detector(film, avatar):
    """A video of the built-in performer drives by way of MediaPipe."""
    detector = HolisticDetector(masks=False)
    tracker = _tracker(avatar, detector)
    driven = [tracker.drive(frame, i / 12.5) for i, frame in enumerate(read_frames(film))]
    tracker.close()
    seen = [each for each in driven if each.status == Status.SEEN]
    assert len(seen) > 0.9 * len(driven)
    pose = np.stack([each.frame.pose for each in seen])
    assert np.isfinite(pose).all() and np.ptp(pose, axis=0).max() > 0.3
