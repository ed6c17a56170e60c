"""Larger close-ups than those that the network paints, kept for the losses."""

import io

import numpy as np
from PIL import Image

_QUALITY = 95  # of JPEG, without chroma subsampling: a tenth of the memory, and finer than a video's own compression


class LargeFrames:
    """Close-ups of L x L pixels, compressed in memory.

    Args:
        size: L.
    """

    def __init__(self, size: int):
        self.size = size
        self._packed: list[bytes] = []

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, image: np.ndarray) -> None:
        """Add a close-up [L, L, 3] uint8."""
        packed = io.BytesIO()
        Image.fromarray(image).save(packed, "JPEG", quality=_QUALITY, subsampling=0)
        self._packed.append(packed.getvalue())

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the close-up [L, L, 3] uint8 of a frame."""
        return np.asarray(Image.open(io.BytesIO(self._packed[index])))
