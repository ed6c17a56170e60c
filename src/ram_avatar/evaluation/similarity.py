"""Image similarity between rendered frames and the video, by region: full frame, person, face and hands."""

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
    ImageMetric,
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
_BATCH_SIZE = 4
_SMALLEST_CROP = 64


@dataclass(frozen=True)
class Regions:
    """Location of the person and their parts in N frames of S x S pixels."""

    masks: np.ndarray  # [N, S, S] uint8 person mask
    inside: np.ndarray  # [N, S, S] bool: within the borders of the video
    boxes: dict[str, np.ndarray]  # by part (`PARTS`): [N, 3] square boxes, left, top and side in pixels
    seen: dict[str, np.ndarray]  # by part (`PARTS`): [N] bool, visible in the video

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class ImageMetrics:
    """The perceptual metrics, loaded once; None for an optional one that is not installed."""

    st_lpips: ImageMetric
    flip: ImageMetric | None
    lpips: ImageMetric | None

    @classmethod
    def load(cls) -> "ImageMetrics":
        """Load all installed metrics; `metrics.unavailable` says why the others are missing."""
        missing = unavailable()
        return cls(
            st_lpips=StLpips(),
            flip=None if "flip" in missing else flip,
            lpips=None if "lpips" in missing else load_lpips(),
        )


@dataclass(frozen=True)
class _Frames:
    """A batch of frames. Pixels beyond the borders of the video are equal in both images."""

    rendered: Tensor  # [B, 3, S, S] in [-1, 1]
    truth: Tensor
    mask: Tensor  # [B, 1, S, S] person, [0, 1]
    inside: Tensor  # [B, 1, S, S] 0 or 1
    boxes: dict[str, Tensor]  # [B, 3]
    seen: dict[str, Tensor]  # [B]
    flip: Tensor | None  # [B, 1, S, S] error map


@torch.no_grad()
def measure_similarity(
    rendered: np.ndarray,
    truth: np.ndarray,
    regions: Regions,
    metrics: ImageMetrics,
    on_frame: Callable[[int], None] | None = None,
) -> dict[str, Series]:
    """Measure image similarity frame by frame, by region.

    - full: the whole close-up; pixels beyond the borders of the video count as equal.
    - inside: the pixels within the borders of the video.
    - person: PSNR and FLIP over the mask, SSIM in its bounding box, ST-LPIPS in the box (`crop_person`).
    - face, left_hand, right_hand: the square box, resampled to max(64, S // 4) pixels. PSNR and FLIP ignore
      pixels beyond the borders of the video; SSIM and ST-LPIPS count them as equal.

    Metrics of a region are NaN in frames that do not show it.

    Args:
        rendered, truth: [N, S, S, 3] uint8 RGB.
        on_frame: called with the number of frames done.

    Returns:
        By region (`GROUPS`), by metric: [N].

    Raises:
        ValueError: The shapes do not match.
    """
    if not rendered.shape == truth.shape == (*regions.masks.shape, 3):
        raise ValueError(f"rendered {rendered.shape}, truth {truth.shape} and masks {regions.masks.shape} do not match")
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    done = 0
    for frames in _batches(rendered, truth, regions, metrics):
        for group, measured in _measure(frames, metrics).items():
            for name, values in measured.items():
                found[group][name].append(values.cpu().numpy())
        done += len(frames.rendered)
        if on_frame:
            on_frame(done)
    return {group: {name: np.concatenate(values) for name, values in series.items()} for group, series in found.items()}


def _batches(rendered: np.ndarray, truth: np.ndarray, regions: Regions, metrics: ImageMetrics) -> Iterator[_Frames]:
    for first in range(0, len(regions), _BATCH_SIZE):
        part = slice(first, first + _BATCH_SIZE)
        inside = regions.inside[part]
        a = to_tensor(np.where(inside[..., None], rendered[part], truth[part]))
        b = to_tensor(truth[part])
        yield _Frames(
            rendered=a,
            truth=b,
            mask=torch.from_numpy(regions.masks[part])[:, None].float() / 255,
            inside=torch.from_numpy(inside)[:, None].float(),
            boxes={name: torch.from_numpy(regions.boxes[name][part]).float() for name in PARTS},
            seen={name: torch.from_numpy(regions.seen[name][part]) for name in PARTS},
            flip=metrics.flip(a, b) if metrics.flip else None,
        )


def _measure(frames: _Frames, metrics: ImageMetrics) -> dict[str, dict[str, Tensor]]:
    inside = {"psnr": psnr(frames.rendered, frames.truth, frames.inside)}
    parts = {name: _measure_part(frames, name, metrics) for name in PARTS}
    return {
        "full": _measure_full(frames, metrics),
        "inside": inside,
        "person": _measure_person(frames, metrics),
        **parts,
    }


def _measure_full(frames: _Frames, metrics: ImageMetrics) -> dict[str, Tensor]:
    a, b = frames.rendered, frames.truth
    series = {"psnr": psnr(a, b), "ssim": ssim(a, b), "st_lpips": metrics.st_lpips(a, b)}
    if frames.flip is not None:
        series["flip"] = frames.flip.mean((1, 2, 3))
    if metrics.lpips:
        series["lpips"] = metrics.lpips(a, b)
    return series


def _measure_person(frames: _Frames, metrics: ImageMetrics) -> dict[str, Tensor]:
    a, b, mask = frames.rendered, frames.truth, frames.mask
    boxes = [person_box(m[0]) for m in mask]
    series = {
        "psnr": psnr(a, b, mask),
        "ssim": torch.cat([ssim(a[i : i + 1, :, *box], b[i : i + 1, :, *box]) for i, box in enumerate(boxes)]),
        "st_lpips": st_lpips_person(metrics.st_lpips, a, b, mask),
    }
    if frames.flip is not None:
        series["flip"] = _mean_where(frames.flip, mask)
    return _only(series, (mask > 0.5).any(-1).any(-1)[:, 0])


def _measure_part(frames: _Frames, name: str, metrics: ImageMetrics) -> dict[str, Tensor]:
    size = max(_SMALLEST_CROP, frames.rendered.shape[-1] // 4)
    a, b, known = (crop_square(t, frames.boxes[name], size) for t in (frames.rendered, frames.truth, frames.inside))
    series = {"psnr": psnr(a, b, known), "ssim": ssim(a, b), "st_lpips": metrics.st_lpips(a, b)}
    if metrics.flip:
        series["flip"] = _mean_where(metrics.flip(a, b), known)
    return _only(series, frames.seen[name] & (known > 0.5).flatten(1).any(1))


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean [B] of [B, 1, H, W] over the pixels where `where` is above 0.5; NaN if there are none."""
    counted = (where > 0.5).float()
    return (values * counted).sum((1, 2, 3)) / counted.sum((1, 2, 3))


def _only(series: dict[str, Tensor], where: Tensor) -> dict[str, Tensor]:
    """Replace values by NaN except where `where` [B] is true."""
    return {name: torch.where(where, values, torch.nan) for name, values in series.items()}


def crop_square(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop square boxes from images [B, C, S, S] and resample them bilinearly to [B, C, size, size].

    Pixels beyond the image are 0.

    Args:
        boxes: [B, 3] left, top and side in pixels; the image spans 0 to S, and the centre of its first pixel is 0.5.
    """
    pixels = images.shape[-1]
    # Downsampling averages several samples per pixel, so no source pixel is skipped.
    times = max(1, math.ceil(min(float(boxes[:, 2].max()), pixels) / size))
    steps = (torch.arange(size * times, device=images.device) + 0.5) / (size * times)
    x, y = (boxes[:, i, None] + steps * boxes[:, 2:] for i in (0, 1))  # [B, size * times]
    grid = torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), -1) * 2 / pixels - 1
    return F.avg_pool2d(F.grid_sample(images, grid, align_corners=False), times)
