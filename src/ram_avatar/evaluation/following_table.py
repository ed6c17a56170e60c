"""The figures of `figures.FIGURES` as a table, and as a line."""

from collections.abc import Mapping
from dataclasses import dataclass

from .document import FLOOR, method_label
from .figures import FIGURES, Figure
from .gestures import HAND_FINGERS, LIDS
from .head_turns import HEAD_ANGLES
from .metric_catalog import Metric

_GROUPS = {
    "Limbs": ("arms_angle", "arms_followed", "legs_angle", "legs_followed"),
    "Head": HEAD_ANGLES,
    "Face": ("mouth", *LIDS),
    "Left hand": HAND_FINGERS["left"],
    "Right hand": HAND_FINGERS["right"],
    "Over time": ("jitter",),
}


@dataclass(frozen=True)
class Cell:
    """A value, or a dash and why there is none."""

    text: str
    absent: str


@dataclass(frozen=True)
class FigureRow:
    """One figure by every method."""

    metric: Metric
    cells: list[Cell]


@dataclass(frozen=True)
class FollowingTable:
    """All figures of one driver."""

    columns: list[str]
    groups: dict[str, list[FigureRow]]

    @classmethod
    def of(cls, figures: Mapping[str, Mapping[str, Figure]]) -> "FollowingTable | None":
        """Return the table of some methods; None without any."""
        if not figures:
            return None
        groups = {
            title: [FigureRow(FIGURES[name], [_cell(name, of[name]) for of in figures.values()]) for name in names]
            for title, names in _GROUPS.items()
        }
        return cls([method_label(method) for method in figures], groups)


def _cell(name: str, figure: Figure) -> Cell:
    return Cell(format_figure(name, figure.value), figure.absent)


def format_figure(name: str, value: float | None) -> str:
    """Return a value with its figure's digits, or a dash if there is none."""
    return "–" if value is None else f"{value:.{FIGURES[name].digits}f}"


def summary_line(figures: Mapping[str, Mapping[str, Figure]]) -> str:
    """Say how closely the limbs follow, and how closely the detector would see the driver's own do so."""
    said = []
    for limb in ("arms", "legs"):
        avatar, floor = (figures[method][f"{limb}_followed"].value for method in ("avatar", FLOOR))
        if avatar is not None and floor is not None:
            angle = format_figure(f"{limb}_angle", figures["avatar"][f"{limb}_angle"].value)
            said.append(f"the {limb} in {avatar:.1%} (driver seen twice: {floor:.1%}), {angle} degrees on average")
    return f"Within 20 degrees of the driver are {'; '.join(said)}." if said else "The driver's limbs are not seen."
