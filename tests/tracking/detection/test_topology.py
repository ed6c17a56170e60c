"""Landmarks are asked for by role: a detector with another numbering works as well."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from other_topology import FACE, HAND, OTHER, POSE, write_correspondence
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector

from ram_avatar.core.camera import Camera
from ram_avatar.drivers.landmark_overlay import overlay
from ram_avatar.evaluation.control import expected_landmarks, measure_control
from ram_avatar.motion.motion import Motion
from ram_avatar.tracking.correspondence import Correspondence
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.observations import observe
from ram_avatar.tracking.offline.fitting import FitSettings, fit
from ram_avatar.tracking.online.solver import LiveSolver

CAMERA = Camera.default(WIDTH, HEIGHT)
JOINTS = ("wrist.L", "wrist.R", "foot.L", "foot.R", "head", "lowerarm01.R", "finger2-3.R")


@pytest.fixture()
def known(template, tmp_path, monkeypatch):
    """The made-up detector's correspondence lies in the cache folder."""
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))
    write_correspondence(template, tmp_path)


def _error(template, found: Motion, found_identity, motion: Motion, identity) -> torch.Tensor:
    """[3] mean distance from the truth by axis, metres, about the root and at equal size."""
    truth = template.body(identity).pose(*motion.parameters()).joints[..., :3, 3]
    joints = template.body(found_identity).pose(*found.parameters()).joints[..., :3, 3]
    truth, joints = truth - truth[:, :1], joints - joints[:, :1]
    joints = joints * (truth.norm() / joints.norm())
    return (truth - joints)[:, [template.joint(name) for name in JOINTS]].abs().mean((0, 1))


def test_the_same_landmarks_in_another_order(template, known):
    ours, others = Correspondence.load(template, MEDIAPIPE), Correspondence.load(template, OTHER)
    assert torch.equal(others.regressor[others.face_rows], ours.regressor[ours.face_rows][FACE])
    motion, identity = performance(template, 2)
    (mine, _), (theirs, _) = (
        seen_by_a_perfect_detector(template, motion, identity, CAMERA, topology) for topology in (MEDIAPIPE, OTHER)
    )
    np.testing.assert_allclose(theirs.face[:, :2], mine.face[FACE, :2], atol=1e-3)
    np.testing.assert_allclose(theirs.left_hand[:, :2], mine.left_hand[HAND, :2], atol=1e-3)
    np.testing.assert_allclose(theirs.pose, mine.pose[POSE], atol=1e-3)


def test_the_offline_fit_finds_the_motion(template, known):
    motion, identity = performance(template)
    errors = []
    for topology in (MEDIAPIPE, OTHER):
        seen = seen_by_a_perfect_detector(template, motion, identity, CAMERA, topology)
        fitted = fit(template, observe(seen, WIDTH, HEIGHT, 25.0), settings=FitSettings(100, 200))
        assert fitted.errors["body"] < 0.006 and fitted.errors["face"] < 0.004
        assert fitted.errors["left_hand"] < 0.005 and fitted.errors["right_hand"] < 0.005
        jaw = template.action_names.index("jawOpen")
        assert np.corrcoef(motion.facial_actions[:, jaw], fitted.motion.facial_actions[:, jaw])[0, 1] > 0.9
        errors.append(_error(template, fitted.motion, fitted.identity, motion, identity))
    assert (errors[1] < 1.2 * errors[0] + 0.002).all()


def test_the_live_solve_finds_the_motion(template, known):
    motion, identity = performance(template)
    solver = LiveSolver(template, identity, CAMERA, OTHER)
    seen = seen_by_a_perfect_detector(template, motion, identity, CAMERA, OTHER)
    found = Motion.of_frames(template.name, 25.0, [solver.solve(landmarks) for landmarks in seen])
    assert _error(template, found, identity, motion, identity).max() < 0.02
    assert (found.confidence > 0.8).all()


def test_control_and_overlay_read_the_same(template, known):
    motion, identity = performance(template, 2)
    ours, others = (
        seen_by_a_perfect_detector(template, motion, identity, CAMERA, topology) for topology in (MEDIAPIPE, OTHER)
    )
    expected = expected_landmarks(template, identity, [CAMERA] * 2, motion, OTHER)
    figures = measure_control(others, expected)
    assert (figures["body_pck"] == 1).all() and np.nanmax(figures["body_error"]) < 1e-3
    assert (figures["hands_found"] == 1).all() and np.nanmax(figures["lids_error"]) < 1e-3
    mine, theirs = (overlay(each[0], WIDTH, HEIGHT) for each in (ours, others))
    bodies = slice(0, 33 + 42)
    np.testing.assert_allclose(theirs[bodies], mine[bodies], atol=1e-5)


def test_a_topology_names_every_role():
    with pytest.raises(ValueError, match="lacks pose landmarks: left_elbow"):
        replace(OTHER, pose={role: i for role, i in OTHER.pose.items() if role != "left_elbow"})
    with pytest.raises(ValueError, match="21 landmarks"):
        replace(OTHER, hand=tuple(range(20)))
