"""A mosaic: one sharp image of a scene from many frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ..core.images import for_opencv

_BAND = 64  # rows processed at a time, to bound memory
_SMALL = 640  # larger side of the frames for alignment, pixels
_SMOOTH = 4  # downscale of the displacement fields, which are smooth, relative to those small frames
_COARSE = 8  # downscale of the detail maps
_SELDOM = 0.03  # share of frames: what fewer show is more often the person's outline than the scene
_ISLAND = 0.002  # largest false spot, as a share of the image
_SLIT = 0.015  # widest false slit, as a share of the larger side
_AGREES = 16.0  # grey levels about the median
_SHARPER = 4  # a frame's weight is its relative sharpness to this power
_SHARP, _ENOUGH = 0.25, 5  # weight of a sharp frame; with this many of them the others are not needed
_SEAM = 0.05  # width of the falloff of a frame's weight towards its edge, as a share of the larger side
_BEND = 0.006  # largest displacement by alignment, as a share of the larger side
_HELD = 40.0  # gradient energy above which a pixel's own flow outweighs its surroundings'


@dataclass(frozen=True)
class Sample:
    """A frame of the mosaic."""

    frame: np.ndarray  # [H, W, 3] uint8
    covered: np.ndarray  # [h, w] bool, hidden by the person; any size
    to_scene: np.ndarray | None  # [3, 3]
    gain: np.ndarray | None  # [3]
    detail: np.ndarray  # [H / 8, W / 8] float32, see `detail_of`

    @cached_property
    def sharpness(self) -> float:
        """Mean detail where the scene is visible."""
        shown = self.detail[self.detail >= 0]
        return float(shown.mean()) if shown.size else 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.frame.shape[1], self.frame.shape[0]


def detail_of(frame: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Measure the local fine detail of a frame, [H / 8, W / 8] float32; -1 where it is covered."""
    gray = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    energy = cv2.Laplacian(gray, cv2.CV_32F) ** 2
    size = (max(1, frame.shape[1] // _COARSE), max(1, frame.shape[0] // _COARSE))
    detail = cv2.resize(energy, size, interpolation=cv2.INTER_AREA)
    detail[cv2.resize(covered, size, interpolation=cv2.INTER_NEAREST) > 0] = -1
    return detail


def mosaic(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Return the scene [H, W, 3] uint8 and where no frame shows it [H, W] bool.

    The median over time finds what belongs to the scene. With a moving camera it is blurred, since registration is
    never exact and a room has depth. Every frame is then aligned to a first, small mosaic by optical flow, and the
    result is the mean of what agrees with the median, weighted by sharpness.
    """
    width, height = samples[0].size
    plate = np.zeros((height, width, 3), np.uint8)
    hole = np.zeros((height, width), bool)
    moving = any(s.to_scene is not None for s in samples)
    bends: Sequence[np.ndarray | None] = [None] * len(samples)
    weights = np.ones(len(samples))
    if moving:
        bends, weights = _align(samples)
    for top in range(0, height, _BAND):
        rows = slice(top, min(height, top + _BAND))
        parts = [_band(s, bend, rows) for s, bend in zip(samples, bends, strict=True)]
        stack, trust = np.stack([p for p, _ in parts]), np.stack([t for _, t in parts])
        shown = (trust > 0).sum(0)
        middle = _median(stack, _best(trust > 0, weights))
        plate[rows] = _agreed(stack, trust * weights[:, None, None], middle) if moving else middle
        hole[rows] = shown < max(1, round(_SELDOM * len(samples)))
    return plate, _without_islands(hole)


def _without_islands(hole: np.ndarray) -> np.ndarray:
    """Add slits and small spots amid the hole to it: they are errors of a mask."""
    if not hole.any():
        return hole
    width = 2 * round(_SLIT * max(hole.shape) / 2) + 1
    hole = cv2.morphologyEx(hole.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((width, width), np.uint8)) > 0
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~hole).astype(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] < _ISLAND * hole.size
    return hole if small[1:].all() else hole | small[labels]


def _best(shown: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose the samples for the median at every pixel: the sharp ones, where there are enough."""
    sharp = weights >= _SHARP
    if sharp.all():
        return shown
    enough = shown[sharp].sum(0) >= _ENOUGH
    return shown & (sharp[:, None, None] | ~enough)


def _median(stack: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the median over axis 0 of a stack [N, H, W, 3] where shown [N, H, W]."""
    order = np.where(shown[..., None], stack, 255)
    order.sort(axis=0)
    middle = np.maximum(shown.sum(0) - 1, 0) // 2
    return np.take_along_axis(order, middle[None, ..., None], 0)[0]


def _agreed(stack: np.ndarray, trust: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the samples near the median."""
    near = np.exp(-((np.arange(256) / _AGREES) ** 2)).astype(np.float32)
    total, weight = np.zeros(middle.shape, np.float32), np.full(middle.shape[:2], 1e-9, np.float32)
    for picture, trusted in zip(stack, trust.astype(np.float32), strict=True):
        share = cv2.LUT(cv2.absdiff(picture, middle).max(-1), near) * trusted
        total += share[..., None] * picture
        weight += share
    return np.where(weight[..., None] > 1e-6, total / weight[..., None], middle).round().astype(np.uint8)


def _band(sample: Sample, bend: np.ndarray | None, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the scene as a frame shows them, and their trust [rows, W]; 0 where the frame has none."""
    width, height = sample.size
    if sample.to_scene is None and bend is None:
        picture = sample.frame[rows]
        covered = cv2.resize(sample.covered.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)[rows]
        trust = (covered == 0).astype(np.float32)
    else:
        x, y = _sources(sample, bend, rows)
        picture = cv2.remap(sample.frame, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        edge = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
        trust = np.where(edge >= 0, (edge / (_SEAM * max(width, height))).clip(0.01, 1), 0)
        coarse = sample.covered.astype(np.uint8)
        scale = np.array(coarse.shape[::-1]) / (width, height)
        where = ((x + 0.5) * scale[0] - 0.5).astype(np.float32), ((y + 0.5) * scale[1] - 0.5).astype(np.float32)
        trust[cv2.remap(coarse, *where, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) > 0] = 0
    return (picture if sample.gain is None else _dim(picture, sample.gain)), trust


def _sources(sample: Sample, bend: np.ndarray | None, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return where pixels of some scene rows lie in the frame, in `cv2.remap`'s coordinates."""
    width, height = sample.size
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(rows.start, rows.stop, dtype=np.float32))
    if bend is not None:
        scale = bend.shape[1] / width, bend.shape[0] / height
        at = (x + 0.5) * scale[0] - 0.5, (y + 0.5) * scale[1] - 0.5
        moved = width * cv2.remap(bend, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x, y = x + moved[..., 0], y + moved[..., 1]
    if sample.to_scene is None:
        return x, y
    inverse = np.linalg.inv(for_opencv(sample.to_scene)).astype(np.float32)
    depth = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]
    return (
        (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]) / depth,
        (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) / depth,
    )


def _dim(picture: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Divide an image by a gain per channel [3]."""
    levels = np.arange(256)[:, None] / np.asarray(gain, float)
    return cv2.LUT(picture, levels.round().clip(0, 255).astype(np.uint8)[None])


def _align(samples: list[Sample]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return each frame's displacement field [h, w, 2] in the scene, as shares of the width, and its weight [N]."""
    small = [_shrink(s) for s in samples]
    width, height = small[0].size
    pictures, trust = zip(*(_band(s, None, slice(0, height)) for s in small), strict=True)
    shown = np.stack(trust) > 0
    weights = _weights(samples)
    middle = _median(np.stack(pictures), _best(shown, weights))
    target = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY)
    gradient = cv2.Sobel(target, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(target, cv2.CV_32F, 0, 1) ** 2
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    most, reach = _BEND * max(width, height), 0.02 * max(width, height)
    bends = []
    for picture, seen in zip(pictures, shown, strict=True):
        gray = np.where(seen, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), target)
        moved = flow.calc(target, gray, None)  # type: ignore[call-overload]  # OpenCV's stubs demand an initial flow
        sure = np.where(seen & (np.linalg.norm(moved, axis=-1) < 2 * most), gradient, 0)
        smooth = cv2.GaussianBlur(moved * sure[..., None], (0, 0), reach)
        smooth /= cv2.GaussianBlur(sure, (0, 0), reach)[..., None] + _HELD
        smooth = cv2.resize(smooth, (max(1, width // _SMOOTH), max(1, height // _SMOOTH)), interpolation=cv2.INTER_AREA)
        bends.append(smooth.clip(-most, most) / width)
    return bends, weights


def _shrink(sample: Sample) -> Sample:
    """Downscale a sample to the size for alignment."""
    width, height = sample.size
    scale = min(1.0, _SMALL / max(width, height))
    if scale == 1:
        return sample
    size = (round(width * scale), round(height * scale))
    frame = cv2.resize(sample.frame, size, interpolation=cv2.INTER_AREA)
    to_scene = sample.to_scene
    if to_scene is not None:
        zoom = np.diag([size[0] / width, size[1] / height, 1.0])
        to_scene = zoom @ to_scene @ np.linalg.inv(zoom)
    return Sample(frame, sample.covered, to_scene, sample.gain, sample.detail)


def _weights(samples: list[Sample]) -> np.ndarray:
    """Weigh the frames by sharpness, compared where both the frame and others show the scene."""
    details = []
    for sample in samples:
        height, width = sample.detail.shape
        zoom = np.diag([width / sample.size[0], height / sample.size[1], 1.0])
        to_scene = np.eye(3) if sample.to_scene is None else zoom @ sample.to_scene @ np.linalg.inv(zoom)
        details.append(
            cv2.warpPerspective(
                sample.detail, for_opencv(to_scene), (width, height), flags=cv2.INTER_NEAREST, borderValue=(-1,)
            )
        )
    stack = np.ma.masked_less(np.stack(details), 0)
    usual = np.ma.median(stack, axis=0)
    sharpness = np.array([float((d.sum() or 0) / ((usual * ~d.mask).sum() or 1)) for d in stack])
    return (sharpness / max(1e-9, sharpness.max())) ** _SHARPER
