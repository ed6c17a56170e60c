"""PNG, JPEG and WebP images, told by content; no other format is decoded.

Decoded by Pillow: OpenCV's decoders are many, and the version that this package's dependencies require has a known
fault in one of them (docs/dependencies.md).
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import UserError
from .files import read_bytes

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_FILE = 64 << 20  # bytes
MAX_SIDE = 16384  # pixels
MAX_PIXELS = 50_000_000
_MAX_SCANS = 100  # of a progressive JPEG, each of which repaints the whole image; encoders write about 10
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"  # its markers; the latter cannot occur in image data
# Pillow warns about sizes, which are checked here, and oddities of headers. Not `catch_warnings`: live use decodes in a
# thread, where that is not safe.
warnings.filterwarnings("ignore", module=r"PIL\.")
_GREY16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def read_picture(path: str | Path) -> np.ndarray:
    """Read an image file as RGB [H, W, 3] uint8. See `decode_picture`.

    Raises:
        UserError: see `files.open_regular` and `decode_picture`.
    """
    return decode_picture(read_bytes(path, MAX_FILE, "an image"), str(path))


def decode_picture(
    data: bytes,
    name: str,
    *,
    formats: tuple[str, ...] = FORMATS,
    min_side: int = 1,
    max_side: int = MAX_SIDE,
) -> np.ndarray:
    """Decode an image to RGB [H, W, 3] uint8, turned upright as its EXIF data states; opacity is ignored.

    Its header is read first: nothing is decoded of an image of another format, or of too many pixels.

    Args:
        name: what to call the image in messages: its path, "a camera image".
        formats: which of `FORMATS` to accept.
        min_side, max_side: bounds on width and height, pixels.

    Raises:
        UserError: another format, out of bounds, more than `MAX_PIXELS`, or damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            _check(image, data, name, min_side, max_side)
            return _upright_rgb(image)
    except UserError:
        raise
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: not an image that can be read ({', '.join(formats)})") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name}: more than {MAX_PIXELS // 10**6} megapixels, too large") from None
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"{name}: damaged, or not an image ({error})") from None


def _check(image: Image.Image, data: bytes, name: str, min_side: int, max_side: int) -> None:
    width, height = image.size
    if not (min_side <= min(width, height) and max(width, height) <= max_side):
        raise UserError(f"{name}: {width} x {height}; each side must have {min_side} to {max_side} pixels")
    if width * height > MAX_PIXELS:
        raise UserError(f"{name}: {width} x {height}; more than {MAX_PIXELS // 10**6} megapixels, too large")
    if data.startswith(_JPEG) and data.count(_SCAN) > _MAX_SCANS:
        raise UserError(f"{name}: damaged, or not an image (more than {_MAX_SCANS} scans)")


def _upright_rgb(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _GREY16:  # Pillow would clip 16 bits, not scale them
        grey = (np.asarray(upright).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    return np.array(upright.convert("RGB"))
