"""Captures that others made: refused in one line."""

import json

import numpy as np
import pytest

from ram_avatar.capture.capture import NOBODY, Capture, LeftOut
from ram_avatar.capture.footage import Footage
from ram_avatar.core.camera import Camera
from ram_avatar.core.errors import UserError


@pytest.fixture()
def folder(template, random_motion, tmp_path):
    """A capture of three frames; its videos are empty files."""
    footage = Footage("video.mp4", 0, 0, 64, 48, gains=np.ones((3, 3)))
    left_out = [LeftOut(2, 2, NOBODY)]
    identity = template.default_identity()
    camera = Camera.default(64, 48)
    Capture(tmp_path, "me.mp4", camera, random_motion(3), identity, footage, True, {}, left_out).write_description()
    for name in ("video.mp4", "masks.mkv", "background.png"):
        (tmp_path / name).touch()
    return tmp_path


def _edit(folder, **values):
    path = folder / "capture.json"
    described = json.loads(path.read_text())
    for name, value in values.items():
        described[name] = described[name] | value if isinstance(value, dict) and name != "report" else value
    path.write_text(json.dumps({name: value for name, value in described.items() if value != "missing"}))


def test_an_intact_one_loads(folder, template):
    capture = Capture.load(folder)
    capture.check_template(template)
    assert len(capture) == 3 and capture.train_frames == [0] and capture.held_out == [1]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"template": "missing"}, "template is missing"),
        ({"frames": "missing"}, "frames is missing"),
        ({"frames": "3"}, "frames: expected a whole number"),
        ({"source": "\x1b[31m.mp4"}, "source: holds characters that cannot be printed"),
        ({"camera": {"focal": [0, "x"]}}, "camera: focal: expected a number, found a list of 2"),
        ({"camera": {"focal": ""}}, "camera: focal: expected a number"),
        ({"camera": {"width": 0}}, "camera: width: expected"),
        ({"camera": {"focal": 1e8}}, "focal / longer side: expected"),
        ({"identity": [0.5, 10**400]}, "identity: expected a number within"),
        ({"identity": None}, "identity: expected a list"),
        ({"footage": {"file": 3}}, "footage: file: expected a text"),
        ({"footage": {"file": "a/video.mp4"}}, "footage: file: expected a name"),
        ({"footage": {"rotate": 45}}, "footage: rotate: expected one of"),
        ({"footage": {"right": 64.5}}, "footage: right: expected a whole number"),
        ({"footage": {"right": 60}}, "its footage does not fit its camera"),
        ({"footage": {"to_scene": None}}, "footage: unknown field: to_scene"),
        ({"footage": []}, "footage: expected fields by name"),
        ({"known_background": "yes"}, "known_background: expected true or false"),
        ({"report": [1]}, "report: expected fields by name"),
        ({"report": {"rates": ["\x07"]}}, "report: rates: holds characters"),
        ({"left_out": [{"first": 0}]}, "left_out: last is missing"),
        ({"left_out": [{"first": 1.0, "last": 1, "why": "x"}]}, "left_out: first: expected a whole number"),
        ({"left_out": [{"first": 1, "last": 3, "why": "x"}]}, "left_out: beyond the last of 3 frames"),
        ({"left_out": [{"first": 0, "last": 2, "why": "x"}]}, "no frame shows the person"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(folder, changes, cause):
    _edit(folder, **changes)
    with pytest.raises(UserError, match=cause) as raised:
        Capture.load(folder)
    assert str(raised.value).startswith(f"{folder / 'capture.json'}: damaged (") and str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"identity": [0.5]}, "identity: expected 195 numbers, found "),
        ({"identity": [1e6] * 195}, "identity: holds numbers that no body"),
    ],
)
def test_an_identity_of_another_template_is_refused(folder, template, change, cause):
    _edit(folder, **change)
    with pytest.raises(UserError, match=cause):
        Capture.load(folder).check_template(template)


def test_a_motion_of_another_template_is_refused(folder, template, random_motion):
    motion = random_motion(3)
    motion.pose = motion.pose[:, :5]
    motion.save(folder / "motion.npz")
    with pytest.raises(UserError, match=r"motion\.npz has not \d+ joints"):
        Capture.load(folder).check_template(template)


def test_gains_that_cannot_be_divided_by_are_refused(folder):
    np.savez(folder / "camera_path.npz", gains=np.zeros((3, 3)))
    with pytest.raises(UserError, match="footage: gains: expected positive numbers"):
        Capture.load(folder)
