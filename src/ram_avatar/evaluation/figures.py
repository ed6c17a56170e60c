"""The figures of a clip that follows a driver: names, units, directions and number formats, defined once."""

from dataclasses import dataclass

from .gestures import HAND_FINGERS, LIDS
from .head_turns import HEAD_ANGLES
from .limb_angles import LIMBS
from .metric_catalog import METRICS, Metric

_CORRELATION = "correlation over the clip with the driver's"
FIGURES: dict[str, Metric] = {
    **{name: METRICS[name] for limb in LIMBS for name in (f"{limb}_angle", f"{limb}_followed")},
    **{name: METRICS[name] for name in HEAD_ANGLES},
    "mouth": Metric("mouth", "", True, 2, f"opening of the lips: {_CORRELATION}"),
    **{name: Metric(name.replace("_", " "), "", True, 2, f"eye aspect ratio: {_CORRELATION}") for name in LIDS},
    **{
        name: Metric(name.replace("_", " "), "", True, 2, f"curl of the finger: {_CORRELATION}")
        for fingers in HAND_FINGERS.values()
        for name in fingers
    },
    "jitter": Metric("jitter", "", False, 2, "mean acceleration of the body's landmarks over the driver's"),
}
"""What has one value per clip; of those in `METRICS` the mean over all bones or frames."""


@dataclass(frozen=True)
class Figure:
    """A value of one clip, or why it has none."""

    value: float | None
    absent: str = ""
