"""A small label on generated images, for `--visible-mark`."""

import cv2
import numpy as np

_TEXT, _SHORT = "AI GENERATED", "AI"
_NARROW = 160  # pixels; narrower images get the short label
_WHITE, _SHADE = (240, 240, 240, 255), (30, 30, 34, 255)


def mark(picture: np.ndarray) -> np.ndarray:
    """Return a copy of an image [H, W, 3 or 4] uint8 with a small opaque label in the lower right corner."""
    marked = np.array(picture, order="C")
    height, width, channels = marked.shape
    text = _TEXT if width >= _NARROW else _SHORT
    scale = max(0.28, width / 1100)
    thickness = max(1, round(scale * 1.6))
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    pad = max(3, round(high * 0.6))
    left, bottom = width - wide - 2 * pad, height - pad
    top = bottom - high - below - pad
    marked[top:bottom, left - pad : width - pad] = _SHADE[:channels]
    place = (left, bottom - below - pad // 2)
    cv2.putText(marked, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _WHITE[:channels], thickness, cv2.LINE_AA)
    return marked
