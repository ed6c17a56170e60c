"""The close-up that the network painted, laid into a picture of any size."""

from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from ..core.camera import Camera
from .kernels import composite_pass, enlarge_pass
from .rasterizer import initialize_warp, launch
from .rectangles import Window
from .resampling import weights

_BLOCK = 64  # columns


@dataclass(frozen=True)
class Inlay:
    """Where the square that the network paints lies in a picture, in pixels of the picture."""

    zoom: float
    left: float
    top: float

    def times(self, count: int) -> "Inlay":
        """Return the same place in a picture `count` times as large."""
        return Inlay(self.zoom * count, self.left * count, self.top * count)

    def camera(self, square: Camera, window: Window) -> Camera:
        """Return the camera of a window of the picture, given that of the square."""
        return Camera(
            square.focal * self.zoom,
            square.center_x * self.zoom + self.left - window.left,
            square.center_y * self.zoom + self.top - window.top,
            window.width,
            window.height,
        )

    def window(self, part: Window, width: int, height: int) -> Window:
        """Return the pixels of a picture of `width` x `height` that a part of the square, in its pixels, touches."""
        top, bottom = _covered(self.top + part.top * self.zoom, self.top + part.bottom * self.zoom, height)
        left, right = _covered(self.left + part.left * self.zoom, self.left + part.right * self.zoom, width)
        return Window(top, left, bottom, right)

    def resample(self, image: Tensor, part: Window, wanted: Window) -> Tensor:
        """Resample a part [B, C, h, w] of the square for a window of the picture, [B, C, H, W]."""
        columns, near = self._weights(image, 3, self.left, part.left, wanted.left, wanted.width)
        return self.resample_rows(near @ columns.T, part, wanted)

    def resample_columns(self, image: Tensor, part: Window, wanted: Window) -> Tensor:
        """Resample only the columns, [B, C, h, W].

        Block by block, since a sample has weights for a few pixels only.
        """
        blocks = []
        for left in range(wanted.left, wanted.right, _BLOCK):
            width = min(_BLOCK, wanted.right - left)
            columns, near = self._weights(image, 3, self.left, part.left, left, width)
            blocks.append(near @ columns.T)
        return torch.cat(blocks, 3)

    def resample_rows(self, image: Tensor, part: Window, wanted: Window) -> Tensor:
        """Resample only the rows, [B, C, H, W], of an image whose columns are those wanted."""
        rows, near = self._weights(image, 2, self.top, part.top, wanted.top, wanted.height)
        return rows @ near

    def _weights(
        self, image: Tensor, axis: int, start: float, low: int, first: int, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return the weights [count, n] along an axis, and the n rows or columns that have any."""
        step, size = 1 / self.zoom, image.shape[axis]
        begin = (first - start) * step - low
        reach = int(2 * max(1.0, step)) + 2
        near = min(max(0, int(begin) - reach), size - 1)
        far = max(near + 1, min(size, int(begin + count * step) + reach + 1))
        return weights(begin - near, step, count, far - near, image.device), image.narrow(axis, near, far - near)


def enlarge(painting: Tensor, inlay: Tensor, width: int, height: int) -> Tensor:
    """Do as `Inlay.resample` for the whole picture, with an inlay that stays on the device.

    Args:
        painting: [1, C, S, S] of the square.
        inlay: [3] zoom, at least 1, left and top.

    Returns:
        [1, C, height, width], NaN beyond the square.
    """
    initialize_warp()
    enlarged = painting.new_empty(1, painting.shape[1], height, width)
    arrays = (wp.from_torch(tensor) for tensor in (painting[0].contiguous(), inlay, enlarged[0]))
    launch(enlarge_pass, (height, width), tuple(arrays), painting.device)
    return enlarged


def composite(
    picture: Tensor,
    painting: Tensor,
    surface: Tensor,
    *,
    first_row: int = 0,
    has_alpha: bool,
    belief: float,
    enlarged: bool,
    shown: tuple[float, float],
) -> None:
    """Composite a person over a picture in place; `networks.painting.compose` is the same in plain steps.

    Args:
        picture: [H, W, 3] uint8 RGB, or [H, W, 4] of zeros, into which the person is written with straight alpha.
        painting: [1, C, H, W] stacked, resampled to the picture's size; nothing is shown where it is NaN.
        surface: [1, 4, H', W] drawn at the picture's size, as `FrameMapper.surface` returns it.
        first_row: of the surface that is the picture's first.
        has_alpha: whether the painting has an alpha.
        belief, enlarged: see `compose`.
        shown: alpha that counts as 0 and as 1.
    """
    initialize_warp()
    drawn = surface[0].permute(1, 2, 0).contiguous()
    arrays = (wp.from_torch(painting[0].contiguous()), wp.from_torch(drawn, wp.vec4), first_row)
    launch(
        composite_pass,
        tuple(picture.shape[:2]),
        (*arrays, has_alpha, belief, enlarged, *shown, wp.from_torch(picture, wp.uint8)),
        picture.device,
    )


def averaged(picture: Tensor, times: int) -> Tensor:
    """Shrink a picture [H, W, 3 or 4] uint8 by averaging squares of `times` x `times` pixels; alpha is straight."""
    if times == 1:
        return picture
    height, width, channels = picture.shape
    squares = picture.float().view(height // times, times, width // times, times, channels)
    if channels == 3:
        return (squares.mean((1, 3)) + 0.5).byte()
    alpha = squares[..., 3:]
    mean = alpha.mean((1, 3))
    color = (squares[..., :3] * alpha).mean((1, 3)) / mean.clamp(min=1e-3)
    return (torch.cat([color, mean], 2) + 0.5).clamp(max=255).byte()


def _covered(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the range of pixels, out of `size`, that an interval touches."""
    start = min(max(0, int(np.floor(low + 1e-6))), size)
    return start, max(start, min(size, int(np.ceil(high - 1e-6))))
