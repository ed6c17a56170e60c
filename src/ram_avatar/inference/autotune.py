"""Chooses the fastest of several implementations on this machine, measured once and cached."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..core.cache import cache_folder
from ..core.device import describe_machine, describe_versions
from ..core.errors import UserError
from ..core.files import atomic_file
from ..core.untrusted.documents import read_json

CHOICES_FILE = "engine.json"
_RUNS = 5
_GAIN = 0.95  # another candidate must take less than this share of the first one's time, to exceed timing noise


def fastest(candidates: Mapping[str, Callable[[], object]], what: str) -> str:
    """Return the name of the candidate that runs fastest here: the first, unless another is clearly faster.

    Args:
        candidates: work by name.
        what: what the work depends on. It is part of the cache key, with the machine, the number of threads and the
            version of torch.
    """
    names = list(candidates)
    if len(names) == 1:
        return names[0]
    context = (describe_machine(), describe_versions("torch"), torch.get_num_threads(), what, names)
    key = hashlib.sha256(repr(context).encode()).hexdigest()[:16]
    path = cache_folder() / CHOICES_FILE
    cached = _read(path)
    if cached.get(key) in names:
        return cached[key]
    durations = {name: _shortest(work) for name, work in candidates.items()}
    best = min(durations, key=durations.__getitem__)
    chosen = best if durations[best] < _GAIN * durations[names[0]] else names[0]
    _store(path, key, chosen)
    return chosen


def _shortest(work: Callable[[], object]) -> float:
    """Return the shortest duration of a few runs in seconds, the one least disturbed by other programs."""
    work()
    durations = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return min(durations)


def _read(path: Path) -> dict[str, Any]:
    """Read the cached choices; a missing or damaged file counts as empty."""
    try:
        return read_json(path, "choices")
    except (UserError, OSError):
        return {}


def _store(path: Path, key: str, chosen: str) -> None:
    """Add a choice to the cache."""
    with suppress(OSError, UserError), atomic_file(path) as partial:  # on a full disk, measure again next time
        partial.write_text(json.dumps(_read(path) | {key: chosen}, indent=1) + "\n")
