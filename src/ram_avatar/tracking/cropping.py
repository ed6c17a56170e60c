"""The square cut-out of a video that holds the person in every frame."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .observations import Observations

MARGIN = 0.06  # of the larger extent, on every side: hair, and room for motions that the clip does not show
MAX_SIZE = 1024  # stored frames are no larger: the largest preset


@dataclass(frozen=True)
class Crop:
    """A square in pixels of the source; it may reach over the picture's edges."""

    left: float
    top: float
    side: float

    @property
    def size(self) -> int:
        """Pixels of the stored square: the source's own resolution, up to `MAX_SIZE`, even."""
        return max(64, min(MAX_SIZE, int(self.side)) // 2 * 2)

    def cut(self, image: np.ndarray, scale: float = 1.0, mirror: bool = True) -> np.ndarray:
        """The square [size, size(, 3)] of an image that is `scale` times the source's size.

        Beyond the picture it is mirrored at its edge, or black with `mirror` off.
        """
        zoom = self.size / (self.side * scale)
        if zoom < 0.8:  # shrink by whole areas first: interpolation alone would alias
            shape = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
            exact = np.array([shape[0] / image.shape[1], shape[1] / image.shape[0]])
            image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
        else:
            exact = np.ones(2)
        x, y = zoom / exact
        to_crop = np.array([[x, 0, -self.left * scale * zoom], [0, y, -self.top * scale * zoom]])
        # warpAffine counts from pixel centres, the crop from pixel corners.
        to_crop[:, 2] += 0.5 * np.array([x, y]) - 0.5
        border = cv2.BORDER_REFLECT_101 if mirror else cv2.BORDER_CONSTANT
        return cv2.warpAffine(image, to_crop, (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=border)

    def as_dict(self) -> dict[str, float]:
        return {"left": self.left, "top": self.top, "side": self.side}


def choose_crop(observations: Observations, projected: torch.Tensor) -> Crop:
    """The smallest square, with a margin, that holds the person in every frame.

    Args:
        projected: [N, 4] the fitted mesh's box in the picture: left, top, right, bottom.
    """
    seen = observations.seen["body"].numpy()
    boxes = [projected.numpy()[seen], _mask_boxes(observations)[seen]]
    lows = np.concatenate([b[:, :2] for b in boxes]).min(0)
    highs = np.concatenate([b[:, 2:] for b in boxes]).max(0)
    size = np.array([observations.width, observations.height], float)
    lows, highs = lows.clip(0, size), highs.clip(0, size)  # what is out of the picture is not to be shown
    margin = MARGIN * (highs - lows).max()
    lows, highs = lows - margin, highs + margin
    side = float((highs - lows).max())
    corner = (lows + highs) / 2 - side / 2
    # Inside the picture where it fits, so that no edge needs repeating.
    room = size - side
    corner = np.where(room >= 0, corner.clip(np.zeros(2), np.maximum(room, 0)), room / 2)
    return Crop(float(corner[0]), float(corner[1]), side)


def _mask_boxes(observations: Observations) -> np.ndarray:
    """[N, 4] box of the largest connected region of each mask, in pixels of the source."""
    height, width = observations.masks.shape[1:]
    scale = np.array([observations.width / width, observations.height / height] * 2)
    boxes = np.zeros((len(observations), 4))
    for i, mask in enumerate(observations.masks):
        count, _, stats, _ = cv2.connectedComponentsWithStats((mask > 127).astype(np.uint8))
        if count > 1:
            left, top, w, h, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
            boxes[i] = (left, top, left + w, top + h)
        else:
            boxes[i] = (width / 2, height / 2, width / 2, height / 2)
    return boxes * scale


def mirror_beyond(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The picture [S, S, 3] with all beyond the rectangle `inside` [S, S] bool mirrored from within it.

    Frames are cut so as well, but the people in their mirrors are not masked: a plate made of them would
    keep these.
    """
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    shown = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    below, right = len(picture) - rows[-1] - 1, picture.shape[1] - columns[-1] - 1
    return cv2.copyMakeBorder(shown, rows[0], below, columns[0], right, cv2.BORDER_REFLECT_101)
