"""A video whose frames tell their number: each is brighter than the one before."""

from pathlib import Path

import numpy as np

from ram_avatar.video import VideoWriter


def write_steps(path: Path) -> Path:
    """Write ten frames at 10 a second."""
    with VideoWriter(path, 64, 48, 10) as video:
        for number in range(10):
            video.write(np.full((48, 64, 3), 20 * number + 10, np.uint8))
    return path


def number_of(frame: np.ndarray) -> int:
    """Return the number of a frame."""
    return round((frame.mean() - 10) / 20)
