"""Pictures between files, arrays and tensors."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from .errors import UserError


def to_tensor(pictures: np.ndarray | Tensor) -> Tensor:
    """uint8 [..., H, W, 3] to float32 [..., 3, H, W] in [-1, 1]."""
    return torch.as_tensor(pictures).movedim(-1, -3).float() / 127.5 - 1


def to_uint8(pictures: Tensor) -> Tensor:
    """[-1, 1] to uint8, rounded; the order of the dimensions stays."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()


def to_array(pictures: Tensor) -> np.ndarray:
    """[..., 3, H, W] in [-1, 1] to uint8 [..., H, W, 3]."""
    return to_uint8(pictures).movedim(-3, -1).contiguous().cpu().numpy()


def resize(image: np.ndarray, size: int | None) -> np.ndarray:
    """A square picture at another size: area averaging down, cubic up; None leaves it as it is."""
    if size is None or image.shape[0] == size:
        return image
    how = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=how)


def fill_square(image: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a picture [H, W, 3], at `size`."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return resize(np.ascontiguousarray(image[top : top + side, left : left + side]), size)


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """The whole of a picture [H, W, 3] in a black square."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    square[top : top + shape[1], left : left + shape[0]] = small
    return square


def read_picture(path: Path) -> np.ndarray:
    """An RGB picture [H, W, 3] uint8.

    Raises:
        UserError: absent or damaged.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path}: missing, or not a picture")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture as PNG."""
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(encoded.tobytes())
