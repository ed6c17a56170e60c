"""Does the camera stand still? The background plate needs that."""

from collections.abc import Sequence

import cv2
import numpy as np

MOVES = 0.012  # of the picture's larger side: background that shifts further than this is a moving camera
_SIDE = 320


def camera_moves(frames: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """How far the background shifts between the first and any of the given frames, share of the larger side.

    Corners outside the person are followed from frame to frame; a similarity transform, robustly fitted,
    carries them back to the first, so that things that move by themselves (captions, passers-by) do not count.

    Args:
        frames: RGB [H, W, 3] uint8, in order; a dozen or two, evenly spread.
        masks: person masks [h, w] uint8, any size.
    """
    scale = _SIDE / max(frames[0].shape[:2])
    size = (round(frames[0].shape[1] * scale), round(frames[0].shape[0] * scale))
    gray = [cv2.cvtColor(cv2.resize(f, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in frames]
    free = [cv2.dilate(cv2.resize(m, size), np.ones((15, 15), np.uint8)) < 51 for m in masks]
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], list(size)], np.float32)
    to_first, largest = np.eye(3), 0.0
    for i in range(1, len(gray)):
        points = cv2.goodFeaturesToTrack(gray[i - 1], 200, 0.01, 7, mask=free[i - 1].astype(np.uint8))
        if points is None or len(points) < 8:  # a bare wall: nothing that could move either
            continue
        moved, found, _ = cv2.calcOpticalFlowPyrLK(gray[i - 1], gray[i], points, None)
        kept = found[:, 0] == 1
        if kept.sum() < 8:
            continue
        step, inliers = cv2.estimateAffinePartial2D(moved[kept], points[kept], ransacReprojThreshold=1.0)
        if step is None or inliers.mean() < 0.3:
            continue
        to_first = to_first @ np.vstack([step, [0, 0, 1]])
        shift = cv2.perspectiveTransform(corners[None], to_first)[0] - corners
        largest = max(largest, float(np.linalg.norm(shift, axis=1).max()) / _SIDE)
    return largest
