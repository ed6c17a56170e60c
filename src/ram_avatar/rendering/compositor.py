"""Draws what the network painted into pictures of any size, in one pass over their pixels."""

import torch
import warp as wp
from torch import Tensor

from .kernels import composite_pass
from .rasterizer import initialize_warp, launch


def composite(
    picture: Tensor,
    painting: Tensor,
    surface: Tensor,
    outline: Tensor,
    *,
    has_alpha: bool,
    belief: float,
    enlarged: bool,
    shown: tuple[float, float],
) -> None:
    """Composite a person over a picture in place; `networks.painting.compose` is the same in plain steps.

    Args:
        picture: [H, W, 3] uint8 RGB, or [H, W, 4] of zeros, into which the person is written with straight alpha.
        painting: [1, C, H, W] stacked, resampled to the picture's size.
        surface: [1, 4, H, W] drawn at the picture's size, as `FrameMapper.surface` returns it.
        outline: [1, 1, H, W] the surface's coverage with soft edges.
        has_alpha: whether the painting has an alpha.
        belief, enlarged: see `compose`.
        shown: alpha that counts as 0 and as 1.
    """
    initialize_warp()
    drawn = surface[0].permute(1, 2, 0).contiguous()
    arrays = (
        wp.from_torch(painting[0].contiguous()),
        wp.from_torch(drawn, wp.vec4),
        wp.from_torch(outline[0, 0].contiguous()),
    )
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
