"""What goes over the websocket between the page and the server.

Pictures are binary messages, all else is JSON in text messages: an object with a `type`. Numbers are little-endian.

A frame, page to server: 16 bytes, then the picture.

| offset | type | what |
| --- | --- | --- |
| 0 | u8 | 1 |
| 1 | u8 | coding (`Coding`); NONE for a tick: no camera, but a picture is wanted |
| 2 | u16 | 0 |
| 4 | u32 | number of the frame, chosen by the page |
| 8 | f64 | when it was captured: milliseconds of the page's own clock, sent back untouched |

An answer, server to page: 24 bytes, then the four parts in this order. Every frame is answered exactly once, dropped
ones too, so that the page can count how many are under way.

| offset | type | what |
| --- | --- | --- |
| 0 | u8 | 2 |
| 1 | u8 | coding of the picture; NONE where there is none |
| 2 | u8 | status (`Status`) |
| 3 | u8 | flags: 1 the frame was dropped; 2 the picture has its opacity as a second picture below it |
| 4 | u32 | number of the frame |
| 8 | f64 | when it was captured |
| 16 | u16 | S, stages |
| 18 | u16 | N, landmarks |
| 20 | u32 | T, bytes of the driving picture |
| 24 | f32 x S | milliseconds spent in each of `STAGES` |
| | u16 x 2N | x, y of every landmark in 1/65534 of the camera picture's width and height; 65535: not seen |
| | T bytes | the picture that drives, as JPEG, where it does not come from the page's own camera |
| | | the picture |
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
"""Where a frame's time goes on the server: in the slot, unpacking the picture, finding landmarks, solving for the
pose, retargeting with alignment, rendering with the background, packing the picture."""
MAX_FRAME = 2 << 20  # bytes of a message from the page
MAX_TEXT = 64 << 10
_FRAME_HEAD, _ANSWER_HEAD = struct.Struct("<BBHId"), struct.Struct("<BBBBIdHHI")
_DROPPED, _OPACITY_BELOW = 1, 2
_UNSEEN, _UNIT = 65535, 65534


class Coding(IntEnum):
    """How a picture is packed. H.264 comes as Annex B, a whole picture in a message."""

    NONE = 0
    JPEG = 1
    H264_KEY = 2
    H264_DELTA = 3


@dataclass(frozen=True)
class CameraFrame:
    """A picture on its way in, still packed."""

    number: int
    captured: float  # milliseconds of the page's clock
    coding: Coding = Coding.NONE
    picture: bytes = b""

    @classmethod
    def unpack(cls, message: bytes) -> "CameraFrame":
        """Raises UserError where the message is not one."""
        if not _FRAME_HEAD.size <= len(message) <= MAX_FRAME:
            raise UserError(f"a frame of {len(message)} bytes; there are at least 16 and at most {MAX_FRAME}")
        kind, coding, _, number, captured = _FRAME_HEAD.unpack_from(message)
        if kind != FRAME or coding not in tuple(Coding) or not np.isfinite(captured):
            raise UserError("not a camera frame of this version; reload the page")
        if (coding == Coding.NONE) != (len(message) == _FRAME_HEAD.size):
            raise UserError("a camera frame without its picture")
        return cls(number, captured, Coding(coding), message[_FRAME_HEAD.size :])

    def pack(self) -> bytes:
        return _FRAME_HEAD.pack(FRAME, self.coding, 0, self.number, self.captured) + self.picture


@dataclass
class Answer:
    """What the page gets for a frame."""

    number: int
    captured: float
    status: Status
    coding: Coding = Coding.NONE
    picture: bytes = b""
    driving: bytes = b""  # JPEG of the picture that drives, where the page does not have it
    landmarks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # [N, 2] share of width, height; NaN unseen
    timings: dict[str, float] = field(default_factory=dict)  # milliseconds, by `STAGES`
    dropped: bool = False
    opacity_below: bool = False

    def pack(self) -> bytes:
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
        """What the page does, for clients in Python; raises ValueError where the message is not one."""
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
    """A text message of the page: an object with a `type`.

    Raises:
        UserError: anything else.
    """
    if len(text) > MAX_TEXT:
        raise UserError(f"a message of {len(text)} characters; there are at most {MAX_TEXT}")
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("type"), str):
        raise UserError("not a message of this version; reload the page")
    return request
