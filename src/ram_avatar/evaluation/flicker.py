"""Temporal stability: frame-to-frame change compared with the video's, and noise under still motion."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..core.images import to_tensor
from .metric_catalog import Series
from .metrics import ImageMetric, crop_person

FLICKER = ("flow_error", "change_error", "perceptual_flicker")


def measure_flicker(
    shown: np.ndarray,
    truth: np.ndarray,
    masks: np.ndarray,
    st_lpips: ImageMetric,
    on_frame: Callable[[int], None] | None = None,
    frame_numbers: Sequence[int] | None = None,
) -> Series:
    """Measure temporal errors of the person from frame n-1 to frame n.

    The person is where the mask of either frame is above 0.5. Metrics are NaN if there is none, in the first frame,
    and after skipped frames.

    - flow_error: mean length in pixels of the difference between the optical flows of both clips. This is tOF of
      TecoGAN (Chu et al. 2020), which sums over the image; flow by dense inverse search (Kroeger et al. 2016).
    - change_error: mean absolute difference between the changes of both clips, in 1/255.
    - perceptual_flicker: |ST-LPIPS(shown[n-1], shown[n]) - ST-LPIPS(truth[n-1], truth[n])| in the person's
      box. This is tLP of TecoGAN with a shift-tolerant distance.

    Args:
        shown, truth: [N, S, S, 3] uint8 RGB.
        masks: [N, S, S] uint8 person masks.
        st_lpips: `metrics.StLpips`.
        on_frame: called with the number of frames done.
        frame_numbers: [N] in the clip, increasing; None if no frames were skipped.

    Returns:
        By metric (`FLICKER`): [N].

    Raises:
        ValueError: The shapes do not match.
    """
    if not shown.shape == truth.shape == (*masks.shape, 3):
        raise ValueError(f"shown {shown.shape}, truth {truth.shape} and masks {masks.shape} do not match")
    series = {name: np.full(len(truth), np.nan) for name in FLICKER}
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)  # full resolution: errors of avatars are fractions of a pixel
    for n in range(1, len(truth)):
        pair = slice(n - 1, n + 1)
        person = (masks[pair] > 127).any(0)
        consecutive = frame_numbers is None or frame_numbers[n] == frame_numbers[n - 1] + 1
        if consecutive and person.any():
            series["flow_error"][n] = _flow_error(flow, shown[pair], truth[pair], person)
            series["change_error"][n] = np.abs(_change(shown[pair]) - _change(truth[pair]))[person].mean()
            series["perceptual_flicker"][n] = _perceptual_flicker(st_lpips, shown[pair], truth[pair], person)
        if on_frame:
            on_frame(n + 1)
    return series


def own_noise(frames: np.ndarray) -> np.ndarray:
    """Return the mean absolute change from frame to frame in 1/255 of a clip rendered with still motion.

    Args:
        frames: [N, S, S, 3] uint8.

    Returns:
        [N], the first NaN.
    """
    noise = np.full(len(frames), np.nan)
    for n in range(1, len(frames)):
        noise[n] = np.abs(_change(frames[n - 1 : n + 1])).mean()
    return noise


def _change(pair: np.ndarray) -> np.ndarray:
    """Return the difference [S, S, 3] from the first frame to the second, in -255 .. 255."""
    return pair[1].astype(np.int16) - pair[0]


def _flow_error(flow: cv2.DISOpticalFlow, shown: np.ndarray, truth: np.ndarray, person: np.ndarray) -> float:
    difference = _optical_flow(flow, shown) - _optical_flow(flow, truth)
    return float(np.linalg.norm(difference, axis=-1)[person].mean())


def _optical_flow(flow: cv2.DISOpticalFlow, pair: np.ndarray) -> np.ndarray:
    """Return the flow [S, S, 2] in pixels from the first frame to the second."""
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair)
    return flow.calc(first, second, None)  # type: ignore[call-overload]  # None: no initial flow


@torch.no_grad()
def _perceptual_flicker(st_lpips: ImageMetric, shown: np.ndarray, truth: np.ndarray, person: np.ndarray) -> float:
    box = torch.from_numpy(person)[None, None].float().expand(2, -1, -1, -1)
    first, second = (crop_person(_pair(shown[i], truth[i]), box) for i in (0, 1))
    ours, theirs = st_lpips(first, second).tolist()
    return abs(ours - theirs)


def _pair(a: np.ndarray, b: np.ndarray) -> Tensor:
    return to_tensor(np.stack([a, b]))
