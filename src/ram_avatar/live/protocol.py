"""The protocol of the websocket between the page and the server.

Images are binary messages. Everything else is JSON in text messages: an object with a `type`. Numbers are
little-endian. `web/static/protocol.js` is the other side.

A camera frame, page to server: 16 bytes, then the image.

| offset | type | what |
| --- | --- | --- |
| 0 | u8 | 1 |
| 1 | u8 | `Coding` of the image; NONE for a tick: no camera, but an avatar image is wanted |
| 2 | u16 | 0 |
| 4 | u32 | frame number, chosen by the page |
| 8 | f64 | capture time: milliseconds of the page's own clock, returned unchanged |

An answer, server to page: 24 bytes, then four parts in this order. Every frame is answered exactly once, dropped ones
too, so that the page can count the frames in flight.

| offset | type | what |
| --- | --- | --- |
| 0 | u8 | 2 |
| 1 | u8 | `Coding` of the image; NONE if there is none |
| 2 | u8 | `Status` |
| 3 | u8 | flags: 1 the frame was dropped; 2 the image has its opacity stacked below it as a second image |
| 4 | u32 | frame number |
| 8 | f64 | capture time |
| 16 | u16 | S, number of stages |
| 18 | u16 | N, number of landmarks |
| 20 | u32 | T, bytes of the driving image |
| 24 | f32 x S | milliseconds spent in each of `STAGES` |
| | u16 x 2N | x, y of each landmark in 1/65534 of the camera image's width and height; 65535 if not seen |
| | T bytes | the driving image as JPEG, unless it is from the page's own camera |
| | | the image |
"""

import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from ..core.errors import UserError
from ..drivers.driver import Status

FRAME, ANSWER = 1, 2
STAGES = ("wait", "decode", "detect", "solve", "align", "render", "encode")
"""Stages of a frame on the server: waiting, decoding the image, detecting landmarks, solving for the pose, retargeting
with alignment, rendering with the background, encoding the image."""
MAX_FRAME = 2 << 20  # bytes of a binary message from the page
MAX_TEXT = 64 << 10
_FRAME_HEAD, _ANSWER_HEAD = struct.Struct("<BBHId"), struct.Struct("<BBBBIdHHI")
_DROPPED, _OPACITY_BELOW = 1, 2
_UNSEEN, _UNIT = 65535, 65534


class Coding(IntEnum):
    """How an image is encoded. H.264 is in Annex B format, one whole image per message."""

    NONE = 0
    JPEG = 1
    H264_KEY = 2
    H264_DELTA = 3


class CloseCode(IntEnum):
    """Why the server closes a websocket."""

    REFUSED = 4403  # not allowed
    BUSY = 4409  # another page drives
    TAKEN = 4410  # another page took over
    TOO_MANY = 4429  # messages or views


@dataclass(frozen=True)
class CameraFrame:
    """An encoded camera image from the page."""

    number: int
    captured: float  # milliseconds of the page's clock
    coding: Coding = Coding.NONE
    picture: bytes = b""

    @classmethod
    def unpack(cls, message: bytes) -> "CameraFrame":
        """Parse a message.

        Raises:
            UserError: it is not a camera frame.
        """
        if not _FRAME_HEAD.size <= len(message) <= MAX_FRAME:
            raise UserError(f"a frame of {len(message)} bytes; frames have 16 to {MAX_FRAME}")
        kind, coding, _, number, captured = _FRAME_HEAD.unpack_from(message)
        if kind != FRAME or coding not in tuple(Coding) or not np.isfinite(captured):
            raise UserError("not a camera frame of this version; reload the page")
        if (coding == Coding.NONE) != (len(message) == _FRAME_HEAD.size):
            raise UserError("a camera frame without its image")
        return cls(number, captured, Coding(coding), message[_FRAME_HEAD.size :])

    def pack(self) -> bytes:
        """Return the message, as the page makes it."""
        return _FRAME_HEAD.pack(FRAME, self.coding, 0, self.number, self.captured) + self.picture


@dataclass
class Answer:
    """The server's answer to a frame."""

    number: int
    captured: float
    status: Status
    coding: Coding = Coding.NONE
    picture: bytes = b""
    driving: bytes = b""  # JPEG of the driving image, if the page does not have it
    landmarks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # [N, 2] in 0..1; NaN if not seen
    timings: dict[str, float] = field(default_factory=dict)  # milliseconds, by `STAGES`
    dropped: bool = False
    opacity_below: bool = False

    def pack(self) -> bytes:
        """Return the message."""
        seen = np.isfinite(self.landmarks).all(-1, keepdims=True)
        points = np.where(seen, np.nan_to_num(self.landmarks).clip(0, 1) * _UNIT, _UNSEEN).round().astype("<u2")
        stages = np.array([self.timings.get(name, 0.0) for name in STAGES], "<f4")
        head = _ANSWER_HEAD.pack(
            ANSWER,
            self.coding,
            self.status,
            _DROPPED * self.dropped | _OPACITY_BELOW * self.opacity_below,
            self.number,
            self.captured,
            len(stages),
            len(points),
            len(self.driving),
        )
        return b"".join((head, stages.tobytes(), points.tobytes(), self.driving, self.picture))

    @classmethod
    def unpack(cls, message: bytes) -> "Answer":
        """Parse a message, as the page does.

        Raises:
            ValueError: it is not an answer.
        """
        try:
            kind, coding, status, flags, number, captured, stages, points, driving = _ANSWER_HEAD.unpack_from(message)
        except struct.error:
            raise ValueError("not an answer: too short") from None
        if kind != ANSWER:
            raise ValueError(f"not an answer: kind {kind}")
        at = _ANSWER_HEAD.size
        spent = np.frombuffer(message, "<f4", stages, at)
        at += spent.nbytes
        packed = np.frombuffer(message, "<u2", 2 * points, at).reshape(-1, 2)
        at += packed.nbytes
        return cls(
            number=number,
            captured=captured,
            status=Status(status),
            coding=Coding(coding),
            driving=message[at : at + driving],
            picture=message[at + driving :],
            landmarks=np.where(packed == _UNSEEN, np.nan, packed / _UNIT),
            timings=dict(zip(STAGES, spent.tolist(), strict=False)),
            dropped=bool(flags & _DROPPED),
            opacity_below=bool(flags & _OPACITY_BELOW),
        )


def parse_request(text: str) -> dict:
    """Parse a text message of the page: an object with a `type`.

    Raises:
        UserError: it is something else.
    """
    if len(text) > MAX_TEXT:
        raise UserError(f"a message of {len(text)} characters; at most {MAX_TEXT} are allowed")
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("type"), str):
        raise UserError("not a message of this version; reload the page")
    return request
