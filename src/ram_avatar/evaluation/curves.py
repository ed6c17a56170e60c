"""Curves over the frames, as paths and marks for the page's SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .document import Evaluation, way_label
from .metric_catalog import FIGURES, tell

_WIDTH, _HEIGHT = 340, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 330, 12, 128  # of the plot


@dataclass(frozen=True)
class Chart:
    """One figure over the frames, in the units of an SVG of `_WIDTH` x `_HEIGHT`."""

    name: str
    description: str
    paths: dict[str, str]  # by way
    across: list[tuple[float, int, str]]  # x, frame number, seconds
    up: list[tuple[float, str]]  # y, value
    worst: tuple[float, float, int] | None  # x, y, frame number of the avatar's worst
    worst_above: bool  # its number goes above the mark
    view: str = field(default=f"0 0 {_WIDTH} {_HEIGHT}", init=False)
    plot: tuple[int, int, int, int] = field(default=(_LEFT, _RIGHT, _TOP, _BOTTOM), init=False)


def charts(evaluation: Evaluation, group: str) -> list[Chart]:
    return [_chart(evaluation, group, name) for name in evaluation.names(group)]


def _chart(evaluation: Evaluation, group: str, name: str) -> Chart:
    series = {way: evaluation.values(way, group, name) for way in evaluation.ways}
    finite = np.concatenate([v[np.isfinite(v)] for v in series.values()])
    low, high = float(finite.min()), float(finite.max())
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = (max(0.0, low - room) if low >= 0 else low - room), high + room

    numbers = evaluation.frame_numbers
    first, last = numbers[0], numbers[-1]
    place = lambda number: _LEFT + 6 + (_RIGHT - _LEFT - 12) * (number - first) / max(1, last - first)
    x = place(np.array(numbers))
    height = lambda value: _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)
    steps = [v for v in _ticks(first, last, 4) if float(v).is_integer()]
    values = _ticks(low, high, 3)
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 2

    worst = evaluation.summary["avatar"].get(group, {}).get(name, {}).get("worst_frame")
    figure = FIGURES[name]
    return Chart(
        name=name,
        description=f"{figure.label}, frames {first} to {last}. "
        + "; ".join(
            _spoken(evaluation, way, group, name) for way in series if evaluation.mean(way, group, name) is not None
        ),
        paths={way: _path(x, height(v), numbers) for way, v in series.items() if np.isfinite(v).any()},
        across=[(float(place(v)), int(v), f"{v / evaluation.fps:.1f}") for v in steps],
        up=[(float(height(v)), f"{v:.{digits}f}") for v in values],
        worst=None if worst is None else (float(x[worst]), float(height(series["avatar"][worst])), numbers[worst]),
        worst_above=not figure.higher_is_better,
    )


def _spoken(evaluation: Evaluation, way: str, group: str, name: str) -> str:
    told = evaluation.summary[way][group][name]
    return (
        f"{way_label(way)}: mean {tell(name, told['mean'])}, worst {tell(name, told['worst'])} "
        f"in frame {evaluation.frame_numbers[told['worst_frame']]}"
    )


def _path(x: np.ndarray, y: np.ndarray, numbers: Sequence[int]) -> str:
    """An SVG path that is broken where y is NaN or a frame's number is skipped; a value between two gaps is a dot (a
    line of no length)."""
    commands, drawn = [], False
    follows = lambda i: i < len(y) and np.isfinite(y[i]) and numbers[i] == numbers[i - 1] + 1
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        if not np.isfinite(b):
            drawn = False
            continue
        drawn = drawn and follows(i)
        alone = not drawn and not follows(i + 1)
        commands.append(f"{'L' if drawn else 'M'}{a:.1f} {b:.1f}{'h0' if alone else ''}")
        drawn = True
    return "".join(commands)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers within low .. high, some `about` of them, 1, 2 or 5 times a power of ten apart."""
    if high <= low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / about))
    step = next(k * power for k in (1, 2, 5, 10) if (high - low) / (k * power) <= about + 0.5)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
