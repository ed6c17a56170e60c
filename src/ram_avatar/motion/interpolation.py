"""Frames between frames, for what has another rate than one wants."""

import roma
import torch
from torch import Tensor


def sample_times(frames: int, fps: float, wanted: float) -> Tensor:
    """[M] float64: the times of a clip at another rate, in its own frames, from its first frame to its last."""
    count = 1 + int((frames - 1) / fps * wanted + 1e-6)
    return torch.arange(count, dtype=torch.float64) * (fps / wanted)


def neighbours(times: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of times [M] in frames: the frame before, the one after, and how far it is from the first to the second."""
    before = times.floor().long().clamp(0, frames - 1)
    return before, (before + 1).clamp(max=frames - 1), (times - before).float()


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """From rotations to others, given as unit quaternions [..., 4], a share [...] of the short way, at even speed."""
    end = torch.where((start * end).sum(-1, keepdim=True) < 0, -end, end)
    turn = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(start), end))
    return roma.quat_product(start, roma.rotvec_to_unitquat(turn * share[..., None]))
