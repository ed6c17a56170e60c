from dataclasses import replace

import numpy as np
import pytest
import torch
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector
from scipy.spatial.transform import Rotation

from ram_avatar.core.camera import Camera
from ram_avatar.evaluation.head_turns import face_shape, head_turns, turned_apart
from ram_avatar.tracking.observations import Observations, observe

CAMERA = Camera.default(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def facing(template) -> Observations:
    motion, identity = performance(template, 3)
    return observe(seen_by_a_perfect_detector(template, motion, identity, CAMERA), 0, 0, 0)


def turned(seen: Observations, *degrees: tuple[float, float, float]) -> Observations:
    """Return the first face turned about the camera's axes, from where it looks straight at the camera."""
    shape = face_shape(seen)
    face = seen.face[0].numpy()
    head = list(seen.topology.face.head)
    straight, _ = Rotation.align_vectors(shape, face[head] - face[head].mean(0))
    faces = [Rotation.from_euler("YXZ", each, degrees=True).apply(straight.apply(face)) for each in degrees]
    return replace(seen, face=torch.tensor(np.array(faces)), seen=seen.seen | {"face": torch.ones(3, dtype=torch.bool)})


def test_turns_are_those_of_the_head(facing):
    wanted = (0.0, 0.0, 0.0), (30.0, -10.0, 5.0), (-60.0, 20.0, -80.0)
    found = head_turns(turned(facing, *wanted), face_shape(facing))
    np.testing.assert_allclose(found, wanted, atol=1.0)


def test_shape_comes_from_the_most_frontal_frame_in_any_tilt(facing):
    """A head that is only ever seen tilted by 30 degrees still turns about its own axes."""
    wanted = (50.0, 0.0, 30.0), (0.0, 0.0, 30.0), (-40.0, 15.0, 30.0)
    tilted = turned(facing, *wanted)
    np.testing.assert_allclose(head_turns(tilted, face_shape(tilted)), wanted, atol=1.5)


def test_size_and_place_do_not_matter(facing):
    seen = turned(facing, (30, -10, 5), (0, 0, 0), (1, 2, 3))
    moved = replace(seen, face=3 * seen.face + 100)
    shape = face_shape(seen)
    np.testing.assert_allclose(head_turns(moved, shape), head_turns(seen, shape), atol=1e-4)


def test_faces_that_are_not_seen_have_no_turn(facing):
    hidden = replace(facing, seen=facing.seen | {"face": torch.tensor([True, False, True])})
    assert np.isnan(head_turns(hidden, face_shape(hidden))).any(1).tolist() == [False, True, False]
    nobody = replace(facing, seen=facing.seen | {"face": torch.zeros(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="no frame"):
        face_shape(nobody)


def test_angles_differ_the_short_way_round():
    assert turned_apart(np.array([170.0, 10.0]), np.array([-170.0, -5.0])).tolist() == [20, 15]
