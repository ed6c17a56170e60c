from dataclasses import astuple, replace
from pathlib import Path

import pytest
import roma
import torch
from measures.tracking_error import compare_tracking

from ram_avatar.body.anny import AnnyBody
from ram_avatar.capture.capture import Capture
from ram_avatar.capture.footage import Footage
from ram_avatar.core.camera import Camera
from ram_avatar.core.errors import UserError

CAMERA = Camera(820.0, 256.0, 256.0, 512, 512)
FOOTAGE = Footage("video.mp4", 0, 0, 512, 512)
TINY = 1e-2  # millimetres and degrees: rounding errors of single precision


@pytest.fixture()
def truth(template, random_motion):
    """A capture without frames; only its parameters are compared."""
    motion = random_motion(4, seed=3)
    motion.facial_actions[:, 5:] = 0
    return Capture(Path("truth"), "video.mp4", CAMERA, motion, template.default_identity(), FOOTAGE, True)


def _tracked(truth: Capture, **tensors) -> Capture:
    return replace(truth, folder=Path("tracked"), motion=replace(truth.motion, **tensors))


def _turned(truth: Capture, template, joint: str, degrees: float) -> Capture:
    """Return the truth with one joint rotated about an arbitrary axis."""
    pose, at = truth.motion.pose.clone(), template.pose_joints.index(joint)
    axis = torch.nn.functional.normalize(torch.tensor([0.3, 1.0, -0.5]), dim=0)
    more = roma.rotvec_to_rotmat(axis * torch.deg2rad(torch.tensor(degrees)))
    pose[:, at] = roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(pose[:, at]) @ more)
    return _tracked(truth, pose=pose)


def _root(capture: Capture, template) -> torch.Tensor:
    """Return the world position [N, 3] of the root joint."""
    return template.body(capture.identity).pose(*capture.motion.parameters()).joints[:, 0, :3, 3]


def test_truth_has_no_error(truth, template):
    *errors, scale = astuple(compare_tracking(truth, truth, template))
    assert max(errors) < 1e-6 and scale == pytest.approx(1)


def test_rigid_motion_of_the_whole_clip_is_no_aligned_error(truth, template):
    """But it is an error in measures that are not aligned."""
    turn = roma.rotvec_to_rotmat(torch.tensor([0.1, -0.2, 0.3]))
    root = roma.rotmat_to_rotvec(turn @ roma.rotvec_to_rotmat(truth.motion.root_rotation))
    away = _root(truth, template) - truth.motion.root_translation
    place = (_root(truth, template) @ turn.T + torch.tensor([0.2, 0.4, -0.1])) - away
    error = compare_tracking(_tracked(truth, root_rotation=root, root_translation=place), truth, template)
    for aligned in (error.body, error.left_hand, error.right_hand, error.vertices, error.acceleration):
        assert aligned < TINY
    assert max(error.head_direction, error.body_turn, error.finger_turn, error.body_per_frame) < TINY
    assert error.scale == pytest.approx(1, abs=1e-5)
    assert error.body_from_root > 20 and error.body_in_picture > 5


def test_twice_the_size_at_twice_the_distance_is_no_error(truth, template):
    """Size and distance are ambiguous: scaling about the camera only affects measures without a scale."""
    giant = _tracked(truth, root_translation=2 * truth.motion.root_translation)
    giant = replace(giant, identity=truth.identity.clone())
    error = compare_tracking(giant, truth, _Giants(template, giant.identity))
    assert error.scale == pytest.approx(0.5, abs=1e-5)
    assert max(error.body, error.left_hand, error.vertices, error.acceleration, error.body_turn) < TINY
    assert max(error.body_in_picture, error.hands_in_picture) < TINY
    assert error.body_from_root > 100


class _Giants:
    """The template; bodies whose identity is the tensor `giant` itself are twice as large."""

    def __init__(self, template, giant: torch.Tensor):
        self.template, self.giant = template, giant

    def __getattr__(self, name):
        return getattr(self.template, name)

    def body(self, identity):
        body = self.template.body(identity)
        if identity is self.giant:
            joints = body.rest_joints.clone()
            joints[:, :3, 3] *= 2
            actions = 2 * body._action_shapes
            body = AnnyBody(self.template, 2 * body.rest_vertices, joints)
            body._action_shapes = actions
        return body


@pytest.mark.parametrize("degrees", [3.0, 25.0])
def test_rotated_head_has_this_error_in_degrees(truth, template, degrees):
    error = compare_tracking(_turned(truth, template, "head", degrees), truth, template)
    counted = sum(not name.startswith(("finger", "eye")) for name in template.pose_joints)
    assert error.body_turn * counted == pytest.approx(degrees, rel=1e-3)  # nothing else rotates
    assert 0 < error.head_direction < degrees  # smaller, since part of the rotation is about this direction
    assert max(error.finger_turn, error.left_hand, error.body, error.body_in_picture) < TINY  # no joint moves
    assert error.vertices > 1


def test_rotated_wrist_is_no_rotation_of_its_fingers(truth, template):
    """Finger rotations are relative to the wrist, but their positions are not."""
    error = compare_tracking(_turned(truth, template, "wrist.L", 20.0), truth, template)
    assert error.finger_turn < TINY and error.right_hand < TINY and error.left_hand > 10


def test_rotated_fingertip(truth, template):
    error = compare_tracking(_turned(truth, template, "finger2-3.R", 30.0), truth, template)
    fingers = sum(name.startswith("finger") for name in template.pose_joints)
    assert error.finger_turn * fingers == pytest.approx(30.0, rel=1e-3)
    assert error.left_hand < TINY and error.right_hand > 0.1 and error.body < TINY


def test_camera_error_shows_in_the_image(truth, template):
    """Shifted by ten pixels."""
    displaced = replace(truth, camera=replace(CAMERA, center_x=CAMERA.center_x + 10))
    error = compare_tracking(displaced, truth, template)
    vertices = template.body(truth.identity).reference_vertices()[:, 2]
    height = CAMERA.focal * float(vertices.max() - vertices.min()) / _root(truth, template)[:, 1]
    assert error.body_in_picture == pytest.approx(float((100 * 10 / height).mean()), rel=1e-3)
    assert error.hands_in_picture == pytest.approx(error.body_in_picture, rel=1e-4)


def test_only_facial_actions_in_use_count(truth, template):
    """The fixture uses the first five only."""
    actions = truth.motion.facial_actions.clone()
    actions[:, 5:] += 0.7
    assert compare_tracking(_tracked(truth, facial_actions=actions), truth, template).actions == 0
    actions[:, 2] += 0.1
    assert compare_tracking(_tracked(truth, facial_actions=actions), truth, template).actions == pytest.approx(0.1 / 5)


def test_acceleration_by_hand(truth, template):
    """A still person with a jump of 10 mm in one of five frames: 10, 20 and 10 mm/frame²."""
    still = replace(truth, motion=truth.motion[[0] * 5])
    place = still.motion.root_translation.clone()
    place[2, 0] += 0.01
    error = compare_tracking(_tracked(still, root_translation=place), still, template)
    assert error.acceleration == pytest.approx((10 + 20 + 10) / 3, rel=1e-3)
    assert error.body == pytest.approx((4 * 2 + 8) / 5, rel=1e-2) and error.body_per_frame < TINY


def test_mismatched_captures_are_reported(truth, template):
    with pytest.raises(UserError, match="tracked: 3 frames, but truth has 4"):
        compare_tracking(replace(_tracked(truth), motion=truth.motion[:3]), truth, template)
    with pytest.raises(UserError, match="'smpl'"):
        compare_tracking(_tracked(truth, template="smpl"), truth, template)


def test_a_wrong_place_moves_the_close_up(truth, template):
    """Seen from 6 m, 10 cm aside are 14 pixels, with this focal length."""
    far = truth.motion.root_translation * torch.tensor([1.0, 2.0, 1.0])
    truth = replace(truth, motion=replace(truth.motion, root_translation=far))
    aside = far + torch.tensor([0.1, 0.0, 0.0])
    error = compare_tracking(_tracked(truth, root_translation=aside), truth, template)
    side = truth.framing(template).square(far[0].numpy()).side
    assert error.close_up == pytest.approx(100 * 13.7 / side / 2, rel=0.15)  # two of four edges move
