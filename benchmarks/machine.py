"""What a table was measured on, and how figures are told."""

import statistics
import time
from collections.abc import Callable

from ram_avatar.hardware import describe_machine, describe_versions


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


def table(rows: list[tuple[str, str, str]]) -> str:
    """Markdown: what, how much, the goal."""
    body = [f"| {what} | {measured} | {goal} |" for what, measured, goal in rows]
    return "\n".join(["| what | measured | goal |", "| --- | --- | --- |", *body])
