"""How near frames come to the video's, by region: the whole square, the person, the face and the hands."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.images import to_tensor
from .metric_catalog import Series
from .metrics import (
    Judge,
    StLpips,
    flip,
    load_lpips,
    person_box,
    psnr,
    ssim,
    st_lpips_person,
    unavailable,
)

PARTS = ("face", "left_hand", "right_hand")
GROUPS = ("full", "inside", "person", *PARTS)
_JUDGED_AT_ONCE = 4
_SMALLEST_CROP = 64


@dataclass(frozen=True)
class Regions:
    """Where the person and their parts are in N frames of S x S pixels."""

    masks: np.ndarray  # [N, S, S] uint8 person
    inside: np.ndarray  # [N, S, S] bool: what the video shows
    boxes: dict[str, np.ndarray]  # of each of PARTS: [N, 3] square boxes, left, top and side in pixels
    seen: dict[str, np.ndarray]  # of each of PARTS: [N] bool, whether the video shows it

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class Judges:
    """The networks that judge, loaded once; None for an optional one that is not installed."""

    st_lpips: Judge
    flip: Judge | None
    lpips: Judge | None

    @classmethod
    def load(cls) -> "Judges":
        """All that can be had here; `metrics.unavailable` tells of the others."""
        lacking = unavailable()
        return cls(
            st_lpips=StLpips(),
            flip=None if "flip" in lacking else flip,
            lpips=None if "lpips" in lacking else load_lpips(),
        )


@dataclass(frozen=True)
class _Frames:
    """A few frames. What the video does not show is the same in both pictures."""

    shown: Tensor  # [B, 3, S, S] in [-1, 1]
    truth: Tensor
    mask: Tensor  # [B, 1, S, S] person, [0, 1]
    inside: Tensor  # [B, 1, S, S] 0 or 1
    boxes: dict[str, Tensor]  # [B, 3]
    seen: dict[str, Tensor]  # [B]
    flip: Tensor | None  # [B, 1, S, S]


@torch.no_grad()
def judge_images(
    shown: np.ndarray,
    truth: np.ndarray,
    regions: Regions,
    judges: Judges,
    on_frame: Callable[[int], None] | None = None,
) -> dict[str, Series]:
    """Image figures of every frame, by region.

    - full: the whole close-up, where what lies beyond the video's edge counts as equal.
    - inside: the pixels that the video shows.
    - person: PSNR and FLIP over the mask, SSIM in its box, ST-LPIPS in the box brought to 192 x 128.
    - face, left_hand, right_hand: the square box, resampled to max(64, S // 4) pixels. PSNR and FLIP leave out
      what lies beyond the edge of the video, SSIM and ST-LPIPS take it as equal.

    A frame has no figures (NaN) of a region that it does not show.

    Args:
        shown, truth: [N, S, S, 3] uint8 RGB.
        on_frame: told the number of frames that are done.

    Returns:
        By region (`GROUPS`), by figure: [N].
    """
    if not shown.shape == truth.shape == (*regions.masks.shape, 3):
        raise ValueError(f"shown {shown.shape}, truth {truth.shape} and masks {regions.masks.shape} do not match")
    found = defaultdict(lambda: defaultdict(list))
    done = 0
    for frames in _batches(shown, truth, regions, judges):
        for group, figures in _judge(frames, judges).items():
            for name, values in figures.items():
                found[group][name].append(values.cpu().numpy())
        done += len(frames.shown)
        if on_frame:
            on_frame(done)
    return {
        group: {name: np.concatenate(values) for name, values in figures.items()} for group, figures in found.items()
    }


def _batches(shown: np.ndarray, truth: np.ndarray, regions: Regions, judges: Judges) -> Iterator[_Frames]:
    for first in range(0, len(regions), _JUDGED_AT_ONCE):
        part = slice(first, first + _JUDGED_AT_ONCE)
        inside = regions.inside[part]
        a = to_tensor(np.where(inside[..., None], shown[part], truth[part]))
        b = to_tensor(truth[part])
        yield _Frames(
            shown=a,
            truth=b,
            mask=torch.from_numpy(regions.masks[part])[:, None].float() / 255,
            inside=torch.from_numpy(inside)[:, None].float(),
            boxes={name: torch.from_numpy(regions.boxes[name][part]).float() for name in PARTS},
            seen={name: torch.from_numpy(regions.seen[name][part]) for name in PARTS},
            flip=judges.flip(a, b) if judges.flip else None,
        )


def _judge(frames: _Frames, judges: Judges) -> dict[str, dict[str, Tensor]]:
    inside = {"psnr": psnr(frames.shown, frames.truth, frames.inside)}
    parts = {name: _judge_part(frames, name, judges) for name in PARTS}
    return {"full": _judge_full(frames, judges), "inside": inside, "person": _judge_person(frames, judges), **parts}


def _judge_full(frames: _Frames, judges: Judges) -> dict[str, Tensor]:
    a, b = frames.shown, frames.truth
    figures = {"psnr": psnr(a, b), "ssim": ssim(a, b), "st_lpips": judges.st_lpips(a, b)}
    if frames.flip is not None:
        figures["flip"] = frames.flip.mean((1, 2, 3))
    if judges.lpips:
        figures["lpips"] = judges.lpips(a, b)
    return figures


def _judge_person(frames: _Frames, judges: Judges) -> dict[str, Tensor]:
    a, b, mask = frames.shown, frames.truth, frames.mask
    boxes = [person_box(m[0]) for m in mask]
    figures = {
        "psnr": psnr(a, b, mask),
        "ssim": torch.cat([ssim(a[i : i + 1, :, *box], b[i : i + 1, :, *box]) for i, box in enumerate(boxes)]),
        "st_lpips": st_lpips_person(judges.st_lpips, a, b, mask),
    }
    if frames.flip is not None:
        figures["flip"] = _mean_where(frames.flip, mask)
    return _only(figures, (mask > 0.5).any(-1).any(-1)[:, 0])


def _judge_part(frames: _Frames, name: str, judges: Judges) -> dict[str, Tensor]:
    size = max(_SMALLEST_CROP, frames.shown.shape[-1] // 4)
    a, b, known = (crop_square(t, frames.boxes[name], size) for t in (frames.shown, frames.truth, frames.inside))
    figures = {"psnr": psnr(a, b, known), "ssim": ssim(a, b), "st_lpips": judges.st_lpips(a, b)}
    if judges.flip:
        figures["flip"] = _mean_where(judges.flip(a, b), known)
    return _only(figures, frames.seen[name] & (known > 0.5).flatten(1).any(1))


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of [B, 1, H, W] over the pixels above one half, NaN where there are none."""
    counted = (where > 0.5).float()
    return (values * counted).sum((1, 2, 3)) / counted.sum((1, 2, 3))


def _only(figures: dict[str, Tensor], has: Tensor) -> dict[str, Tensor]:
    return {name: torch.where(has, values, torch.nan) for name, values in figures.items()}


def crop_square(pictures: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Square boxes of pictures [B, C, S, S], resampled bilinearly to [B, C, size, size]; 0 beyond the picture.

    Args:
        boxes: [B, 3] left, top and side in pixels; a picture reaches from 0 to S, its first pixel's centre is 0.5.
    """
    pixels = pictures.shape[-1]
    # Shrinking takes the mean of several samples for each pixel, so that nothing is skipped.
    times = max(1, math.ceil(min(float(boxes[:, 2].max()), pixels) / size))
    steps = (torch.arange(size * times, device=pictures.device) + 0.5) / (size * times)
    x, y = (boxes[:, i, None] + steps * boxes[:, 2:] for i in (0, 1))  # [B, size * times]
    grid = torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), -1) * 2 / pixels - 1
    return F.avg_pool2d(F.grid_sample(pictures, grid, align_corners=False), times)
