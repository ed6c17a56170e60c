from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.tracking.camera.stabilizing import stabilized
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.observations import Observations

CAMERA = Camera.default(200, 300)


@pytest.fixture()
def observations():
    """A body of 33 points in front of the camera, detected exactly: pixels and metres of the same points."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, 33, 3, generator=generator) * 0.3
    placed = points + torch.tensor([0.1, 4.0, -0.1])
    part = torch.randn(4, 21, 3, generator=generator) * 10 + torch.tensor([100.0, 150.0, 0.0])
    return Observations(
        topology=MEDIAPIPE,
        pose=CAMERA.project(placed)[..., :2],
        visibility=torch.ones(4, 33),
        pose_world=points,
        left_hand=part,
        right_hand=part + 5,
        face=torch.cat([part] * 22 + [part[:, :16]], 1),
        seen={name: torch.ones(4, dtype=torch.bool) for name in ("body", "left_hand", "right_hand", "face")},
        masks=np.zeros((4, 30, 20), np.uint8),
        width=200,
        height=300,
        fps=25.0,
    )


def _turns(degrees) -> np.ndarray:
    """[N, 3, 3] rotations of the image about its centre, clockwise."""
    made = []
    for angle in np.radians(degrees):
        to_middle = np.array([[1, 0, -100], [0, 1, -150], [0, 0, 1.0]])
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        made.append(np.linalg.inv(to_middle) @ turn @ to_middle)
    return np.array(made)


def test_a_fixed_camera_changes_nothing(observations):
    again = stabilized(observations, np.tile(np.eye(3), (4, 1, 1)))
    for name in ("pose", "pose_world", "left_hand", "right_hand", "face"):
        assert torch.allclose(getattr(again, name), getattr(observations, name), atol=1e-5)


def test_pixels_and_metres_turn_together(observations):
    """What a rolling camera sees, brought to the scene, is what a level camera sees."""
    rolls = _turns([0.0, 3.0, -10.0, 25.0])  # of frame to scene
    away = [np.linalg.inv(matrix) for matrix in rolls]
    rolled = stabilized(observations, np.array(away))  # what the rolled camera sees
    assert (rolled.pose - observations.pose)[3].norm(dim=-1).max() > 5
    # In the rolled camera's own axes, metres still project to its pixels.
    world = rolled.pose_world + torch.tensor([0.0, 4.0, 0.0])
    middle = observations.pose_world.new_tensor([0.1, 0.0, -0.1])
    for frame, degrees in enumerate((0.0, -3.0, 10.0, -25.0)):
        angle = np.radians(degrees)
        x, z = middle[0], middle[2]
        shift = torch.tensor(
            [x * np.cos(angle) + z * np.sin(angle), 0.0, z * np.cos(angle) - x * np.sin(angle)], dtype=torch.float32
        )
        seen = CAMERA.project(world[frame] + shift)[..., :2]
        assert torch.allclose(seen, rolled.pose[frame], atol=0.05)
    back = stabilized(rolled, rolls)
    assert torch.allclose(back.pose, observations.pose, atol=1e-3)
    assert torch.allclose(back.pose_world, observations.pose_world, atol=1e-5)


def test_depth_of_hands_scales_with_the_image(observations):
    zoom = np.tile(np.diag([1.5, 1.5, 1.0]), (4, 1, 1))
    larger = stabilized(observations, zoom)
    assert torch.allclose(larger.left_hand, 1.5 * observations.left_hand, atol=1e-4)
    assert torch.equal(larger.pose_world, observations.pose_world)
    assert larger.masks is observations.masks and replace(larger).width == 200
