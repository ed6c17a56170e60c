"""Encoding and decoding of single images: JPEG, and H.264 for slow networks."""

from contextlib import suppress
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from ...core.errors import UserError
from ...core.untrusted.pictures import decode_picture
from ..protocol import Coding

MIN_SIDE, MAX_SIDE = 16, 1920  # pixels of a camera image
_QUALITY = 85
_KEY_INTERVAL = 150  # frames; a page that cannot decode requests a key frame
_H264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "x264-params": "annexb=1:repeat-headers=1"}


def encode_jpeg(rgb: np.ndarray, quality: int = _QUALITY) -> bytes:
    """Encode an RGB image [H, W, 3] uint8."""
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def stack_opacity(rgba: np.ndarray) -> np.ndarray:
    """Stack colours on top of opacity as grey, [H, W, 4] to [2H, W, 3], for codecs without an alpha channel."""
    return np.concatenate([rgba[..., :3], np.repeat(rgba[..., 3:], 3, -1)])


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
            self._h264 = _h264_decoder()
        decoder, self._h264 = self._h264, None  # so a stream that is refused ends, and its memory is freed
        frames = []
        if decoder is not None:
            with suppress(av.error.FFmpegError):
                frames = decoder.decode(av.Packet(picture))
        if not frames:
            raise KeyFrameRequired
        frame = frames[-1]
        width, height = frame.width, frame.height
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise UserError(f"a camera image: {width} x {height}; each side must have {MIN_SIDE} to {MAX_SIDE} pixels")
        self._h264 = decoder
        return frame.to_ndarray(format="rgb24")


def _decode_jpeg(picture: bytes) -> np.ndarray:
    return decode_picture(picture, "a camera image", formats=("JPEG",), min_side=MIN_SIDE, max_side=MAX_SIDE)


def _h264_decoder() -> av.VideoCodecContext:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_type = "NONE"  # threads would delay images by several frames
    # Checked when a size is read, before an image of that size takes memory. Several are kept to build on.
    decoder.options = {"max_pixels": str(MAX_SIDE**2)}
    return decoder


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
