"""Which frames show the person, and their orientation."""

import json
import shutil

import numpy as np
import pytest
import torch

from ram_avatar.capture.capture import (
    NOBODY,
    OTHER_SCENE,
    Capture,
    LeftOut,
)
from ram_avatar.core.errors import UserError
from ram_avatar.tracking.camera.orientation import needed_rotation
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.observations import Observations
from ram_avatar.tracking.offline.presence import describe, find_left_out, leave_out
from ram_avatar.tracking.offline.scenes import TRANSITION

WIDTH, HEIGHT = 200, 300


def standing() -> np.ndarray:
    """[33, 2] of a person upright in the middle of the image."""
    pose = np.tile([WIDTH / 2, HEIGHT / 2], (33, 1))
    pose[[2, 5], 1], pose[[9, 10], 1] = 40, 55
    pose[[11, 12, 13, 14, 15, 16], 1], pose[[23, 24], 1] = 80, 160
    pose[[25, 26], 1], pose[[27, 28], 1] = 210, 260
    return pose


def seen(visibility: list[float], pose: np.ndarray | None = None) -> Observations:
    """Observations with one visibility per frame; unseen where it is 0."""
    count, visible = len(visibility), torch.tensor(visibility)
    pose = torch.from_numpy(standing() if pose is None else pose).float().expand(count, -1, -1)
    return Observations(
        topology=MEDIAPIPE,
        pose=pose.clone(),
        visibility=visible[:, None].expand(-1, 33).clone(),
        pose_world=torch.zeros(count, 33, 3),
        left_hand=torch.zeros(count, 21, 3),
        right_hand=torch.zeros(count, 21, 3),
        face=torch.zeros(count, 478, 3),
        seen={part: visible > (0 if part == "body" else 0.5) for part in ("body", "left_hand", "right_hand", "face")},
        masks=np.full((count, 30, 20), 200, np.uint8),
        width=WIDTH,
        height=HEIGHT,
        fps=25.0,
    )


def test_frames_of_low_visibility_show_nobody():
    found = find_left_out(seen([0.9, 0.9, 0.04, 0.0, 0.9, 0.0]), np.zeros(6, int), one_scene=True)
    assert found == [LeftOut(2, 3, NOBODY), LeftOut(5, 5, NOBODY)]


def test_a_person_outside_the_image_is_absent():
    """The detector keeps guessing outside the image, and is confident of it."""
    outside = seen([0.9] * 3)
    outside.pose[1:, :, 0] += WIDTH
    outside.seen["face"][:] = False
    assert find_left_out(outside, np.zeros(3, int), one_scene=True) == [LeftOut(1, 2, NOBODY)]


def test_the_scene_that_shows_the_person_longest_is_kept():
    visibility = [0.0] * 5 + [0.9] * 4 + [0.9] * 2
    scenes = np.array([0] * 5 + [1] * 3 + [TRANSITION] + [2] * 2)
    found = find_left_out(seen(visibility), scenes, one_scene=True)
    assert found == [LeftOut(0, 4, OTHER_SCENE), LeftOut(8, 10, OTHER_SCENE)]
    found = find_left_out(seen(visibility), scenes, one_scene=False)
    assert found == [LeftOut(0, 4, NOBODY), LeftOut(8, 8, OTHER_SCENE)]


def test_left_out_frames_are_unseen():
    observations = seen([0.9] * 4)
    leave_out(observations, [LeftOut(1, 2, OTHER_SCENE)])
    for part in observations.seen.values():
        assert part.tolist() == [True, False, False, True]
    assert observations.masks.any((1, 2)).tolist() == [True, False, False, True]


def test_the_description_says_how_many_and_why():
    assert describe([LeftOut(0, 0, NOBODY)], 9) == "1 of 9 frames is left out: 1 shows nobody"
    told = describe([LeftOut(0, 3, NOBODY), LeftOut(5, 9, OTHER_SCENE)], 60)
    assert told == "9 of 60 frames are left out: 4 show nobody, 5 belong to another scene"


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_the_rotation_that_brings_the_person_upright(turned):
    """An image turned clockwise needs the rest of the full turn."""
    x, y = (standing() - [WIDTH / 2, HEIGHT / 2]).T
    at = {0: (x, y), 90: (-y, x), 180: (-x, -y), 270: (y, -x)}[turned]
    observations = seen([0.9] * 10, np.stack(at, 1) + [WIDTH / 2, HEIGHT / 2])
    assert needed_rotation(observations) == (360 - turned) % 360


def test_a_person_bending_down_is_not_sideways():
    pose = standing()
    pose[:13] = pose[:13, ::-1]  # head and shoulders to the side, head upright
    pose[[2, 5]], pose[[9, 10]] = (40, 100), (40, 115)
    assert needed_rotation(seen([0.9] * 10, pose)) == 0
    assert needed_rotation(seen([0.0] * 3)) == 0


# The capture -----------------------------------------------------------------------------------------------------


@pytest.fixture()
def gapped(capture) -> Capture:
    """The 30 frames of the film, with two runs left out."""
    left_out = (LeftOut(4, 8, OTHER_SCENE), LeftOut(25, 29, NOBODY))
    return Capture(**{**vars(capture), "left_out": left_out})


def test_the_last_fifth_of_the_frames_that_show_the_person_is_held_out(gapped):
    assert gapped.shown.sum() == 20
    assert gapped.train_frames == [*range(4), *range(9, 21)] and gapped.held_out == [21, 22, 23, 24]


def test_neighbors_do_not_cross_a_gap(gapped):
    frames = torch.tensor([0, 3, 9, 10, 24])
    assert gapped.neighbors(frames, -1).tolist() == [0, 2, 9, 9, 23]
    assert gapped.neighbors(frames, 1).tolist() == [1, 3, 10, 11, 24]


def test_left_out_frames_are_saved_with_the_capture(gapped, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(gapped.folder, folder)
    Capture(**{**vars(gapped), "folder": folder}).write_description()
    described = json.loads((folder / "capture.json").read_text())
    assert described["left_out"][0] == {"first": 4, "last": 8, "why": "other scene"}
    assert Capture.load(folder).train_frames == gapped.train_frames
    del described["left_out"]  # as in earlier captures
    (folder / "capture.json").write_text(json.dumps(described))
    assert Capture.load(folder).train_frames == list(range(24))
    for bad in ([{"first": 3}], [{"first": 5, "last": 4, "why": "x"}], [{"first": 0, "last": 29, "why": "nobody"}], 3):
        (folder / "capture.json").write_text(json.dumps(described | {"left_out": bad}))
        with pytest.raises(UserError, match="damaged"):
            Capture.load(folder)
