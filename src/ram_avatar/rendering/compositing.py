"""The background plate, and pictures put over backgrounds."""

import cv2
import numpy as np

PERSON = 51  # of 255: a pixel with at least this much person in any doubt is not background
_GROW = 0.035  # of the picture: how far a mask is grown, since its outline is soft and hair escapes it
_MOST_FRAMES = 90


class BackgroundPlate:
    """The scene without the person: the median over time of the pixels that no person covers.

    Args:
        expected: how many frames come; an even share of them is kept until the plate is made.
    """

    def __init__(self, expected: int):
        self._every = max(1, -(-expected // _MOST_FRAMES))
        self._count = 0
        self._pictures: list[np.ndarray] = []
        self._covered: list[np.ndarray] = []

    def add(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """The next frame [H, W, 3] uint8 RGB with its person mask [H, W] uint8."""
        if self._count % self._every == 0:
            width = max(3, round(_GROW * max(mask.shape))) | 1
            self._pictures.append(frame)
            self._covered.append(cv2.dilate((mask >= PERSON).astype(np.uint8), np.ones((width, width), np.uint8)) > 0)
        self._count += 1

    def make(self) -> tuple[np.ndarray, float]:
        """The plate [H, W, 3] uint8, and the share of it that the person never left and that is inpainted."""
        plate, hole = _median(self._pictures, self._covered)
        return (_inpaint(plate, hole) if hole.any() else plate), float(hole.mean())


def _median(pictures: list[np.ndarray], covered: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the pixels that are not covered, and where there are none."""
    plate = np.zeros_like(pictures[0])
    hole = np.zeros(pictures[0].shape[:2], bool)
    for top in range(0, len(plate), 64):  # in bands, to keep memory small
        band = slice(top, top + 64)
        stack = np.stack([p[band] for p in pictures])
        hidden = np.stack([c[band] for c in covered])
        order = np.where(hidden[..., None], 255, stack)
        order.sort(axis=0)
        shown = (~hidden).sum(0)
        middle = np.maximum(shown - 1, 0) // 2
        plate[band] = np.take_along_axis(order, middle[None, ..., None], 0)[0]
        hole[band] = shown == 0
    return plate, hole


def _inpaint(plate: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole from coarse to fine: cheap for large holes, and free of streaks."""
    scale = min(1.0, 256 / max(plate.shape[:2]))
    size = (max(1, round(plate.shape[1] * scale)), max(1, round(plate.shape[0] * scale)))
    small_hole = cv2.resize(hole.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    small_hole = cv2.dilate(small_hole, np.ones((3, 3), np.uint8))
    small = cv2.inpaint(cv2.resize(plate, size, interpolation=cv2.INTER_AREA), small_hole, 5, cv2.INPAINT_TELEA)
    filled = cv2.resize(small, plate.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), max(1.0, 1 / scale))[..., None]
    soft = np.where(hole[..., None], 1.0, soft)
    return (filled * soft + plate * (1 - soft)).round().astype(np.uint8)
