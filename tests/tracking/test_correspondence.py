from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.body import SmplxTemplate
from ram_avatar.core.errors import UserError
from ram_avatar.tracking import correspondence_measuring
from ram_avatar.tracking.correspondence import Correspondence
from ram_avatar.tracking.correspondence_measuring import named_landmarks, sparse_rows
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.portrait import PortraitStudio


@pytest.fixture(scope="module")
def correspondence(template):
    return Correspondence.load(template, MEDIAPIPE)


@pytest.fixture(scope="module")
def reference(template):
    return template.body(template.default_identity()).at_reference()


@pytest.fixture(scope="module")
def points(correspondence, reference):
    return correspondence.regressor @ reference.vertices[0]


def test_shapes_and_weights(template, correspondence):
    c = correspondence
    assert c.regressor.shape == (495, len(template.skin_weights))
    torch.testing.assert_close(c.regressor.sum(1), torch.ones(495))
    assert c.surface_landmarks == [0, 7, 8, 29, 30, 31, 32]
    assert c.joint_landmarks == [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
    assert len(c.joints) == len(c.joint_frames) == len(c.joint_offsets) == 12
    assert template.joint_names[c.joints[5]] == "wrist.R"
    assert c.joint_offsets.norm(dim=1).max() < 0.06


def test_measurements_are_kept(smplx, tmp_path, monkeypatch, listener):
    """A template without shipped data is measured once, with a message, and again if the file is damaged."""
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))
    measured = []

    def measure(template, topology):
        measured.append(template.name)
        rows = sparse_rows([(np.array([row]), np.ones(1)) for row in range(495)])
        return rows | named_landmarks(template, topology) | {"joint_offsets": np.full((12, 3), 0.01, np.float32)}

    monkeypatch.setattr(correspondence_measuring, "measure", measure)
    first = Correspondence.load(smplx, MEDIAPIPE, listener)
    assert measured == [smplx.name] and "once on this machine" in listener.waits[0]
    again = Correspondence.load(smplx, MEDIAPIPE, listener)
    assert len(measured) == len(listener.waits) == 1 and torch.equal(again.regressor, first.regressor)
    assert first.joints[0] == smplx.joint("left_shoulder")
    assert first.hand_joints["right"][-1] == smplx.joint("right_pinky3")
    (kept,) = tmp_path.iterdir()
    whole = dict(np.load(kept))
    kept.write_bytes(kept.read_bytes()[:100])
    assert torch.equal(Correspondence.load(smplx, MEDIAPIPE).regressor, first.regressor) and len(measured) == 2
    for wrong in (
        {"columns": whole["columns"] + 10**6},
        {"joints": np.array(["tail"] * 12)},
        {"left_hand": np.zeros(3)},
    ):
        np.savez(kept, **whole | wrong)
        assert torch.equal(Correspondence.load(smplx, MEDIAPIPE).regressor, first.regressor)
    assert len(measured) == 5


def test_a_template_that_the_detector_does_not_recognize(smplx):
    """With its head shrunk to a point: a message, and no data."""
    faceless = smplx.model.vertices.clone()
    head = smplx.role_weight("head", "eye") > 0.5
    faceless[head] = faceless[head].mean(0) + 0.01 * (faceless[head] - faceless[head].mean(0))
    other = SmplxTemplate(replace(smplx.model, vertices=faceless), "faceless")
    with pytest.raises(UserError, match=r"faceless.*does not recognize its head as a face"):
        correspondence_measuring.measure(other, MEDIAPIPE)


def test_left_mirrors_right(correspondence, points):
    flip = points.new_tensor([-1, 1, 1])
    face = points[correspondence.face_rows]
    nearest = (face[:, None] * flip - face).norm(dim=-1).amin(1)
    assert nearest.max() < 1e-4
    tips = [points[correspondence.tip_rows[side]] for side in ("left", "right")]
    assert (tips[0] * flip - tips[1]).norm(dim=1).max() < 1e-3
    surface = points[correspondence.surface_rows]
    assert (surface[1::2] * flip - surface[2::2]).norm(dim=1).max() < 2e-3
    offsets = correspondence.joint_offsets
    torch.testing.assert_close(offsets[::2] * flip, offsets[1::2])


def test_face_landmarks_lie_where_their_names_say(template, correspondence, points, reference):
    face = points[correspondence.face_rows]
    assert face[:, 1].argmin() in (1, 4)  # tip of the nose, the most forward
    assert face[:, 2].argmin() == 152 and face[:, 2].argmax() == 10  # chin and forehead
    for side, iris, ring in (("R", 468, range(469, 473)), ("L", 473, range(474, 478))):
        eye = reference.joints[0, template.joint(f"eye.{side}"), :3, 3]
        radii = (face[[iris, *ring]] - eye).norm(dim=1)
        assert radii.min() > 0.0155 and radii.max() < 0.0175  # on the eyeball
        assert (face[list(ring)] - face[iris]).norm(dim=1).max() < 0.008
    for upper, lower in ((159, 145), (386, 374), (13, 14), (82, 87)):
        assert face[upper, 2] >= face[lower, 2]


def test_blink_closes_the_lids_and_jaw_parts_the_lips(template, correspondence):
    def pose(**actions):
        weights = torch.tensor([[actions.get(name, 0.0) for name in template.action_names]])
        body = template.body(template.default_identity())
        zeros = torch.zeros(1, 3)
        vertices = body.pose(zeros, zeros, torch.zeros(1, len(template.pose_joints), 3), weights).vertices[0]
        return correspondence.regressor[correspondence.face_rows] @ vertices

    def gap(face, upper, lower):
        return (face[upper, 2] - face[lower, 2]).item()

    rest, blink, opened = pose(), pose(eyeBlinkLeft=1.0, eyeBlinkRight=1.0), pose(jawOpen=1.0)
    for lids in ((159, 145), (386, 374)):
        assert gap(rest, *lids) > 0.006
        assert gap(blink, *lids) < 0.001
    for lips in ((13, 14), (82, 87), (312, 317)):
        assert gap(rest, *lips) < 0.004
        assert gap(opened, *lips) > gap(rest, *lips) + 0.015


def test_hand_landmarks_interleave_joints_and_tips(template, correspondence, reference, points):
    joints = reference.joints[..., :3, 3]
    for side, letter in (("left", "L"), ("right", "R")):
        hand = correspondence.hand(points[None], joints, side)
        assert hand.shape == (1, 21, 3)
        torch.testing.assert_close(hand[0, 0], joints[0, template.joint(f"wrist.{letter}")])
        torch.testing.assert_close(hand[0, 6], joints[0, template.joint(f"finger2-2.{letter}")])
        torch.testing.assert_close(hand[0, [4, 8, 12, 16, 20]], points[correspondence.tip_rows[side]])
        last = (hand[0, 4::4] - hand[0, 3::4]).norm(dim=1)
        assert last.min() > 0.012 and last.max() < 0.04  # a finger's last bone


def test_offsets_of_pose_joints_turn_with_the_body(correspondence, reference):
    joints = reference.joints[..., :3, 3]
    standing = correspondence.pose_joints(joints, reference.turns)
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # to the left by 90 degrees
    turned = correspondence.pose_joints(joints @ turn.T, turn @ reference.turns)
    torch.testing.assert_close(turned, standing @ turn.T, atol=1e-6, rtol=0)


def test_detector_agrees_on_another_identity(correspondence, template):
    """MediaPipe on a render of an identity that the data was not measured on."""
    from mediapipe.python.solutions import face_mesh

    studio, identity = PortraitStudio(template), template.default_identity()
    for name, value in {"gender": 0.75, "weight": 0.5, "age": 0.75, "muscle": 0.6}.items():
        identity[template.identity_names.index(name)] = value
    picture, camera, vertices = studio.head(studio.body(identity), yaw=0.2)
    with face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as detector:
        found = detector.process(picture.image).multi_face_landmarks
    detected = np.array([[p.x, p.y] for p in found[0].landmark]) * camera.width
    projected = camera.project(correspondence.regressor[correspondence.face_rows] @ vertices)[:, :2].numpy()
    error = np.linalg.norm(projected - detected, axis=1) / np.ptp(detected[:, 0])
    assert np.median(error) < 0.015
    assert np.percentile(error, 95) < 0.03
