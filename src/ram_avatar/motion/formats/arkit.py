"""Facial recordings with ARKit's blend shapes: CSV files of Epic's Live Link Face app, and others with its names.

NVIDIA's Audio2Face writes `timeCode` in seconds and `blendShapes.JawOpen`; a MetaHuman's curves are named
`CTRL_expressions_jawOpen`. Spreadsheets resave such files with semicolons or tabs, and with decimal commas.
"""

import csv
import math
import re
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.files import atomic_file
from ...core.progress import SILENT, Progress
from ...core.untrusted.files import open_regular, read_lines
from ..limits import MAX_FPS, MIN_FPS, most_frames
from ..motion import Motion, confidence_of
from .options import ReadOptions
from .rates import resampled

_KIND = "a facial recording"
_MAX_BYTES = 1 << 29  # an hour at 60 frames per second takes 180 MB
# Hours, minutes, seconds, and frames with a fraction.
_TIMECODE = re.compile(r"([01]?\d|2[0-3]):([0-5]?\d):([0-5]?\d)[:;](\d{1,3}(?:\.\d{0,9})?)", re.ASCII)
_TIME_COLUMNS = ("timecode", "time", "timestamp", "seconds")
_COUNT_COLUMN = "blendshapecount"  # 0 where no face was seen
_CLOCK_RATES = (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)  # usual frame rates of timecodes
_SPARSE = 1.25  # a clip without a whole second may lack up to this factor of its highest frame numbers
_NTSC, _DRIFT = (24, 30, 48, 60, 120, 240), 2e-3  # cameras may be slower than these by a thousandth: 29.97
_ROUNDED = 2e-4  # a rate this close to a whole number is rounded; 29.97 is not
_MAX_ROWS = 1_000_000  # four hours at 60 frames per second
_MAX_COLUMNS = 1000
_STRETCHED = 10  # times as many frames as rows with a face: it may be out of sight for most of the time
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # byte-order marks other than UTF-8's
_SEPARATORS = ",;\t"
_LARGEST = 1e6  # of a weight, before it is clamped to 0 to 1
_DAY = 24 * 3600
_SHORTEST = 1.0  # seconds that a written recording must exceed: within one second of its clock, its rate is ambiguous


@dataclass
class _Recording:
    """The frames that show a face."""

    found: list[bool]  # [A] whether each action has a column
    lines: list[int] = field(default_factory=list)
    # For every frame: seconds (since midnight, for a timecode), and the frame number within that second, or None if
    # the file has fractional seconds.
    clock: list[tuple[float, float | None]] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)  # of the actions that were found


def read(
    path: Path, template: BodyTemplate, identity: Tensor | None, options: ReadOptions, progress: Progress
) -> Motion:
    """Read a facial recording as a motion of a body at rest, in which only the face has confidence.

    Raises:
        UserError: see `read_live_link`.
    """
    actions, fps = read_live_link(path, template.action_names, progress, options.fps)
    frames = len(actions)
    motion = Motion(
        template=template.name,
        fps=fps,
        root_rotation=torch.zeros(frames, 3),
        root_translation=torch.zeros(frames, 3),
        pose=torch.zeros(frames, len(template.pose_joints), 3),
        facial_actions=actions,
        confidence=torch.from_numpy(confidence_of(0.0, face=1.0)).float().repeat(frames, 1),
    )
    return resampled(path, motion, options.fps)


def write(path: Path, motion: Motion, template: BodyTemplate, identity: Tensor | None, progress: Progress) -> None:
    """Write the face of a motion as a Live Link Face recording. `progress` receives a note if a body is left out.

    Raises:
        UserError: the motion is too short.
    """
    if len(motion) <= _SHORTEST * motion.fps:
        raise UserError(f"{path}: a facial recording must be longer than {_SHORTEST:g} second")
    write_live_link(path, motion.facial_actions, template.action_names, motion.fps)
    if (motion.confidence[:, :3] > 0).any():
        progress.note(f"{path}: left out the body, which Live Link Face cannot hold")


def read_live_link(
    path: str | Path, action_names: list[str], progress: Progress = SILENT, fps: float | None = None
) -> tuple[Tensor, float]:
    """Read the facial actions of a recording.

    Columns are found by ARKit's names, ignoring case and prefixes; angles of head and eyes are not read. Time is in
    seconds or a timecode (HH:MM:SS:FF), whose rate is inferred from the frame numbers within whole seconds. The result
    has a constant rate, that of most frames; weights are interpolated where frames were dropped or no face was seen.
    Of frames with equal time the first one counts.

    Args:
        action_names: A ARKit names. Those without a column stay 0, and are noted.
        progress: receives notes on missing columns and on the rate of timecodes.
        fps: the rate of a file that has no times, or whose timecodes span less than a second.

    Returns:
        Weights [N, A] in [0, 1], and frames per second.

    Raises:
        UserError: no such file, too large, not such a recording, fewer than two frames, no rate, or a broken row,
            named by its line.
    """
    path = Path(path)
    try:
        recording = _parse(path, action_names)
        times, clock_rate = _seconds(recording, fps)
        fresh = np.diff(times, prepend=-1.0) > 0
        times, weights = times[fresh], np.stack(recording.weights)[fresh]
        if len(times) < 2:
            raise ValueError("all its frames have the same time")
        measured = _measured_rate(times)
        rate = _camera_rate(measured, clock_rate)
        if rate > MAX_FPS:
            raise ValueError("its times are too close together")
        if rate < MIN_FPS or (times[-1] - times[0]) * rate > max(most_frames(1), _STRETCHED * len(times)):
            raise ValueError("its times are too far apart")
        times = times[0] + (times - times[0]) * measured / rate
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: {error}") from None
    if clock_rate:
        slower = "" if abs(rate - clock_rate) < 0.01 * rate else f"; {rate:g} were recorded"
        progress.note(f"{path}: its timecodes count {clock_rate:g} frames a second{slower}")
    missing = [name for name, found in zip(action_names, recording.found, strict=True) if not found]
    if missing:
        progress.note(f"{path}: has no {', '.join(missing)}; they stay 0")
    even = times[0] + np.arange(1 + int((times[-1] - times[0]) * rate + 0.1)) / rate  # 0.1 allows for rounded times
    actions = np.zeros((len(even), len(action_names)), np.float32)
    for column, values in zip(np.flatnonzero(recording.found), weights.T, strict=True):
        actions[:, column] = np.interp(even, times, values).clip(0, 1)
    return torch.from_numpy(actions), rate


def write_live_link(path: str | Path, actions: Tensor, action_names: list[str], fps: float) -> None:
    """Write weights [N, A] as a Live Link Face recording that starts at midnight, at 60 frames per timecode second."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in action_names)])
        for index, row in enumerate(actions.tolist()):
            seconds, thousandths = divmod(round(index / fps * 60_000), 60_000)
            clock = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{thousandths / 1000:06.3f}"
            writer.writerow([clock, len(row), *(f"{value:.10f}" for value in row)])


def _parse(path: Path, action_names: list[str]) -> _Recording:
    with open_regular(path, _MAX_BYTES, _KIND) as file:
        encoding = _MARKS.get(file.read(2), "utf-8-sig")
    lines = read_lines(path, _MAX_BYTES, _KIND, encoding)
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=max(_SEPARATORS, key=first.count))
    names = [name.strip().lower() for name in next(reader, [])]
    if len(names) > _MAX_COLUMNS:
        raise ValueError(f"has {len(names)} columns; at most {_MAX_COLUMNS} are read")
    time = next((names.index(name) for name in _TIME_COLUMNS if name in names), None)
    count = names.index(_COUNT_COLUMN) if _COUNT_COLUMN in names else None
    columns = [_column(names, name) for name in action_names]
    recording = _Recording([column is not None for column in columns])
    wanted = [column for column in columns if column is not None]
    if not wanted:
        raise ValueError("not a facial recording: it has no column with one of ARKit's names, such as JawOpen")
    for row in reader:
        if not any(row[column] for column in wanted if column < len(row)):
            continue  # no face was seen
        if count is not None and row[count : count + 1] and row[count].strip() == "0":
            continue
        if len(row) != len(names):
            raise ValueError(f"line {reader.line_num}: has {len(row)} columns, but the header {len(names)}")
        if len(recording.weights) == _MAX_ROWS:
            raise ValueError(f"line {reader.line_num}: more than {_MAX_ROWS} frames")
        recording.lines.append(reader.line_num)
        if time is not None:
            recording.clock.append(_clock(row[time], reader.line_num))
        recording.weights.append(_weights([row[column] for column in wanted], reader.line_num))
    return recording


def _column(names: list[str], action: str) -> int | None:
    """Return the column of an action: its exact name, or the first that ends in it after a non-alphanumeric."""
    action = action.lower()
    if action in names:
        return names.index(action)
    ends = (i for i, name in enumerate(names) if name.endswith(action) and not name[-len(action) - 1].isalnum())
    return next(ends, None)


def _clock(text: str, line: int) -> tuple[float, float | None]:
    text = text.strip().replace(",", ".")
    if match := _TIMECODE.fullmatch(text):
        hours, minutes, seconds, frames = match.groups()
        return (int(hours) * 60 + int(minutes)) * 60 + int(seconds), float(frames)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e9:
        raise ValueError(f"line {line}: '{text[:40]}' is neither a timecode (HH:MM:SS:FF.fff) nor seconds")
    return seconds, None


def _weights(cells: list[str], line: int) -> np.ndarray:
    try:
        values = [float(cell.replace(",", ".")) for cell in cells]
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None
    if not all(abs(value) < _LARGEST for value in values):
        raise ValueError(f"line {line}: holds a number that is not finite, or out of range")
    return np.array(values, np.float32)


def _seconds(recording: _Recording, fps: float | None) -> tuple[np.ndarray, float | None]:
    """Return non-decreasing times [N] in seconds, and the rate of the timecodes if that was inferred."""
    if len(recording.weights) < 2:
        raise ValueError("holds fewer than two frames with a face")
    if not recording.clock:
        if fps is None:
            raise ValueError("has no column with times (Timecode); set the frame rate with --fps")
        return np.arange(len(recording.weights)) / fps, None
    if len({frames is None for _, frames in recording.clock}) > 1:
        raise ValueError("its times are timecodes in some lines and seconds in others")
    rate = None
    if recording.clock[0][1] is None:
        times = np.array([seconds for seconds, _ in recording.clock])
    else:
        seconds, frames = np.array(recording.clock).T
        if seconds[0] != seconds[-1]:
            rate = _clock_rate(seconds, frames)
        elif fps is None:
            raise ValueError(
                "ends within one second of its timecode, so that its frame rate is ambiguous; "
                "record for longer, or set it with --fps"
            )
        times = seconds + frames / (rate or fps * max(np.median(np.diff(frames)), 1e-3))
    if times.max() <= _DAY:  # a clock, which starts again at midnight
        times += _DAY * np.cumsum(np.diff(times, prepend=times[0]) < -_DAY / 2)
    backwards = np.flatnonzero(np.diff(times) < 0)
    if len(backwards):
        raise ValueError(f"line {recording.lines[backwards[0] + 1]}: its time is before that of the line above")
    return times, rate


def _clock_rate(seconds: np.ndarray, frames: np.ndarray) -> float:
    """Infer how many frames a timecode's seconds have: more than the highest number, by at most one step.

    A camera slower than its clock skips numbers (0, 4, ... 56 of 60), hence the step. Usual rates in that range take
    precedence.
    """
    least = np.floor(frames.max()) + 1
    steps = np.diff(frames)[np.diff(seconds) == 0]
    most = frames.max() + (np.median(steps) if len(steps) else 1.0)
    if len(np.unique(seconds)) < 3:  # the first and the last second may be incomplete
        most *= _SPARSE
    return next((float(rate) for rate in _CLOCK_RATES if least <= rate <= max(most, least) + 0.5), float(least))


def _measured_rate(times: np.ndarray) -> float:
    """Estimate the frame rate from increasing times, some of which may be missing."""
    steps = np.diff(times)
    counts = np.round(steps / np.median(steps))
    return float(counts.sum() / steps[counts > 0].sum())


def _camera_rate(measured: float, clock_rate: float | None) -> float:
    """Snap a measured rate to the clock's, or to a whole number, if it is within the error of the times."""
    if clock_rate and clock_rate not in _NTSC and abs(measured / clock_rate - 1) < _DRIFT:
        return clock_rate
    whole = round(measured)
    return float(whole) if whole and abs(measured / whole - 1) < _ROUNDED else round(measured, 3)
