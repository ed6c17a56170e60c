import math
import struct

import numpy as np
import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.live.protocol import (
    MAX_FRAME,
    MAX_TEXT,
    STAGES,
    Answer,
    CameraFrame,
    Coding,
    Status,
    parse_request,
)


def test_frame_round_trip():
    frame = CameraFrame(4_000_000_000, 12345.678, Coding.H264_DELTA, b"picture")
    assert CameraFrame.unpack(frame.pack()) == frame
    tick = CameraFrame(7, 0.25)
    assert CameraFrame.unpack(tick.pack()) == tick and len(tick.pack()) == 16


def test_a_frame_has_the_documented_bytes():
    packed = CameraFrame(258, 1.5, Coding.JPEG, b"xy").pack()
    assert packed == bytes([1, 1, 0, 0, 2, 1, 0, 0]) + struct.pack("<d", 1.5) + b"xy"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"short",
        bytes(16),  # no kind
        struct.pack("<BBHId", 1, 9, 0, 1, 0.0) + b"x",  # an unknown coding
        struct.pack("<BBHId", 1, 1, 0, 1, math.nan) + b"x",
        struct.pack("<BBHId", 1, 1, 0, 1, 0.0),  # an empty JPEG
        struct.pack("<BBHId", 1, 0, 0, 1, 0.0) + b"x",  # a tick with an image
        struct.pack("<BBHId", 1, 1, 0, 1, 0.0) + bytes(MAX_FRAME),
    ],
)
def test_invalid_frames_are_rejected(message):
    with pytest.raises(UserError):
        CameraFrame.unpack(message)


def test_answer_round_trip():
    landmarks = np.array([[0.0, 1.0], [0.5, 0.25], [np.nan, np.nan]])
    sent = Answer(
        number=9,
        captured=17.25,
        status=Status.LOST,
        coding=Coding.JPEG,
        picture=b"the picture",
        driving=b"the driver",
        landmarks=landmarks,
        timings={"render": 12.5, "detect": 3.25},
        opacity_below=True,
    )
    got = Answer.unpack(sent.pack())
    assert (got.number, got.captured, got.status, got.coding) == (9, 17.25, Status.LOST, Coding.JPEG)
    assert (got.picture, got.driving, got.opacity_below, got.dropped) == (b"the picture", b"the driver", True, False)
    assert np.allclose(got.landmarks, landmarks, atol=1 / 65534, equal_nan=True)
    assert got.timings == {name: {"render": 12.5, "detect": 3.25}.get(name, 0.0) for name in STAGES}


def test_landmarks_outside_the_image_are_clamped_to_its_edge():
    got = Answer.unpack(Answer(1, 0.0, Status.SEEN, landmarks=np.array([[-3.0, 1.7]])).pack())
    assert got.landmarks.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("message", [b"", bytes(24), b"\x02\x01" + bytes(10)])
def test_invalid_answers_are_rejected(message):
    with pytest.raises(ValueError, match="not an answer"):
        Answer.unpack(message)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{}", '{"type": 3}', "{", "[" * 10000, '{"type":"' + "x" * MAX_TEXT + '"}']
)
def test_invalid_requests_are_rejected(text):
    with pytest.raises(UserError):
        parse_request(text)


def test_a_request_is_parsed():
    assert parse_request('{"type": "record", "on": true}') == {"type": "record", "on": True}
