"""Charts of metrics over the frames, as SVG paths and marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .document import Evaluation, method_label
from .metric_catalog import METRICS, format_value

_WIDTH, _HEIGHT = 340, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 330, 12, 128  # of the plot area


@dataclass(frozen=True)
class Chart:
    """One metric over the frames, in the coordinates of an SVG of `_WIDTH` x `_HEIGHT`."""

    name: str
    description: str
    paths: dict[str, str]  # by method
    x_ticks: list[tuple[float, int, str]]  # x, frame number, seconds
    y_ticks: list[tuple[float, str]]  # y, value
    worst: tuple[float, float, int] | None  # x, y and number of the avatar's worst frame
    worst_above: bool  # whether the number is drawn above the mark
    view: str = field(default=f"0 0 {_WIDTH} {_HEIGHT}", init=False)
    plot: tuple[int, int, int, int] = field(default=(_LEFT, _RIGHT, _TOP, _BOTTOM), init=False)


def charts(evaluation: Evaluation, group: str) -> list[Chart]:
    """Draw all metrics of a group, one chart each."""
    return [_chart(evaluation, group, name) for name in evaluation.names(group)]


def _chart(evaluation: Evaluation, group: str, name: str) -> Chart:
    series = {method: evaluation.values(method, group, name) for method in evaluation.methods}
    finite = np.concatenate([v[np.isfinite(v)] for v in series.values()])
    low, high = float(finite.min()), float(finite.max())
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = (max(0.0, low - margin) if low >= 0 else low - margin), high + margin

    numbers = evaluation.frame_numbers
    first, last = numbers[0], numbers[-1]
    to_x = lambda number: _LEFT + 6 + (_RIGHT - _LEFT - 12) * (number - first) / max(1, last - first)
    to_y = lambda value: _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)
    x = to_x(np.array(numbers))
    steps = [v for v in _ticks(first, last, 4) if float(v).is_integer()]
    values = _ticks(low, high, 3)
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 2

    worst = evaluation.worst_frame("avatar", group, name)
    metric = METRICS[name]
    return Chart(
        name=name,
        description=f"{metric.label}, frames {first} to {last}. "
        + "; ".join(filter(None, (_describe(evaluation, method, group, name) for method in series))),
        paths={method: _path(x, to_y(v), numbers) for method, v in series.items() if np.isfinite(v).any()},
        x_ticks=[(float(to_x(v)), int(v), f"{v / evaluation.fps:.1f}") for v in steps],
        y_ticks=[(float(to_y(v)), f"{v:.{digits}f}") for v in values],
        worst=None if worst is None else (float(x[worst]), float(to_y(series["avatar"][worst])), numbers[worst]),
        worst_above=not metric.higher_is_better,
    )


def _describe(evaluation: Evaluation, method: str, group: str, name: str) -> str:
    """Describe a curve in words, for readers who cannot see it; empty if the method does not have the metric."""
    worst = evaluation.worst_frame(method, group, name)
    if worst is None:
        return ""
    summary = evaluation.summary[method][group][name]
    return (
        f"{method_label(method)}: mean {format_value(name, summary['mean'])}, "
        f"worst {format_value(name, summary['worst'])} in frame {evaluation.frame_numbers[worst]}"
    )


def _path(x: np.ndarray, y: np.ndarray, numbers: Sequence[int]) -> str:
    """Return an SVG path with gaps where y is NaN or a frame number is skipped; an isolated value is drawn as a dot."""
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
    """Return about `about` round numbers within low .. high, spaced by 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / about))
    step = next(k * power for k in (1, 2, 5, 10) if (high - low) / (k * power) <= about + 0.5)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
