import struct
import time

import cv2
import numpy as np
import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.live.protocol import Coding
from ram_avatar.live.session.codecs import (
    MAX_SIDE,
    FrameDecoder,
    ImageEncoder,
    KeyFrameRequired,
    encode_jpeg,
    stack_opacity,
)


def _scene(shift: int = 0) -> np.ndarray:
    """Return a smooth image that is neither square nor symmetric, [96, 144, 3]."""
    y, x = np.mgrid[:96, :144]
    waves = [np.sin((x + shift) / 11), np.cos(y / 17), np.sin((x + y + 2 * shift) / 23)]
    return np.stack([(110 + 90 * wave) for wave in waves], -1).astype(np.uint8)


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


def test_jpeg_round_trip():
    scene = _scene()
    assert _psnr(FrameDecoder()(Coding.JPEG, encode_jpeg(scene)), scene) > 33  # also checks the order of the channels


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_of_either_kind_is_decoded(progressive):
    packed = cv2.imencode(".jpg", _scene(), [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    assert FrameDecoder()(Coding.JPEG, packed).shape == (96, 144, 3)


def test_other_formats_are_not_decoded():
    for suffix in (".png", ".webp", ".bmp", ".jp2"):
        with pytest.raises(UserError, match="JPEG"):
            FrameDecoder()(Coding.JPEG, cv2.imencode(suffix, _scene())[1].tobytes())


def test_a_progressive_jpeg_of_many_scans_takes_no_time():
    """Each of its scans, of a few bytes, would visit every block of the image."""
    large = cv2.resize(_scene(), (MAX_SIDE, MAX_SIDE))
    packed = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    at = packed.rindex(b"\xff\xda")
    started = time.perf_counter()
    with pytest.raises(UserError, match="scans"):
        FrameDecoder()(Coding.JPEG, packed[:at] + packed[at : at + 12] * 100_000 + packed[at:])
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("fill", [0, 40000])
@pytest.mark.parametrize("side", [MAX_SIDE + 1, 65000])
def test_a_jpeg_with_a_huge_size_in_its_header_is_not_decoded(side, fill):
    """The header alone would make the decoder allocate 12 GB. Any number of fill bytes may stand before it."""
    packed = bytearray(encode_jpeg(_scene()))
    at = packed.index(b"\xff\xc0")
    packed[at + 5 : at + 9] = struct.pack(">HH", side, side)
    packed[at:at] = b"\xff" * fill
    with pytest.raises(UserError, match=r"each side must have|too large"):
        FrameDecoder()(Coding.JPEG, bytes(packed))
    with pytest.raises(UserError, match=str(MAX_SIDE)):
        FrameDecoder()(Coding.JPEG, encode_jpeg(np.zeros((8, MAX_SIDE + 8, 3), np.uint8)))


@pytest.mark.parametrize("packed", [b"no picture", b"\xff\xd8\xff\xe0\x00\x10JFIF", encode_jpeg(_scene())[:25]])
def test_a_damaged_jpeg_is_rejected(packed):
    with pytest.raises(UserError):
        FrameDecoder()(Coding.JPEG, packed)


def test_a_tick_has_no_image():
    assert FrameDecoder()(Coding.NONE, b"") is None


def test_h264_round_trip_without_delay():
    """Every image comes out at once, and only the first is a key frame."""
    encode, decode = ImageEncoder(h264=True), FrameDecoder()
    for shift in range(5):
        coding, packed = encode(_scene(shift))
        assert coding == (Coding.H264_DELTA if shift else Coding.H264_KEY)
        shown = decode(coding, packed)
        assert shown is not None and _psnr(shown, _scene(shift)) > 30
        assert _psnr(shown, _scene(shift)) > _psnr(shown, _scene(shift + 3))


def test_h264_restarts_on_request_and_when_the_size_changes():
    encode = ImageEncoder(h264=True)
    encode(_scene())
    assert encode(_scene(1))[0] == Coding.H264_DELTA
    encode.restart()
    assert encode(_scene(2))[0] == Coding.H264_KEY
    coding, packed = encode(_scene()[:64, :64])
    assert coding == Coding.H264_KEY and FrameDecoder()(coding, packed).shape == (64, 64, 3)


def test_damaged_h264_requires_a_key_frame():
    with pytest.raises(KeyFrameRequired):
        FrameDecoder()(Coding.H264_KEY, b"\x00\x00\x00\x01" + bytes(range(200)))


@pytest.mark.parametrize(("width", "height"), [(4096, 256), (2048, 2048), (8, 8)])
def test_a_refused_h264_stream_ends(width, height):
    """Its later images are tiny, but each would take the memory of a whole one."""
    encoder, decode = ImageEncoder(h264=True), FrameDecoder()
    large = [encoder(np.full((height, width, 3), level, np.uint8)) for level in (100, 101, 102)]
    with pytest.raises((UserError, KeyFrameRequired)):
        decode(*large[0])
    for coding, packed in large[1:]:
        with pytest.raises(KeyFrameRequired):
            decode(coding, packed)
    coding, packed = ImageEncoder(h264=True)(_scene())
    assert decode(coding, packed).shape == (96, 144, 3)


def test_a_key_frame_repairs_a_broken_stream():
    encode, decode = ImageEncoder(h264=True), FrameDecoder()
    encode(_scene())
    coding, packed = encode(_scene(1))
    with pytest.raises(KeyFrameRequired):  # the decoder missed the key frame
        decode(coding, packed)
    encode.restart()
    coding, packed = encode(_scene(2))
    assert _psnr(decode(coding, packed), _scene(2)) > 30


def test_opacity_is_stacked_below():
    rgba = np.dstack([_scene()[:96, :96], np.arange(96 * 96).reshape(96, 96) % 256]).astype(np.uint8)
    stacked = stack_opacity(rgba)
    assert stacked.shape == (192, 96, 3)
    assert np.array_equal(stacked[:96], rgba[..., :3]) and np.array_equal(stacked[96:, :, 1], rgba[..., 3])
