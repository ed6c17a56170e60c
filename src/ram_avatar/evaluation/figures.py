"""The figures of a clip that follows a driver: names, units, directions and number formats, defined once."""

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Column:
    """A column of the table of drivers: the mean of the figures that a driver has."""

    title: str
    figures: tuple[str, ...]


COLUMNS: dict[str, Column] = {
    "arms_angle": Column("arms", ("arms_angle",)),
    "arms_followed": Column("≤ 20°", ("arms_followed",)),
    "legs_angle": Column("legs", ("legs_angle",)),
    "legs_followed": Column("≤ 20°", ("legs_followed",)),
    "head_yaw": Column("yaw", ("head_yaw",)),
    "head_pitch": Column("pitch", ("head_pitch",)),
    "head_roll": Column("roll", ("head_roll",)),
    "mouth": Column("mouth", ("mouth",)),
    "lids": Column("lids", LIDS),
    "fingers": Column("fingers", tuple(name for fingers in HAND_FINGERS.values() for name in fingers)),
    "jitter": Column("jitter", ("jitter",)),
}
"""One row of the table of drivers."""


def column_values(figures: Mapping[str, Figure]) -> dict[str, float | None]:
    """Return the value of each of `COLUMNS`, None where a driver has none of its figures."""
    values = {}
    for name, column in COLUMNS.items():
        known = [value for each in column.figures if (value := figures[each].value) is not None]
        values[name] = sum(known) / len(known) if known else None
    return values
