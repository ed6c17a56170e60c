"""The evaluation metrics: names, units, directions and number formats, defined once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

Series = dict[str, np.ndarray]
"""Values by metric, each [N] float, one per frame; NaN where the metric does not apply to a frame."""


class MetricSummary(TypedDict):
    """A metric over all frames; see `summarize`."""

    mean: float | None
    std: float | None
    worst: float | None
    worst_frame: int | None


@dataclass(frozen=True)
class Metric:
    """How a metric is labelled and formatted."""

    label: str
    unit: str
    higher_is_better: bool
    digits: int
    meaning: str


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR", "dB", True, 2, "peak signal-to-noise ratio"),
    "ssim": Metric("SSIM", "", True, 3, "structural similarity, 11-pixel Gaussian window"),
    "st_lpips": Metric("ST-LPIPS", "", False, 4, "shift-tolerant perceptual distance, AlexNet"),
    "lpips": Metric("LPIPS", "", False, 4, "perceptual distance, AlexNet"),
    "flip": Metric("FLIP", "", False, 4, "visible difference when the two images alternate"),
    "flow_error": Metric("flow error", "px", False, 3, "optical flow between frames, against the video's (tOF)"),
    "change_error": Metric("change error", "/255", False, 2, "frame-to-frame change, against the video's"),
    "perceptual_flicker": Metric(
        "perceptual flicker", "", False, 4, "ST-LPIPS between frames, against the video's (tLP)"
    ),
    "own_noise": Metric("own noise", "/255", False, 3, "frame-to-frame change while the motion is held still"),
    "body_pck": Metric("body PCK@0.05", "", True, 3, "share of body landmarks within 5 % of the person's height"),
    "body_error": Metric("body error", "% height", False, 2, "mean distance of body landmarks"),
    "hand_error": Metric(
        "finger error", "% height", False, 2, "mean distance of finger landmarks, relative to the wrist"
    ),
    "hand_pck": Metric(
        "finger PCK@0.02", "", True, 3, "share of the driver's finger landmarks within 2 % of the height"
    ),
    "hands_found": Metric("hands found", "", True, 3, "share of the driver's hands that the detector finds again"),
    "lips_error": Metric("lips error", "% eye distance", False, 2, "difference in mouth opening and width"),
    "lids_error": Metric("lids error", "", False, 3, "difference in eye aspect ratio, height over width"),
    "arms_angle": Metric("arms", "degrees", False, 1, "mean angle between the bones of the arms and the driver's"),
    "arms_followed": Metric("arms followed", "", True, 2, "share of those bones within 20 degrees"),
    "legs_angle": Metric("legs", "degrees", False, 1, "mean angle between the bones of the legs and the driver's"),
    "legs_followed": Metric("legs followed", "", True, 2, "share of those bones within 20 degrees"),
    "head_yaw": Metric("head yaw", "degrees", False, 1, "absolute difference, turning left and right"),
    "head_pitch": Metric("head pitch", "degrees", False, 1, "absolute difference, nodding"),
    "head_roll": Metric("head roll", "degrees", False, 1, "absolute difference, tilting to a shoulder"),
    "mouth_deviation": Metric(
        "mouth deviation", "σ", False, 2, "difference of the mouth's opening, each in standard deviations of its clip"
    ),
}


def summarize(series: Mapping[str, np.ndarray]) -> dict[str, MetricSummary]:
    """Return the mean, standard deviation and worst frame of each metric.

    Returns:
        By metric: `mean`, `std`, `worst` and `worst_frame` (an index into the series), all None if the metric
        applies to no frame.
    """
    summary: dict[str, MetricSummary] = {}
    for name, values in series.items():
        known = np.isfinite(values)
        if not known.any():
            summary[name] = {"mean": None, "std": None, "worst": None, "worst_frame": None}
            continue
        worst = int(np.nanargmin(values) if METRICS[name].higher_is_better else np.nanargmax(values))
        summary[name] = {
            "mean": float(values[known].mean()),
            "std": float(values[known].std()),
            "worst": float(values[worst]),
            "worst_frame": worst,
        }
    return summary


def format_value(name: str, value: float | None) -> str:
    """Return a value with its metric's digits, or a dash if there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{METRICS[name].digits}f}"
