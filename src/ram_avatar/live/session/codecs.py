"""Encoding and decoding of single images: JPEG, and H.264 for slow networks."""

import struct
from contextlib import suppress
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from ...core.errors import UserError
from ..protocol import Coding

MAX_SIDE = 1920  # pixels of a camera image
_QUALITY = 85
_KEY_INTERVAL = 150  # frames; a page that cannot decode requests a key frame
_H264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "x264-params": "annexb=1:repeat-headers=1"}
_FRAME_HEADERS = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))


def encode_jpeg(rgb: np.ndarray, quality: int = _QUALITY) -> bytes:
    """Encode an RGB image [H, W, 3] uint8."""
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def stack_opacity(rgba: np.ndarray) -> np.ndarray:
    """Stack colours on top of opacity as grey, [H, W, 4] to [2H, W, 3], for codecs without an alpha channel."""
    return np.concatenate([rgba[..., :3], np.repeat(rgba[..., 3:], 3, -1)])


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height from a JPEG's header (ISO/IEC 10918-1, B.2); return None if it is not a JPEG."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    return None


class KeyFrameRequired(Exception):
    """An H.264 frame cannot be decoded, since one that it builds on is missing or damaged."""


class FrameDecoder:
    """Decodes the camera images of one page, in order."""

    def __init__(self) -> None:
        self._h264: av.VideoCodecContext | None = None

    def __call__(self, coding: Coding, picture: bytes) -> np.ndarray | None:
        """Return the image [H, W, 3] uint8 RGB, or None for a tick, which has none.

        Raises:
            KeyFrameRequired: the H.264 stream has to continue with a key frame.
            UserError: the image is damaged, or larger than `MAX_SIDE`.
        """
        if coding == Coding.NONE:
            return None
        return _decode_jpeg(picture) if coding == Coding.JPEG else self._decode_h264(coding, picture)

    def _decode_h264(self, coding: Coding, picture: bytes) -> np.ndarray:
        if coding == Coding.H264_KEY:
            self._h264 = av.CodecContext.create("h264", "r")
            self._h264.thread_type = "NONE"  # threads would delay images by several frames
        frames = []
        if self._h264 is not None:
            with suppress(av.error.FFmpegError):
                frames = self._h264.decode(av.Packet(picture))
        if not frames:
            self._h264 = None
            raise KeyFrameRequired
        _check_size(frames[-1].width, frames[-1].height)
        return frames[-1].to_ndarray(format="rgb24")


def _decode_jpeg(picture: bytes) -> np.ndarray:
    size = jpeg_size(picture)
    if size is None:
        raise UserError("a camera image is not a JPEG")
    _check_size(*size)
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise UserError("a camera image is damaged")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _check_size(width: int, height: int) -> None:
    if not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise UserError(f"a camera image of {width} x {height}; each side must have 16 to {MAX_SIDE} pixels")


class ImageEncoder:
    """Encodes the images for one page, in order.

    Args:
        h264: as H.264 instead of JPEG.
    """

    def __init__(self, h264: bool = False):
        self._wants_h264 = h264
        self._h264: av.VideoCodecContext | None = None
        self._count = 0

    def __call__(self, rgb: np.ndarray) -> tuple[Coding, bytes]:
        """Encode an image [H, W, 3] uint8 RGB."""
        if not self._wants_h264:
            return Coding.JPEG, encode_jpeg(rgb)
        height, width = rgb.shape[:2]
        if self._h264 is None or (self._h264.width, self._h264.height) != (width, height):
            self._h264, self._count = _h264_encoder(width, height), 0
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self._count, Fraction(1, 30)
        self._count += 1
        packets = self._h264.encode(frame)
        key = any(packet.is_keyframe for packet in packets)
        return (Coding.H264_KEY if key else Coding.H264_DELTA), b"".join(bytes(packet) for packet in packets)

    def restart(self) -> None:
        """Make the next image a key frame."""
        self._h264 = None


def _h264_encoder(width: int, height: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 30), _KEY_INTERVAL
    encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
    encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    encoder.profile, encoder.options = "Baseline", _H264
    return encoder
