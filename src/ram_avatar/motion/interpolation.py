"""Interpolation between frames, for resampling to another rate."""

import roma
import torch
from torch import Tensor

from .limits import check_resampling


def sample_times(frames: int, fps: float, wanted: float, joints: int) -> Tensor:
    """Return the times [M] float64 of a clip resampled from `fps` to `wanted`, in frames of the original clip.

    Args:
        joints: of the clip, which bound how many frames may result.

    Raises:
        UserError: see `check_resampling`.
    """
    check_resampling(frames, joints, fps, wanted)
    count = 1 + int((frames - 1) / fps * wanted + 1e-6)
    return torch.arange(count, dtype=torch.float64) * (fps / wanted)


def neighbours(times: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for times [M] in frames: the frames before, the frames after, and the fractions between them."""
    before = times.floor().long().clamp(0, frames - 1)
    return before, (before + 1).clamp(max=frames - 1), (times - before).float()


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolate along the shorter way at constant speed.

    Args:
        start, end: [..., 4] unit quaternions.
        share: [...] fraction of the way.
    """
    end = torch.where((start * end).sum(-1, keepdim=True) < 0, -end, end)
    turn = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(start), end))
    return roma.quat_product(start, roma.rotvec_to_unitquat(turn * share[..., None]))
