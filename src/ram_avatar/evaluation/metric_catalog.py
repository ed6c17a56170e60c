"""The figures that say how good an avatar is: their names, units and directions, in one place."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Series = dict[str, np.ndarray]
"""Values by the figure's name, each [N] float, one per frame; NaN where a frame does not have it."""


@dataclass(frozen=True)
class Figure:
    """How a figure is told."""

    label: str
    unit: str
    higher_is_better: bool
    digits: int
    meaning: str


FIGURES: dict[str, Figure] = {
    "psnr": Figure("PSNR", "dB", True, 2, "peak signal-to-noise ratio"),
    "ssim": Figure("SSIM", "", True, 3, "structural similarity, Gaussian window of 11 pixels"),
    "st_lpips": Figure("ST-LPIPS", "", False, 4, "shift-tolerant perceptual distance, AlexNet"),
    "lpips": Figure("LPIPS", "", False, 4, "perceptual distance, AlexNet"),
    "flip": Figure("FLIP", "", False, 4, "difference that an observer sees when the two pictures alternate"),
    "flow_error": Figure("flow error", "px", False, 3, "optical flow between frames, against the video's (tOF)"),
    "change_error": Figure("change error", "/255", False, 2, "frame-to-frame change, against the video's"),
    "perceptual_flicker": Figure(
        "perceptual flicker", "", False, 4, "ST-LPIPS between frames, against the video's (tLP)"
    ),
    "own_noise": Figure("own noise", "/255", False, 3, "frame-to-frame change while the motion is held still"),
    "body_pck": Figure("body PCK@0.05", "", True, 3, "share of body landmarks within 5 % of the person's height"),
    "body_error": Figure("body error", "% height", False, 2, "mean distance of body landmarks"),
    "hand_error": Figure(
        "finger error", "% height", False, 2, "mean distance of finger landmarks, measured from the wrist"
    ),
    "hand_pck": Figure(
        "finger PCK@0.02", "", True, 3, "share of the driver's finger landmarks within 2 % of the height"
    ),
    "hands_found": Figure("hands found", "", True, 3, "share of the driver's hands that the detector finds again"),
    "lips_error": Figure("lips error", "% eye distance", False, 2, "difference of mouth opening and width"),
    "lids_error": Figure("lids error", "", False, 3, "difference of the lids' opening, height over width"),
}


def summarize(series: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | int | None]]:
    """Mean, standard deviation and worst frame of every figure.

    Returns:
        By the figure's name: `mean`, `std`, `worst` and `worst_frame` (an index into the series), all None
        where no frame has the figure.
    """
    summary = {}
    for name, values in series.items():
        known = np.isfinite(values)
        if not known.any():
            summary[name] = {"mean": None, "std": None, "worst": None, "worst_frame": None}
            continue
        worst = int(np.nanargmin(values) if FIGURES[name].higher_is_better else np.nanargmax(values))
        summary[name] = {
            "mean": float(values[known].mean()),
            "std": float(values[known].std()),
            "worst": float(values[worst]),
            "worst_frame": worst,
        }
    return summary


def tell(name: str, value: float | None) -> str:
    """A value with its digits; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{FIGURES[name].digits}f}"
