"""Facial recordings with ARKit's blend shapes: the CSV files of Epic's Live Link Face app."""

import csv
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import atomic_file, disk_errors
from ..progress import Progress, Silent

_MAX_BYTES = 1 << 29  # an hour at 60 frames per second takes 180 MB
_TIMECODE = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d*)?)")  # the last: frames, with a fraction
_TIMECODE_RATES = (24, 25, 30, 48, 50, 60, 100, 120, 240)
_DAY = 24 * 3600


@dataclass
class _Recording:
    """The frames with a face."""

    found: list[bool]  # A, which of the actions have a column
    lines: list[int] = field(default_factory=list)
    clock: list[tuple[int, float]] = field(default_factory=list)  # seconds since midnight, frames of this second
    weights: list[np.ndarray] = field(default_factory=list)  # of the found actions


def read_live_link(path: str | Path, action_names: list[str], progress: Progress | None = None) -> tuple[Tensor, float]:
    """Read the facial actions of a Live Link Face recording.

    Columns are found by ARKit's names, upper or lower case alike; the angles of head and eyes are not read.
    The result is at an even rate, that of most frames; where frames were dropped or no face was seen, weights
    are interpolated. Of frames with the same time the first counts.

    Args:
        action_names: A, ARKit names. Those without a column stay 0, which `progress` is told.

    Returns:
        weights [N, A] in [0, 1], and frames per second.

    Raises:
        UserError: no such file, too large, no such recording, fewer than two frames, within one second of the
            clock (so that nobody can tell how many frames it counts), or a broken row, by its line.
    """
    path = Path(path)
    try:
        with disk_errors(path):
            recording = _parse(path, action_names)
        times = _seconds(recording)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: {error}") from None
    missing = [name for name, found in zip(action_names, recording.found, strict=True) if not found]
    if missing:
        (progress or Silent()).note(f"{path}: has no {', '.join(missing)}; they stay 0")
    fresh = np.diff(times, prepend=-1.0) > 0
    times, weights = times[fresh], np.stack(recording.weights)[fresh]
    fps = round(float(1 / np.median(np.diff(times))), 3)
    even = times[0] + np.arange(1 + int((times[-1] - times[0]) * fps + 0.1)) / fps  # 0.1: times are rounded
    actions = np.zeros((len(even), len(action_names)), np.float32)
    for column, values in zip(np.flatnonzero(recording.found), weights.T, strict=True):
        actions[:, column] = np.interp(even, times, values).clip(0, 1)
    return torch.from_numpy(actions), fps


def write_live_link(path: str | Path, actions: Tensor, action_names: list[str], fps: float) -> None:
    """Write weights [N, A] as a Live Link Face recording that starts at midnight; its clock counts 60 a second."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in action_names)])
        for index, row in enumerate(actions.tolist()):
            seconds, thousandths = divmod(round(index / fps * 60_000), 60_000)
            clock = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{thousandths / 1000:06.3f}"
            writer.writerow([clock, len(row), *(f"{value:.10f}" for value in row)])


def _parse(path: Path, action_names: list[str]) -> _Recording:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES >> 20} MB")
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        columns = [header.index(name.lower()) if name.lower() in header else None for name in action_names]
        recording = _Recording([column is not None for column in columns])
        if header[:2] != ["timecode", "blendshapecount"] or not any(recording.found):
            raise ValueError("not a Live Link Face recording: it has no Timecode, BlendShapeCount, EyeBlinkLeft, ...")
        wanted = [column for column in columns if column is not None]
        for row in reader:
            if not any(row[2:]) or row[1].strip() == "0":
                continue  # no face was seen
            if len(row) != len(header):
                raise ValueError(f"line {reader.line_num}: has {len(row)} columns, but the header {len(header)}")
            recording.lines.append(reader.line_num)
            recording.clock.append(_clock(row[0], reader.line_num))
            recording.weights.append(_weights([row[column] for column in wanted], reader.line_num))
    return recording


def _clock(text: str, line: int) -> tuple[int, float]:
    match = _TIMECODE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"line {line}: '{text[:40]}' is not a timecode (HH:MM:SS:FF.fff)")
    hours, minutes, seconds, frames = match.groups()
    return (int(hours) * 60 + int(minutes)) * 60 + int(seconds), float(frames)


def _weights(cells: list[str], line: int) -> np.ndarray:
    try:
        values = [float(cell) for cell in cells]
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None
    if not all(map(math.isfinite, values)):
        raise ValueError(f"line {line}: holds a number that is not finite")
    return np.array(values, np.float32)


def _seconds(recording: _Recording) -> np.ndarray:
    """[N] times, not falling. The clock's frames per second are not in the file: they follow from the highest."""
    if len(recording.clock) < 2:
        raise ValueError("holds fewer than two frames with a face")
    seconds, frames = np.array(recording.clock).T
    if seconds[0] == seconds[-1]:
        raise ValueError("ends within one second of its clock, which does not tell the frame rate; record for longer")
    count = int(frames.max()) + 1
    times = seconds + frames / next((rate for rate in _TIMECODE_RATES if rate >= count), count)
    times += _DAY * np.cumsum(np.diff(times, prepend=times[0]) < -_DAY / 2)  # over midnight
    backwards = np.flatnonzero(np.diff(times) < 0)
    if len(backwards):
        raise ValueError(f"line {recording.lines[backwards[0] + 1]}: its time is before that of the line above")
    return times
