"""A close-up laid into a picture of any size."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .rectangles import Window
from .resampling import weights


@dataclass(frozen=True)
class Inlay:
    """Where the square that the network paints lies in a picture, in pixels of the picture."""

    zoom: float
    left: float
    top: float

    def window(self, part: Window, width: int, height: int) -> Window:
        """Return the pixels of a picture of `width` x `height` that a part of the square, in its pixels, touches."""
        top, bottom = _covered(self.top + part.top * self.zoom, self.top + part.bottom * self.zoom, height)
        left, right = _covered(self.left + part.left * self.zoom, self.left + part.right * self.zoom, width)
        return Window(top, left, bottom, right)

    def resample(self, image: Tensor, part: Window, wanted: Window) -> Tensor:
        """Resample a part [B, C, h, w] of the square for a window of the picture, [B, C, H, W]."""
        rows, image = self._weights(image, 2, self.top, part.top, wanted.top, wanted.height)
        columns, image = self._weights(image, 3, self.left, part.left, wanted.left, wanted.width)
        return rows @ (image @ columns.T)

    def _weights(
        self, image: Tensor, axis: int, start: float, low: int, first: int, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return the weights [count, n] along an axis, and the n rows or columns that have any."""
        step, size = 1 / self.zoom, image.shape[axis]
        begin = (first - start) * step - low
        reach = int(2 * max(1.0, step)) + 2
        near = min(max(0, int(begin) - reach), size - 1)
        far = max(near + 1, min(size, int(begin + count * step) + reach + 1))
        at = torch.tensor(begin - near, device=image.device)
        return weights(at, step, count, far - near), image.narrow(axis, near, far - near)


def _covered(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the range of pixels, out of `size`, that an interval touches."""
    start = min(max(0, int(np.floor(low + 1e-6))), size)
    return start, max(start, min(size, int(np.ceil(high - 1e-6))))
