"""How calmly a clip moves: its change from frame to frame against the video's, and its own noise."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..core.images import to_tensor
from .metric_catalog import Series
from .metrics import Judge, crop_person

FLICKER = ("flow_error", "change_error", "perceptual_flicker")


def judge_flicker(
    shown: np.ndarray,
    truth: np.ndarray,
    masks: np.ndarray,
    judge: Judge,
    on_frame: Callable[[int], None] | None = None,
    frame_numbers: Sequence[int] | None = None,
) -> Series:
    """Figures over time, each about the person and the step from frame n-1 to n.

    The person is where the mask of either frame is above one half; NaN without any, in the first frame, and after
    frames that were left out.

    - flow_error: mean length in pixels of the difference between the optical flows of both clips: tOF of TecoGAN
      (Chu et al. 2020), which sums over the picture; flow by dense inverse search (Kroeger et al. 2016).
    - change_error: mean absolute difference between the changes of both clips, in 1/255.
    - perceptual_flicker: |ST-LPIPS(shown[n-1], shown[n]) - ST-LPIPS(truth[n-1], truth[n])| in the person's box: tLP
      of TecoGAN, with a distance that forgives small shifts.

    Args:
        shown, truth: [N, S, S, 3] uint8 RGB.
        masks: [N, S, S] uint8 person.
        judge: `metrics.StLpips`.
        on_frame: told the number of frames that are done.
        frame_numbers: [N] in the clip, increasing; where it is None, no frames were left out.

    Returns:
        By figure (`FLICKER`): [N].
    """
    if not shown.shape == truth.shape == (*masks.shape, 3):
        raise ValueError(f"shown {shown.shape}, truth {truth.shape} and masks {masks.shape} do not match")
    series = {name: np.full(len(truth), np.nan) for name in FLICKER}
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)  # every pixel: avatars err by fractions of one
    for n in range(1, len(truth)):
        pair = slice(n - 1, n + 1)
        person = (masks[pair] > 127).any(0)
        follows = frame_numbers is None or frame_numbers[n] == frame_numbers[n - 1] + 1
        if follows and person.any():
            series["flow_error"][n] = _flow_error(flow, shown[pair], truth[pair], person)
            series["change_error"][n] = np.abs(_change(shown[pair]) - _change(truth[pair]))[person].mean()
            series["perceptual_flicker"][n] = _perceptual_flicker(judge, shown[pair], truth[pair], person)
        if on_frame:
            on_frame(n + 1)
    return series


def own_noise(frames: np.ndarray) -> np.ndarray:
    """Mean absolute change from frame to frame in 1/255, of a clip whose motion is held still.

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
    """What is added from the first frame to the second: [S, S, 3] in -255 .. 255."""
    return pair[1].astype(np.int16) - pair[0]


def _flow_error(flow: cv2.DISOpticalFlow, shown: np.ndarray, truth: np.ndarray, person: np.ndarray) -> float:
    flows = [flow.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair), None) for pair in (shown, truth)]
    return float(np.linalg.norm(flows[0] - flows[1], axis=-1)[person].mean())


@torch.no_grad()
def _perceptual_flicker(judge: Judge, shown: np.ndarray, truth: np.ndarray, person: np.ndarray) -> float:
    box = torch.from_numpy(person)[None, None].float().expand(2, -1, -1, -1)
    first, second = (crop_person(_pair(shown[i], truth[i]), box) for i in (0, 1))
    of_shown, of_truth = judge(first, second).tolist()
    return abs(of_shown - of_truth)


def _pair(a: np.ndarray, b: np.ndarray) -> Tensor:
    return to_tensor(np.stack([a, b]))
