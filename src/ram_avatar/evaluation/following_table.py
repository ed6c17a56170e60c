"""The figures of `figures.FIGURES` as a table, and as a line."""

from collections.abc import Mapping
from dataclasses import dataclass

from .document import FLOOR, method_label
from .figures import FIGURES, Figure
from .gestures import HAND_FINGERS, LIDS
from .head_turns import HEAD_ANGLES
from .metric_catalog import Metric

_CURL = "correlation over the clip of each finger's curl with the driver's"
_GROUPS = {  # title: meaning, and figures
    "Limbs": (
        "angles in space between the bones and the driver's; followed: the share within 20 degrees",
        ("arms_angle", "arms_followed", "legs_angle", "legs_followed"),
    ),
    "Head": ("mean absolute difference from the driver's", HEAD_ANGLES),
    "Face": ("correlation over the clip of the opening of mouth and lids with the driver's", ("mouth", *LIDS)),
    "Left hand": (_CURL, HAND_FINGERS["left"]),
    "Right hand": (_CURL, HAND_FINGERS["right"]),
    "Over time": ("acceleration of the body's landmarks, as a multiple of the driver's", ("jitter",)),
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
class FigureGroup:
    """Figures of one part of the body."""

    title: str
    meaning: str
    rows: list[FigureRow]


@dataclass(frozen=True)
class FollowingTable:
    """All figures of one driver."""

    columns: list[str]
    groups: list[FigureGroup]

    @classmethod
    def of(cls, figures: Mapping[str, Mapping[str, Figure]]) -> "FollowingTable | None":
        """Return the table of some methods; None without any."""
        if not figures:
            return None
        row = lambda name: FigureRow(FIGURES[name], [_cell(name, of[name]) for of in figures.values()])
        groups = [FigureGroup(title, meaning, [*map(row, names)]) for title, (meaning, names) in _GROUPS.items()]
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
        names = f"{limb}_followed", f"{limb}_angle"
        (share, angle), (best, least) = (
            [figures[method][name].value for name in names] for method in ("avatar", FLOOR)
        )
        if share is not None and best is not None:
            degrees, floor = (format_figure(names[1], value) for value in (angle, least))
            said.append(
                f"{limb.capitalize()} within 20 degrees of the driver's: {share:.1%}, by {degrees} on average "
                f"(driver seen twice: {best:.1%}, by {floor})."
            )
    return " ".join(said) or "The driver's limbs are not seen."


def _limb(figures: Mapping[str, Figure], limb: str) -> tuple[float | None, str]:
    """Return the share of a limb's bones that follow, and their mean angle as text."""
    return figures[f"{limb}_followed"].value, format_figure(f"{limb}_angle", figures[f"{limb}_angle"].value)
