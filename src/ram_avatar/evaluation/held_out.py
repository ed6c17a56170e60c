"""The held-out frames of a capture: how near the avatar comes to them, and how near something simple does."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..pictures import to_array, to_tensor
from ..progress import Progress, Silent
from ..training.dataset import CaptureDataset
from .metrics import StLpips, psnr, ssim, st_lpips_person

METRICS = ("psnr", "psnr_person", "psnr_inside", "ssim", "st_lpips_person")
_NAMED = {"avatar": "Avatar", "textured_mesh": "Textured mesh", "nearest_frame": "Nearest training frame"}


def evaluate_held_out(
    avatar: Avatar, data: CaptureDataset, progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """Compare the avatar, the textured mesh without a network and the nearest training frame by pose.

    Returns, for each of the three, the mean of each figure in `METRICS`. What the video does not show
    (beyond its edges, where the cut-out is mirrored) counts as equal.
    """
    first = data.capture.train_frames
    frames = list(range(first, len(data)))
    rendered = list(avatar.render(data.capture.motion[first:], background=None))
    nearest = _nearest_training_frames(data)
    ways: dict[str, Callable[[int], Tensor]] = {
        "avatar": lambda i: to_tensor(rendered[i - first])[None],
        "textured_mesh": lambda i: _textured_mesh(data, i),
        "nearest_frame": lambda i: to_tensor(data.frames[nearest[i - first]])[None],
    }
    judge = StLpips()
    return {name: _judge(way, frames, data, judge, progress or Silent(), _NAMED[name]) for name, way in ways.items()}


@torch.no_grad()
def _judge(
    way: Callable[[int], Tensor],
    frames: list[int],
    data: CaptureDataset,
    judge: StLpips,
    progress: Progress,
    label: str,
) -> dict[str, float]:
    inside = data.inside.cpu()
    rows = {name: [] for name in METRICS}
    for done, i in enumerate(frames, 1):
        truth, mask = to_tensor(data.frames[i])[None], data.masks[i][None].float() / 255
        shown = way(i) * inside + truth * (1 - inside)
        rows["psnr"].append(float(psnr(shown, truth)))
        rows["psnr_person"].append(float(psnr(shown, truth, mask)))
        rows["psnr_inside"].append(float(psnr(shown, truth, inside)))
        rows["ssim"].append(float(ssim(shown, truth)))
        rows["st_lpips_person"].append(float(st_lpips_person(judge, shown, truth, mask)))
        progress.step(f"Judging: {label.lower()}", done, len(frames))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def _textured_mesh(data: CaptureDataset, index: int) -> Tensor:
    """The warm start as it is: the texture where the mesh is, the plate elsewhere."""
    maps = data.maps(torch.tensor([index]))
    covered = maps.position[:, 3:]
    return (maps.color * covered + data.plate * (1 - covered)).cpu()


def _nearest_training_frames(data: CaptureDataset) -> list[int]:
    """For each held-out frame, the training frame whose posed joints lie nearest in the picture."""
    first = data.capture.train_frames
    joints = data.joints.flatten(1)
    return torch.cdist(joints[first:], joints[:first]).argmin(1).tolist()


def compare_pictures(avatar: Avatar, data: CaptureDataset):
    """Held-out frames beside what the avatar makes of them: [S, 2S, 3] uint8."""
    first = data.capture.train_frames
    inside, plate = data.inside[0].cpu(), data.plate[0].cpu()
    for i, shown in enumerate(avatar.render(data.capture.motion[first:], background=None), first):
        truth = to_tensor(data.frames[i]) * inside + plate * (1 - inside)  # nobody is mirrored at the video's edge
        yield np.concatenate([to_array(truth), shown], 1)
