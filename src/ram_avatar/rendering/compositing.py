"""The background plate."""

import cv2
import numpy as np

from .mosaic import Sample, detail_of, mosaic

PERSON = 51  # of 255: mask value from which a pixel is not background
_GROW = 0.035  # width of the kernel that dilates a mask, as a share of it: outlines are soft, and hair is missed
_MOST_FRAMES = 90
_MOST_BYTES = 640 << 20


class BackgroundPlate:
    """The scene without the person, from the pixels that no person covers.

    For a static camera it is their median over time, otherwise a mosaic in scene coordinates.

    Args:
        expected: number of frames to come; the sharpest of each of up to 90 equal spans is kept.

    Attributes:
        known: [H, W] bool, set by `make`: where frames showed the scene; elsewhere the plate is inpainted.
    """

    def __init__(self, expected: int):
        self._expected = expected
        self._every = 0
        self._count = 0
        self._samples: list[Sample] = []
        self.known: np.ndarray | None = None

    def add(
        self,
        frame: np.ndarray,
        mask: np.ndarray,
        to_scene: np.ndarray | None = None,
        gain: np.ndarray | None = None,
    ) -> None:
        """Add the next frame.

        Args:
            frame: RGB [H, W, 3] uint8.
            mask: the person [h, w] uint8, any size.
            to_scene: [3, 3] from frame to plate pixels, centres at half integers; None: the identity.
            gain: [3] brightness of the frame relative to the plate, per channel; None: 1.
        """
        if not self._every:
            most = min(_MOST_FRAMES, max(8, _MOST_BYTES // frame.nbytes))
            self._every = max(1, -(-self._expected // most))
        first = self._count % self._every == 0
        self._count += 1
        if to_scene is not None and np.array_equal(to_scene, np.eye(3)):
            to_scene = None
        if gain is not None and (np.asarray(gain) == 1).all():
            gain = None
        width = max(3, round(_GROW * max(mask.shape))) | 1
        covered = cv2.dilate((mask >= PERSON).astype(np.uint8), np.ones((width, width), np.uint8))
        sample = Sample(frame, covered > 0, to_scene, gain, detail_of(frame, covered))
        if first:
            self._samples.append(sample)
        elif sample.sharpness > self._samples[-1].sharpness:
            self._samples[-1] = sample

    def make(self) -> tuple[np.ndarray, float]:
        """Return the plate [H, W, 3] uint8, and the share of it that the person always covered, which is inpainted."""
        plate, hole = mosaic(self._samples)
        self.known = ~hole
        return (_inpaint(plate, hole) if hole.any() else plate), float(hole.mean())


def _inpaint(plate: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole smoothly from its surroundings, without creases or streaks."""
    scale = min(1.0, 256 / max(plate.shape[:2]))
    size = (max(1, round(plate.shape[1] * scale)), max(1, round(plate.shape[0] * scale)))
    # A small pixel is filled if any of its large ones is missing.
    small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    small = _membrane(cv2.resize(plate, size, interpolation=cv2.INTER_AREA).astype(np.float32), small_hole)
    filled = cv2.resize(small, plate.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), max(1.0, 1 / scale))[..., None]
    soft = np.where(hole[..., None], 1.0, soft)
    return (filled * soft + plate * (1 - soft)).round().clip(0, 255).astype(np.uint8)


def _membrane(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole [h, w] with a membrane: every pixel is the mean of its neighbours."""
    if hole.all() or not hole.any():
        return picture
    if min(hole.shape) >= 8:  # start from the solution at half the size
        size = (hole.shape[1] // 2, hole.shape[0] // 2)
        shown = (~hole).astype(np.float32)
        weight = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        half = cv2.resize(picture * shown[..., None], size, interpolation=cv2.INTER_AREA)
        half = _membrane(half / np.maximum(weight, 1e-6)[..., None], weight == 0)
        start = cv2.resize(half, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
    else:
        start = np.broadcast_to(picture[~hole].mean(0), picture.shape)
    filled = np.where(hole[..., None], start, picture).astype(np.float32)
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
    for _ in range(30):
        filled = np.where(hole[..., None], cv2.filter2D(filled, -1, cross, borderType=cv2.BORDER_REPLICATE), picture)
    return filled
