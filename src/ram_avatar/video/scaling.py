"""Image sizes, without the packages that a sandboxed process should not load."""

import cv2
import numpy as np


def fit_within(rgb: np.ndarray, side: int) -> np.ndarray:
    """Shrink an image [H, W, C] so that its longer side is at most `side` pixels; smaller ones stay as they are."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(rgb, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
