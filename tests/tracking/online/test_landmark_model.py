import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ram_avatar.tracking.correspondence import Correspondence
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.online.landmark_model import LandmarkModel, State, left_jacobian

ANCHORS, DEFORMING = list(range(0, 478, 9)), list(range(4, 478, 7))


@pytest.fixture(scope="module")
def identity(template):
    identity = template.default_identity()
    return identity + 0.2 * torch.randn(len(identity), generator=torch.Generator().manual_seed(3)).clamp(-1, 1)


@pytest.fixture(scope="module")
def model(template, identity):
    return LandmarkModel(template, identity, MEDIAPIPE, ANCHORS, DEFORMING)


def _state(model, frame) -> State:
    root = Rotation.from_rotvec(frame.root_rotation)
    return State(model.angles(frame.pose), root, frame.root_translation, frame.facial_actions)


def test_landmarks_agree_with_the_template(template, identity, model, random_motion):
    """Compared with the plain forward model: the whole posed mesh, and the correspondence applied to it."""
    motion = random_motion(3, seed=1, turn=0.5)
    map_ = Correspondence.load(template, MEDIAPIPE)
    posed = template.body(identity).pose(*motion.parameters())
    points, joints = map_.regressor @ posed.vertices, posed.joints[..., :3, 3]
    parts = [map_.pose(points, joints, posed.turns)]
    parts += [map_.hand(points, joints, side) for side in ("left", "right")]
    wanted = torch.cat([*parts, points[:, map_.face_rows][:, ANCHORS]], 1).numpy()
    for i, frame in enumerate(motion.frames()):
        state = _state(model, frame)
        assert np.abs(model.pose(state) - frame.pose).max() < 1e-6
        # All actions at once: where eye and head share a landmark's vertices, their shifts mix.
        assert np.abs(model.at(state) - wanted[i]).max() < 3e-3
        assert np.median(np.abs(model.at(state) - wanted[i])) < 1e-5
        landmarks = model.deforming(state).at(frame.facial_actions)
        assert np.abs(landmarks - points[i, map_.face_rows][DEFORMING].numpy()).max() < 3e-3


def test_landmarks_of_a_neutral_face_are_exact(template, identity, model, random_motion):
    motion = random_motion(2, seed=7, turn=0.5)
    motion.facial_actions.zero_()
    map_ = Correspondence.load(template, MEDIAPIPE)
    points = map_.regressor @ template.body(identity).pose(*motion.parameters()).vertices
    for i, frame in enumerate(motion.frames()):
        at = model.at(_state(model, frame))[model.parts["face"]]
        assert np.abs(at - points[i, map_.face_rows][ANCHORS].numpy()).max() < 1e-5


def test_the_jacobian_agrees_with_finite_differences(model, random_motion):
    frame = random_motion(1, seed=2, turn=0.6).frame(0)
    state, tiny = _state(model, frame), 1e-6
    points, moves = model.with_jacobian(state)
    assert np.allclose(points, model.at(state), atol=1e-12)

    def moved(k: int, by: float) -> np.ndarray:
        other = state.copy()
        free = len(model.free)
        if k < free:
            other.angles[tuple(model.free[k])] += by
        elif k < free + 3:
            other.root = Rotation.from_rotvec(by * np.eye(3)[k - free]) * other.root
        else:
            other.place = other.place + by * np.eye(3)[k - free - 3]
        return model.at(other)

    assert len(moves) == len(model.free) + 6
    for k, analytic in enumerate(moves):
        numeric = (moved(k, tiny) - moved(k, -tiny)) / (2 * tiny)
        assert np.abs(analytic.T - numeric).max() < 1e-7, k
    assert (np.abs(moves).max((1, 2)) > 1e-4).all()  # each parameter moves something


def test_deforming_landmarks_are_linear_in_the_actions(model, random_motion):
    state = _state(model, random_motion(1, seed=5).frame(0))
    deforming = model.deforming(state)
    assert deforming.moves.shape == (52, len(DEFORMING), 3)
    before = deforming.at(np.zeros(52))
    for action in range(0, 52, 5):
        assert np.allclose(deforming.at(np.eye(52)[action]) - before, deforming.moves[action])


def test_left_jacobian():
    rng = np.random.default_rng(0)
    for scale in (1e-6, 1e-3, 1.0, 3.0):
        vector, change = scale * rng.normal(size=3), 1e-7 * rng.normal(size=3)
        exact = Rotation.from_rotvec(vector + change) * Rotation.from_rotvec(vector).inv()
        assert np.allclose(exact.as_rotvec(), left_jacobian(vector) @ change, atol=2e-13)
