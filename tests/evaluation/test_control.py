from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ram_avatar.evaluation.control import detect_frames, expected_landmarks, measure_control
from ram_avatar.evaluation.metric_catalog import METRICS
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.detection.topology import JOINTS
from ram_avatar.video import read_frames

BODY_JOINTS = MEDIAPIPE.indices(JOINTS)
POSE, HAND, FACE = MEDIAPIPE.pose_count, MEDIAPIPE.hand_count, MEDIAPIPE.face.count
HEIGHT = 200.0  # pixels, of the constructed person


def person() -> Landmarks:
    """An upright person, 200 pixels high, with an average adult's proportions."""
    pose = np.zeros((POSE, 2), np.float32)
    for side, x in ((0, 140.0), (1, 100.0)):  # shoulders are 0.2 of the height apart; the left one is on the right
        pose[[11 + side, 13 + side, 15 + side]] = [[x, 60], [x + 20 - 40 * side, 90], [x + 30 - 60 * side, 120]]
        pose[[23 + side, 25 + side, 27 + side]] = [[x, 118], [x, 168], [x, 216]]
    world = np.zeros((POSE, 3), np.float32)
    world[0, 2] = -0.1  # the nose is nearer than the ears
    hand = np.zeros((HAND, 3), np.float32)
    hand[1:, 0], hand[1:, 1] = np.tile([-4.0, -2.0, 0.0, 2.0, 4.0], 4), np.repeat([2.0, 4.0, 6.0, 8.0], 5)
    wrist = lambda joint: np.append(pose[joint], 0)
    face = np.zeros((FACE, 3), np.float32)
    face[[33, 133, 362, 263], 0] = [0, 10, 30, 40]  # eyes 10 wide, outer corners 40 apart
    for upper, lower, x in ((160, 144, 3), (158, 153, 7), (385, 380, 33), (387, 373, 37)):
        face[upper, :2], face[lower, :2] = (x, -1.5), (x, 1.5)  # 3 high
    face[[61, 291], :2] = [[10, 40], [30, 40]]
    face[[13, 14], :2] = [[20, 38], [20, 42]]
    return Landmarks(
        topology=MEDIAPIPE,
        pose=pose,
        visibility=np.ones(POSE, np.float32),
        pose_world=world,
        left_hand=hand + wrist(15),
        right_hand=hand + wrist(16),
        face=face,
        mask=np.zeros((1, 1), np.uint8),
    )


def changed(**parts) -> Landmarks:
    """Return the person with `parts` changed by functions from array to array."""
    base = person()
    return replace(base, **{name: change(getattr(base, name).copy()) for name, change in parts.items()})


def moved(at, by) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[at] += by
        return array

    return change


def lost(array: np.ndarray) -> np.ndarray:
    return np.full_like(array, np.nan)


NOBODY = changed(pose=lost, visibility=np.zeros_like, pose_world=lost, left_hand=lost, right_hand=lost, face=lost)


def measured(found: Landmarks, expected: Landmarks | None = None) -> dict[str, float]:
    """Return the metrics of the first of two frames; the other one is perfect."""
    series = measure_control([found, person()], [expected or person(), person()])
    assert all(values.shape == (2,) for values in series.values())
    return {name: float(values[0]) for name, values in series.items()}


def test_perfect_landmarks_have_no_error():
    metrics = measured(person())
    perfect = dict.fromkeys(("body_error", "hand_error", "lips_error", "lids_error"), 0.0)
    assert metrics == perfect | {"body_pck": 1.0, "hand_pck": 1.0, "hands_found": 1.0} and set(metrics) <= set(METRICS)


def test_body_error_is_relative_to_the_height():
    # 5 % of 200 pixels is 10: the elbow is just within, the knee is not
    metrics = measured(changed(pose=lambda p: moved(26, (0, 10.5))(moved(13, (9.5, 0))(p))))
    assert metrics["body_pck"] == pytest.approx(11 / 12)
    assert metrics["body_error"] == pytest.approx(100 * (9.5 + 10.5) / HEIGHT / 12, rel=1e-5)


def test_the_unit_is_the_expected_persons_height():
    """If a giant is found in the person's place, errors are still in units of the person."""
    giant = changed(pose=lambda p: 2 * p)
    error = np.linalg.norm(person().pose[BODY_JOINTS], axis=1).mean()
    assert measure_control([giant], [person()])["body_error"][0] == pytest.approx(100 * error / HEIGHT, rel=1e-5)


def test_occluded_joints_are_not_compared():
    expected = changed(visibility=moved(15, -0.6))
    metrics = measured(changed(pose=moved(15, 50.0)), expected)
    assert metrics["body_pck"] == 1 and metrics["body_error"] == 0
    assert measured(changed(pose=moved(15, 50.0)))["body_pck"] == pytest.approx(11 / 12)


def test_missed_person_counts_as_wrong_and_has_no_error():
    metrics = measured(NOBODY)
    assert metrics["body_pck"] == 0 and metrics["hand_pck"] == 0 and metrics["hands_found"] == 0
    assert all(np.isnan(metrics[name]) for name in ("body_error", "hand_error", "lips_error", "lids_error"))


def test_missed_person_is_not_found_in_the_corner_of_the_frame():
    cornered = changed(pose=lambda p: p - p[12])  # missing landmarks are stored as zero, which is not a hit
    assert measured(NOBODY, cornered)["body_pck"] == 0


@pytest.mark.parametrize("clip", [[NOBODY, person()], [NOBODY, NOBODY]])
def test_frames_without_an_expected_person_are_nan(clip):
    for values in measure_control([person(), person()], clip).values():
        assert np.isnan(values[0]) and np.isnan(values[1]) == (clip[1] is NOBODY)


def test_fingers_are_measured_relative_to_the_wrist():
    shifted = changed(left_hand=moved(slice(None), 5.0))  # an error of the arm, not of the fingers
    assert measured(shifted)["hand_error"] == pytest.approx(0, abs=1e-5)
    bent = changed(left_hand=moved((slice(1, 11), 0), 4.0))  # half of the fingers of one hand
    assert measured(bent)["hand_error"] == pytest.approx(100 * 4 / HEIGHT / 2 / 2, rel=1e-5)
    for by, right in ((3.9, 1), (4.1, 3 / 4)):  # 2 % of the height is 4 pixels
        assert measured(changed(left_hand=moved((slice(1, 11), 0), by)))["hand_pck"] == right


def test_missed_hand_is_counted_and_adds_no_error():
    metrics = measured(changed(left_hand=lost, right_hand=moved((slice(1, None), 0), 4.0)))
    assert metrics["hands_found"] == 0.5 and metrics["hand_error"] == pytest.approx(2, rel=1e-5)
    assert measured(changed(left_hand=lost))["hand_pck"] == 0.5
    metrics = measured(person(), changed(left_hand=lost, right_hand=lost))
    assert all(np.isnan(metrics[name]) for name in ("hands_found", "hand_pck", "hand_error"))


def test_swapped_hands_count_as_not_found():
    one = person()
    swapped = replace(one, left_hand=one.right_hand, right_hand=one.left_hand)
    assert measured(swapped)["hands_found"] == 0


def test_swapped_sides_of_the_body_count_as_wrong():
    one, other = np.array(BODY_JOINTS[0::2]), np.array(BODY_JOINTS[1::2])

    def swap(pose: np.ndarray) -> np.ndarray:
        pose[np.concatenate([one, other])] = pose[np.concatenate([other, one])]
        return pose

    assert measured(changed(pose=swap))["body_pck"] == 0


def test_lips_error_is_relative_to_the_eye_distance():
    speaking = changed(face=moved((14, 1), 3.0))  # opens by 3 of 40; the width stays
    assert measured(speaking)["lips_error"] == pytest.approx(100 * 3 / 40 / 2, rel=1e-5)
    smiling = changed(face=lambda f: moved((291, 0), 4.0)(moved((61, 0), -4.0)(f)))
    assert measured(smiling)["lips_error"] == pytest.approx(100 * 8 / 40 / 2, rel=1e-5)


def test_lids_error_is_in_height_over_width():
    winked = changed(face=moved(([387, 385], 1), 3.0))  # one eye, from 3 / 10 to 0
    assert measured(winked)["lids_error"] == pytest.approx(0.3 / 2, rel=1e-5)


def test_face_metrics_ignore_scale_and_position():
    metrics = measured(changed(face=lambda f: 1.7 * f + 30))
    assert metrics["lips_error"] == pytest.approx(0, abs=1e-4) and metrics["lids_error"] == pytest.approx(0, abs=1e-6)


def test_face_seen_from_behind_is_nan():
    behind = changed(pose_world=moved((0, 2), 0.2))
    assert np.isnan(measured(behind)["lips_error"]) and np.isnan(measured(person(), behind)["lids_error"])


def test_clips_of_different_lengths_are_rejected():
    with pytest.raises(ValueError, match="2 frames found, 1 expected"):
        measure_control([person()] * 2, [person()])


class Recorder:
    """A detector that finds the bright pixels and records the size of its frames."""

    topology = MEDIAPIPE

    def __init__(self):
        self.sizes, self.closed = [], False

    def detect(self, frame: np.ndarray) -> Landmarks:
        self.sizes.append(frame.shape)
        rows, columns = np.nonzero(frame[..., 0] > 128)
        place = np.array([columns.mean() + 0.5, rows.mean() + 0.5, 0])
        return changed(pose=lambda p: p * 0 + place[:2], left_hand=lambda h: h * 0 + place, face=lambda f: f * 0 + 8)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("shape", "shown"), [((64, 128), (256, 512)), ((600, 300), (600, 300))])
def test_small_frames_are_enlarged_and_landmarks_are_in_their_pixels(shape, shown):
    frame = np.zeros((*shape, 3), np.uint8)
    frame[20:24, 40:44] = 255
    detector, steps = Recorder(), []
    found = detect_frames([frame, frame], detector, steps.append)
    assert detector.sizes == [(*shown, 3)] * 2 and detector.closed and steps == [1, 2]
    np.testing.assert_allclose(found[1].pose[5], [42, 22], atol=0.2)
    np.testing.assert_allclose(found[1].left_hand[5], [42, 22, 0], atol=0.2)
    assert found[1].face[5, 2] == pytest.approx(8 * shape[1] / shown[1])


# With a real detector -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def true_frames(capture) -> list[np.ndarray]:
    return [frame for frame, _ in capture.frames()]


@pytest.fixture(scope="module")
def true_landmarks(true_frames) -> list[Landmarks]:
    return detect_frames(true_frames)


def means(found: list[Landmarks], expected: list[Landmarks]) -> dict[str, float]:
    return {name: float(np.nanmean(values)) for name, values in measure_control(found, expected).items()}


def test_true_frames_against_themselves(true_landmarks, true_frames):
    again = means(detect_frames(true_frames), true_landmarks)
    assert again["body_pck"] == 1 and again["hands_found"] == 1
    assert all(again[name] < 1e-3 for name in ("body_error", "hand_error", "lips_error", "lids_error"))


def test_expected_landmarks_match_the_video(template, capture, true_landmarks):
    expected = expected_landmarks(template, capture.identity, [capture.camera] * 30, capture.motion)
    metrics = means(true_landmarks, expected)
    assert metrics["body_pck"] > 0.98 and metrics["body_error"] < 1.5
    assert metrics["hand_error"] < 2 and metrics["hands_found"] > 0.5
    assert metrics["lips_error"] < 8 and metrics["lids_error"] < 0.2


def test_mirrored_or_delayed_dancer_is_worse(shared):
    frames = list(read_frames(shared / "videos" / "bedroom_dance.mp4", stop=24))
    small = [cv2.resize(frame, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA) for frame in frames]
    truth = detect_frames(small)
    right = means(truth, truth)
    assert right["body_pck"] == 1 and right["body_error"] == 0 and right["hands_found"] == 1
    mirrored = means(detect_frames(frame[:, ::-1] for frame in small), truth)
    late = means(truth[:-8], truth[8:])  # half a second at 16 frames per second
    for wrong in (mirrored, late):
        assert wrong["body_pck"] < 0.5 and wrong["body_error"] > 5


# Expected landmarks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing(capture):
    """The reference pose in the performer's place, facing the camera and turned away."""
    motion = capture.motion[:2].map(torch.clone)
    motion.root_rotation[:] = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, torch.pi]])
    motion.pose[:] = 0
    motion.confidence[:] = 1
    return motion


def expect(template, capture, motion) -> list[Landmarks]:
    return expected_landmarks(template, capture.identity, [capture.camera] * len(motion), motion)


def test_expected_wrists_are_the_templates_joints(template, capture, standing):
    found = expect(template, capture, standing)
    joints = template.body(capture.identity).pose(*standing.parameters()).joints[..., :3, 3]
    for frame, places in zip(found, joints, strict=True):
        for side, part in (("L", frame.left_hand), ("R", frame.right_hand)):
            x, depth, z = places[template.joint_names.index(f"wrist.{side}")].tolist()
            camera = capture.camera
            pixel = (camera.center_x + camera.focal * x / depth, camera.center_y - camera.focal * z / depth)
            np.testing.assert_allclose(part[0], [*pixel, 0], atol=1e-2)


def test_occluded_landmarks_are_invisible(template, capture, standing):
    front, back = expect(template, capture, standing)
    assert front.visibility[BODY_JOINTS].min() == 1 and front.visibility[0] == 1
    assert back.visibility[0] == 0 and back.visibility[[11, 12, 27, 28]].min() == 1  # the head occludes the nose
    assert np.isnan(front.pose[1]).all() and front.visibility[1] == 0  # the template lacks this landmark
    metrics = measure_control([front, back], [front, back])
    assert metrics["lips_error"][0] == 0 and np.isnan(metrics["lips_error"][1])


def test_parts_not_seen_in_the_driver_are_not_expected(template, capture, standing):
    unsure = standing.map(torch.clone)
    unsure.confidence[0] = torch.tensor([1.0, 0.0, 0.3, 0.0, 1.0, 1.0, 0.0, 1.0])
    unsure.confidence[1, 0] = 0
    first, second = expect(template, capture, unsure)
    assert first.found and np.isnan(first.left_hand).all() and np.isnan(first.face).all()
    assert np.isfinite(first.right_hand).all()
    assert first.visibility[[25, 27, 29, 31]].max() == 0 and first.visibility[[26, 28, 32]].min() == 1  # a leg
    assert not second.found and second.visibility.max() == 0


def test_parts_outside_the_frame_are_not_expected(template, capture, standing):
    away = standing.map(torch.clone)
    away.root_translation[:, 0] += 0.5 * away.root_translation[:, 1] * capture.camera.width / capture.camera.focal
    first = expect(template, capture, away)[0]
    assert first.visibility[BODY_JOINTS].min() == 0 and np.isnan(first.left_hand).all()
