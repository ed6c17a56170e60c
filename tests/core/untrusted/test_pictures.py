import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.pictures import decode_picture, read_picture

SCENE = np.zeros((40, 60, 3), np.uint8)
SCENE[:20, :, 0], SCENE[:, 30:, 1] = 200, 90


def encoded(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """Return an image file."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(width: int, height: int, depth: int = 1) -> bytes:
    """Return a black PNG file of any size; a row takes a few bytes."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    packer = zlib.compressobj(9)
    rows = b"".join([*(packer.compress(bytes(width * depth // 8 + 1)) for _ in range(height)), packer.flush()])
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_images_are_read_exactly(tmp_path, kind):
    (tmp_path / "picture").write_bytes(encoded(SCENE, kind, lossless=True))  # the name tells nothing
    assert np.array_equal(read_picture(tmp_path / "picture"), SCENE)


def test_a_jpeg_is_read():
    error = decode_picture(encoded(SCENE, "JPEG", quality=95, subsampling=0), "p").astype(int) - SCENE
    assert np.abs(error).mean() < 2


def test_opacity_palettes_and_grey_become_rgb():
    opaque = Image.fromarray(SCENE)
    half = opaque.copy()
    half.putalpha(128)
    assert np.array_equal(decode_picture(encoded(half, "PNG"), "p"), SCENE)
    assert np.array_equal(decode_picture(encoded(opaque.quantize(8), "PNG"), "p"), SCENE)
    assert decode_picture(encoded(opaque.convert("L"), "PNG"), "p").shape == (40, 60, 3)


def test_sixteen_bits_are_scaled_to_eight():
    grey = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(40, 0)
    assert np.array_equal(decode_picture(encoded(grey, "PNG"), "p")[..., 1], grey >> 8)


def test_a_photo_taken_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    turned = decode_picture(encoded(SCENE, "PNG", exif=exif), "p")
    assert np.array_equal(turned, np.rot90(SCENE, -1))


def test_other_formats_are_refused_whatever_their_name(tmp_path):
    for kind in ("JPEG2000", "TIFF", "BMP", "GIF", "PPM"):
        (tmp_path / "p.png").write_bytes(encoded(SCENE, kind))
        with pytest.raises(UserError, match=r"p\.png: not an image that can be read \(PNG, JPEG, WEBP\)"):
            read_picture(tmp_path / "p.png")
    with pytest.raises(UserError, match=r"not an image that can be read \(JPEG\)"):
        decode_picture(encoded(SCENE, "PNG"), "a camera image", formats=("JPEG",))


@pytest.mark.parametrize("size", [(32_000, 32_000), (60_000, 10), (9_000, 9_000)])
def test_too_many_pixels_are_refused_unseen(size):
    bomb = png_of(*size)
    assert len(bomb) < 200_000
    with pytest.raises(UserError, match=r"too large|each side must have"):
        decode_picture(bomb, "bomb.png")


def test_the_size_counts_wherever_the_header_hides_it():
    """Fill bytes before a marker are legal, and once hid the size from a parser of ours."""
    small = encoded(SCENE, "JPEG")
    at = small.index(b"\xff\xc0")
    wide = small[:at] + b"\xff" * 1000 + small[at : at + 5] + struct.pack(">HH", 40_000, 1_000) + small[at + 9 :]
    with pytest.raises(UserError, match="1000 x 40000"):
        decode_picture(wide, "a camera image")


def test_a_progressive_image_may_not_repaint_itself_forever():
    image = encoded(SCENE, "JPEG", progressive=True)
    scan = image.rindex(b"\xff\xda")
    with pytest.raises(UserError, match="more than 100 scans"):
        decode_picture(image[:-2] + image[scan:-2] * 5000, "p.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damage_is_one_line_and_silent(kind, capfd):
    good = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), kind)
    for cut in range(4, len(good), len(good) // 40):
        try:
            decode_picture(good[:cut] + bytes(8), "p")
        except UserError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")
