"""Crops for the losses: an upright window about the person, and boxes about the face and the hands."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

DETAIL_SIZE = 64  # smallest side of a crop, pixels


def person_windows(mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that crops an upright window about each person from images [B, C, S, S].

    Args:
        mask: [B, 1, S, S] person, [0, 1]; it places the windows.
    """
    size = mask.shape[-1]
    width = size * 5 // 8 // 16 * 16
    columns = (mask > 0.5).float().sum((1, 2))  # [B, S]
    centre = (columns * torch.arange(size, device=mask.device)).sum(1) / columns.sum(1).clamp(min=1)
    left = (centre.round().long() - width // 2).clamp(0, size - width)
    columns = left[:, None, None, None] + torch.arange(width, device=mask.device)  # [B, 1, 1, width]
    return lambda x: x.gather(3, columns.expand(-1, x.shape[1], size, -1))


def detail_cuts(boxes: Tensor, size: int) -> Callable[[Tensor], Tensor]:
    """Return a function that crops squares from images [B, C, S, S], to [B * K, C, D, D] with D = max(64, S / 4).

    Args:
        boxes: [B, K, 3] left, top and side in pixels.
        size: S.
    """
    side = max(DETAIL_SIZE, size // 4)
    ramp = (torch.arange(side, device=boxes.device) + 0.5) / side
    x = (boxes[..., 0:1] + boxes[..., 2:3] * ramp) / size * 2 - 1  # [B, K, D]
    y = (boxes[..., 1:2] + boxes[..., 2:3] * ramp) / size * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, :, None, :], y[:, :, :, None]), -1)  # [B, K, D, D, 2]

    def cut(images: Tensor) -> Tensor:
        repeated = images.repeat_interleave(boxes.shape[1], 0)
        return F.grid_sample(repeated, grid.flatten(0, 1), align_corners=False, padding_mode="border")

    return cut


def within_boxes(boxes: Tensor, size: int) -> Tensor:
    """Return the mask of square boxes in images: [B, 1, S, S] float, 0 or 1.

    Args:
        boxes: [B, K, 3] left, top and side in pixels.
        size: S.
    """
    at = torch.arange(size, device=boxes.device) + 0.5
    low, high = boxes[..., :2, None], boxes[..., :2, None] + boxes[..., 2:, None]
    x, y = ((at > low) & (at < high)).unbind(2)  # [B, K, S]
    return (x[:, :, None, :] & y[:, :, :, None]).any(1, keepdim=True).float()
