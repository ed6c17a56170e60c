"""What a table was measured on, and how figures are told."""

import statistics
import time
from collections.abc import Callable, Sequence

from ram_avatar.core.device import describe_machine, describe_versions


def describe() -> str:
    """One line: the machine, and the versions that matter."""
    return f"{describe_machine()}, {describe_versions('torch', 'mediapipe', 'anny', 'warp-lang')}"


def seconds(work: Callable[[], object], runs: int = 7, warm_up: int = 2) -> float:
    """Median duration of a call."""
    for _ in range(warm_up):
        work()
    durations = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def table(rows: Sequence[tuple[str, ...]], headings: tuple[str, ...] = ("what", "measured", "goal")) -> str:
    """Markdown."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
