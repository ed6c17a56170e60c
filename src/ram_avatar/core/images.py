"""Images as files, arrays and tensors."""

import io
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor


def to_tensor(images: np.ndarray | Tensor) -> Tensor:
    """Convert uint8 [..., H, W, 3] to float32 [..., 3, H, W] in [-1, 1]."""
    return torch.as_tensor(images).movedim(-1, -3).float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Convert [-1, 1] to uint8, rounded; the order of dimensions stays."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte()


def to_array(images: Tensor) -> np.ndarray:
    """Convert [..., 3, H, W] in [-1, 1] to uint8 [..., H, W, 3]."""
    return to_uint8(images).movedim(-3, -1).contiguous().cpu().numpy()


def resize(image: np.ndarray, size: int | None) -> np.ndarray:
    """Resize a square image [S, S, C]: area averaging down, cubic up; None leaves it unchanged."""
    if size is None or image.shape[0] == size:
        return image
    how = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=how)


def fill(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Crop the middle of an image [H, W, C] to the aspect ratio of a frame, and resize it to fill the frame."""
    scale = max(width / image.shape[1], height / image.shape[0])
    across, down = min(image.shape[1], round(width / scale)), min(image.shape[0], round(height / scale))
    left, top = (image.shape[1] - across) // 2, (image.shape[0] - down) // 2
    part = image[top : top + down, left : left + across]
    if part.shape[:2] == (height, width):
        return np.ascontiguousarray(part)
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Fit a whole image [H, W, 3] into a black frame."""
    scale = min(width / image.shape[1], height / image.shape[0])
    across, down = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    frame = np.zeros((height, width, 3), np.uint8)
    top, left = (height - down) // 2, (width - across) // 2
    frame[top : top + down, left : left + across] = small
    return frame


def shrunk(width: int, height: int, longest: float) -> tuple[int, int]:
    """Return an even size of the same aspect ratio, its longer side at most `longest` pixels; never enlarges."""
    scale = min(1.0, longest / max(width, height))
    return 2 * max(1, round(width * scale / 2)), 2 * max(1, round(height * scale / 2))


def for_opencv(transform: np.ndarray) -> np.ndarray:
    """Convert a transform [..., 3, 3] of pixel coordinates for OpenCV's warps.

    Pixel centres lie at half integers in this package and at integers in OpenCV.
    """
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ transform @ half


def write_picture(path: Path, picture: np.ndarray, metadata: dict[str, str] | None = None) -> None:
    """Write an RGB image [H, W, 3] uint8 as PNG.

    Args:
        metadata: texts by name, such as a title or a comment.
    """
    texts = PngInfo()
    for name, text in (metadata or {}).items():
        texts.add_itxt(name.capitalize(), text)  # PNG's own keywords are capitalized
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "PNG", pnginfo=texts)
    path.write_bytes(packed.getbuffer())
