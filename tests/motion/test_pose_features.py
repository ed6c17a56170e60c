import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ram_avatar.motion.alignment.networks import gram_schmidt
from ram_avatar.motion.pose_features import (
    PoseFeatures,
    angles_between,
    split_heading,
    to_features,
    to_rotations,
)


@pytest.fixture(scope="module")
def features(template):
    return PoseFeatures(template)


@pytest.fixture()
def poses(template):
    """Root rotations [6, 3] and poses [6, P, 3] with rotations of all sizes below a half turn."""
    random = np.random.default_rng(0)
    return random.normal(0, 0.9, (6, 3)), random.normal(0, 0.9, (6, len(template.pose_joints), 3))


def test_features_are_invertible(features, poses):
    root, pose = poses
    rotations = to_rotations(features.of(root, pose))
    again_root, again = features.with_body(rotations, split_heading(root)[1], pose)
    same = (Rotation.from_rotvec(again.reshape(-1, 3)).inv() * Rotation.from_rotvec(pose.reshape(-1, 3))).magnitude()
    assert same.max() < 1e-7
    assert (Rotation.from_rotvec(again_root).inv() * Rotation.from_rotvec(root)).magnitude().max() < 1e-7


def test_features_ignore_the_heading(features, poses):
    """Turning around does not change the features; leaning does."""
    root, pose = poses
    about = lambda axis, angle: (Rotation.from_rotvec(np.array(axis) * angle) * Rotation.from_rotvec(root)).as_rotvec()
    assert np.allclose(features.of(about([0, 0, 1], 2.1), pose), features.of(root, pose), atol=1e-9)
    assert np.abs(features.of(about([1, 0, 0], 0.3), pose) - features.of(root, pose)).max() > 0.1


def test_tilt_and_heading_are_about_level_and_upright_axes():
    root = np.random.default_rng(1).normal(0, 1.2, (50, 3))
    tilt, heading = split_heading(root)
    assert np.abs(tilt[:, 2]).max() < 1e-9 and np.abs(heading[:, :2]).max() < 1e-12
    whole = Rotation.from_rotvec(heading) * Rotation.from_rotvec(tilt)
    assert (whole.inv() * Rotation.from_rotvec(root)).magnitude().max() < 1e-7
    upside_down = split_heading(np.array([np.pi, 0.0, 0.0]))
    assert np.isfinite(upside_down).all() and np.allclose(upside_down[1], 0)


def test_fingers_and_eyes_are_left_out(features, template, poses):
    root, pose = poses
    others = [i for i in range(len(template.pose_joints)) if i not in features.joints]
    assert {template.pose_joints[i].rstrip("0123456789.-LR") for i in others} == {"finger", "eye"}
    assert features.width == 6 * (1 + len(template.pose_joints) - len(others)) == 162
    changed = pose.copy()
    changed[:, others] += 1.0
    assert np.array_equal(features.of(root, changed), features.of(root, pose))


def test_mirroring_is_an_involution_and_reflects_joints(features, template, poses):
    """Compared with a plain version: left and right joints exchanged, rotation vectors reflected."""
    root, pose = poses
    flip = np.array([1.0, -1.0, -1.0])
    swap = {".L": ".R", ".R": ".L"}
    names = template.pose_joints
    other = [names.index(n[:-2] + swap[n[-2:]] if n[-2:] in swap else n) for n in names]
    slow = features.of(root * flip, pose[:, other] * flip)
    fast = features.of(root, pose)[:, features.mirror] * features.mirror_signs
    assert np.allclose(fast, slow, atol=1e-9)
    assert np.allclose(fast[:, features.mirror] * features.mirror_signs, features.of(root, pose))


def test_gram_schmidt_agrees_in_numpy_and_torch():
    numbers = np.random.default_rng(2).normal(size=(5, 12))
    rotations = to_rotations(numbers)
    assert np.allclose(rotations @ rotations.swapaxes(-1, -2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(rotations), 1)
    assert np.allclose(gram_schmidt(torch.from_numpy(numbers)).numpy(), rotations, atol=1e-9)


def test_angles_between_poses():
    angle = np.array([0.0, 0.4, 3.0])
    turned = to_features(Rotation.from_rotvec(np.outer(angle, [0.6, 0.0, 0.8])).as_matrix())
    still = to_features(np.tile(np.eye(3), (3, 1, 1)))
    assert np.allclose(angles_between(turned, still), np.degrees(angle), atol=1e-5)
