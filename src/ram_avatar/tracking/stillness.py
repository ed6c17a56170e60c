"""Does the camera stand still? The background plate needs that."""

from collections.abc import Sequence

import numpy as np

from .camera_path import PathFinder

MOVES = 0.012  # of the picture's larger side: background that shifts further than this is a moving camera


def camera_moves(frames: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """How far the background shifts between the first and any of the given frames, share of the larger side.

    Args:
        frames: RGB [H, W, 3] uint8, in order; a dozen or two, evenly spread.
        masks: person masks [h, w] uint8, any size.
    """
    finder = PathFinder()
    for frame, mask in zip(frames, masks, strict=True):
        finder.add(frame, mask)
    return finder.find().shift
