"""How results are measured and printed: the machine, median durations, Markdown tables."""

import statistics
import time
from collections.abc import Callable, Sequence

from ram_avatar.core.device import describe_machine, describe_versions


def describe_setup() -> str:
    """Return one line with the machine and the versions that matter."""
    return f"{describe_machine()}, {describe_versions('torch', 'mediapipe', 'anny', 'warp-lang')}"


def median_seconds(work: Callable[[], object], runs: int = 7, warm_up: int = 2) -> float:
    """Return the median duration of a call in seconds."""
    for _ in range(warm_up):
        work()
    durations = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def markdown_table(rows: Sequence[tuple[str, ...]], headings: tuple[str, ...] = ("what", "measured", "goal")) -> str:
    """Return a Markdown table."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
