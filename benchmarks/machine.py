"""What a table was measured on, and how figures are told."""

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """One line: processor, cores, memory, and the versions that matter."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "")
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    amx = " with AMX" if torch.cpu._is_amx_tile_supported() else ""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "mediapipe", "anny", "warp-lang"))
    cores = f"{torch.get_num_threads()} cores"
    hardware = f"{cpu or platform.processor()}{amx}, {cores}, {memory} GB{gpu}"
    return f"{hardware}; Python {platform.python_version()}, {versions}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


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
