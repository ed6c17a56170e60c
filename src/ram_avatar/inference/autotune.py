"""In which precision a machine renders fastest: measured once, and remembered."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ..core.cache import cache_folder
from ..core.device import describe_machine, describe_versions
from ..core.files import temporary_sibling

CHOICES_FILE = "engine.json"
_RUNS = 5
_GAIN = 0.95  # of the first one's time: below it another is chosen; less is within the noise of a busy machine


def fastest(candidates: Mapping[str, Callable[[], object]], what: str) -> str:
    """The name of the candidate that runs fastest on this machine; the first one, unless another clearly is.

    Args:
        candidates: work, by name.
        what: what the work depends on. The choice is kept under it, and under the machine, the number of threads and
            the version of torch.
    """
    names = list(candidates)
    if len(names) == 1:
        return names[0]
    told = (describe_machine(), describe_versions("torch"), torch.get_num_threads(), what, names)
    key = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
    path = cache_folder() / CHOICES_FILE
    remembered = _read(path)
    if remembered.get(key) in names:
        return remembered[key]
    durations = {name: _shortest(work) for name, work in candidates.items()}
    best = min(durations, key=durations.get)
    chosen = best if durations[best] < _GAIN * durations[names[0]] else names[0]
    _remember(path, key, chosen)
    return chosen


def _shortest(work: Callable[[], object]) -> float:
    """Seconds; the shortest of a few runs is what other programs disturb least."""
    work()
    durations = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return min(durations)


def _read(path: Path) -> dict[str, str]:
    """What was chosen before; nothing, where the file is absent or damaged: it is only a memory."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(path: Path, key: str, chosen: str) -> None:
    partial = temporary_sibling(path)
    try:
        partial.write_text(json.dumps(_read(path) | {key: chosen}, indent=1) + "\n")
        partial.replace(path)
    except OSError:  # a full or read-only disk: measured anew next time
        partial.unlink(missing_ok=True)
