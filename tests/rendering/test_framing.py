import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.rendering.framing import Framing, Square, warp

WIDTH, HEIGHT = 180, 320


@pytest.fixture(scope="module")
def framing(template):
    return Framing.of(Camera.default(WIDTH, HEIGHT), template, template.default_identity())


def _ramp(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return [H, W, 2] float32: every pixel's x and y from the corner of the image."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    return np.stack([x, y], 2)


# The rule -------------------------------------------------------------------------------------------------------


def test_it_holds_a_person_in_any_pose(framing, template, random_motion):
    """All vertices that the frame shows are inside, with arms and legs in any direction."""
    body = template.body(template.default_identity())
    for seed in range(4):
        motion = random_motion(4, seed=seed, turn=0.5, distance=(3.0, 4.0, 5.0, 7.0)[seed])
        motion.root_rotation[:] *= 0.3
        motion.root_translation[:, 2] = -0.6  # a camera at eye level
        arms = [template.pose_joints.index(template.roles[f"upper_arm.{side}"]) for side in "LR"]
        motion.pose[:, arms] *= 3
        pixels = framing.camera.project(body.pose(*motion.parameters()).vertices)[..., :2]
        for root, points in zip(motion.root_translation, pixels, strict=True):
            square = framing.square(root.numpy())
            shown = ((points > 0) & (points < torch.tensor([WIDTH, HEIGHT]))).all(1)
            low = torch.tensor([square.left, square.top])
            inside = ((points >= low) & (points <= low + square.side)).all(1)
            assert inside[shown].all()


def test_a_person_is_equally_large_wherever_they_stand(framing):
    """In a frame that shows all of them; slightly smaller near the camera, where limbs reach out more."""
    sizes = []
    for depth in (4.0, 6.0, 9.0):
        square = framing.square(np.array([0.1, depth, -0.1]))
        sizes.append(framing.camera.focal / depth / square.side)
    assert np.ptp(sizes) < 0.05 * np.mean(sizes)


def test_it_moves_without_jumps(framing):
    """During a walk across the frame, towards the camera and half out of it."""
    steps = np.linspace(0, 1, 400)
    path = np.stack([-1.5 + 3 * steps, 7 - 5.5 * steps, 0.2 * steps - 0.1], 1)
    squares = np.array([(s.left, s.top, s.side) for s in map(framing.square, path)])
    moved = np.abs(np.diff(squares, axis=0)).max(1)
    assert moved.max() < 6  # pixels, for a step of at most 2 cm


def test_pixels_are_not_spent_beyond_the_frame(framing):
    """At a desk, the legs are out of the frame, and so is most of the arms' reach."""
    square = framing.square(np.array([0.0, 1.0, -0.7]))
    assert square.side <= max(WIDTH, HEIGHT)
    gone = framing.square(np.array([30.0, 4.0, 0.0]))
    assert np.isfinite([gone.left, gone.top, gone.side]).all() and gone.side > 20 and gone.left > WIDTH


def test_without_extents_it_shows_the_whole_scene():
    square = Framing(Camera.default(96, 96)).square(np.array([1.0, 3.0, 0.5]))
    assert square == Square(0.0, 0.0, 96.0)


# Pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "square", [Square(20.0, 40.0, 100.0), Square(10.3, 51.7, 64.0), Square(31.4, 100.9, 41.3), Square(2.2, 60.1, 170.7)]
)
def test_cut_samples_the_right_pixels(square):
    size = 64
    cut = square.cut(_ramp(), size)
    wanted = np.array([square.left, square.top]) + square.side / size * _ramp(size, size)
    inner = slice(2, -2)
    assert np.abs(cut - wanted)[inner, inner].max() < 0.08  # OpenCV interpolates in steps of 1/32 pixel


def test_cut_undoes_the_motion_of_the_camera():
    """Cutting a frame that was filmed shifted, rotated and zoomed equals cutting the scene."""
    angle, square = np.radians(3), Square(40.0, 80.0, 80.0)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 9.0], [np.sin(angle), np.cos(angle), -7.0], [0, 0, 1]])
    to_scene = rotation @ np.diag([1.05, 1.05, 1.0])
    frame = warp(_ramp(), np.linalg.inv(to_scene), (WIDTH, HEIGHT))  # what the moved camera sees of the scene
    assert np.abs(square.cut(frame, 80, to_scene) - square.cut(_ramp(), 80))[3:-3, 3:-3].max() < 0.06


def test_inside_excludes_what_lies_beyond_the_frame():
    square = Square(-20.0, 300.0, 40.0)
    inside = square.inside(WIDTH, HEIGHT, 40)
    assert inside[:20, 20:].all() and not inside[20:].any() and not inside[:, :20].any()
    assert not square.cut(_ramp(), 40)[~inside].any()


@pytest.mark.parametrize(
    ("camera", "extents", "cause"),
    [
        (Camera.default(96, 96), (1.0, None, 1.0), "all three or none"),
        (Camera.default(96, 64), (), "the scene is not square"),
        (Camera.default(96, 64), (1.0, 0.0, 1.0), "below: expected 0.01 to 1000"),
        (Camera(1e9, 0, 0, 96, 64), (1.0, 1.0, 1.0), "focal / longer side"),
        (Camera(100, 1e9, 0, 96, 64), (1.0, 1.0, 1.0), "center_x / longer side"),
    ],
)
def test_impossible_framings_are_refused(camera, extents, cause):
    with pytest.raises(ValueError, match=cause):
        Framing(camera, *extents)


def test_somebody_at_any_distance_has_a_square(framing):
    for place in ([1e6, 1e6, 1e6], [-1e6, -1e6, 0.0], [0.0, 0.0, 0.0], [0.0, 1e6, 0.0]):
        square = framing.square(np.array(place))
        assert square.side >= 1e-3 and np.isfinite([square.left, square.top]).all()
        square.camera(framing.camera, 1024)
