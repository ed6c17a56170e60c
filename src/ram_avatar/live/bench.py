"""`ram-avatar live --bench`: the session without a page, fed as a camera would, and timed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from ..core.progress import Progress, follow
from ..video import probe, read_frames
from ..video.sandbox import SIDE
from ..video.scaling import fit_within
from .protocol import (
    STAGES,
    Answer,
    CameraFrame,
    Coding,
)
from .session.codecs import jpeg
from .session.pipeline import Pipeline
from .session.session import Session
from .session.sinks import Mailbox, PageOutlet
from .studio import Studio, is_film

TICKS = 30.0  # a second, where a motion drives
LONGEST = 30.0  # seconds of a source that are played


def measure(studio: Studio, progress: Progress, seconds: float = LONGEST) -> dict:
    """Play the source once at its own pace, as a camera would, and note how it went.

    A video is packed as JPEG beforehand, which in real life is the browser's work.

    Args:
        seconds: of the source, at most.

    Returns:
        `fps`, `frames`, `dropped`, `latency` as `Figures.summary`, and `capture_to_packed`: milliseconds {p50, p95}
        from the time a frame was due to its picture being ready to be sent.

    Raises:
        UserError: no source, or it cannot be read.
    """
    if not isinstance(studio.source, Path):
        raise UserError("--bench wants a --source: a video, or a motion file")
    rate, frames = _camera(studio, seconds)
    taken: list[float] = []
    mailbox = Mailbox(lambda: None)
    failed: list[str] = []
    ready = threading.Event()

    def tell(event: dict) -> None:
        if "text" in event:
            failed.append(event["text"])
        ready.set()

    session = Session(lambda: _open(studio, ticks=frames is None), tell)
    session.add(PageOutlet(mailbox))
    session.start()
    try:
        with progress.wait("Getting the avatar ready"):
            ready.wait()
        count = round(rate * seconds) if frames is None else len(frames)
        started = time.perf_counter()
        for number in follow(range(count), progress, "Live", count):
            due = started + number / rate
            while (left := due - time.perf_counter()) > 0:
                time.sleep(min(left, 0.002))
                _collect(mailbox, taken)
            coding, picture = (Coding.NONE, b"") if frames is None else (Coding.JPEG, frames[number])
            session.offer(CameraFrame(number, 1e3 * due, coding, picture))
            if failed:
                raise UserError(failed[0])
        while session.figures.frames + session.figures.dropped < count and not failed:
            time.sleep(0.002)
        _collect(mailbox, taken)
        summary = session.figures.summary()
        summary["fps"] = round(summary["frames"] / (time.perf_counter() - started), 1)
    finally:
        session.close()
    if len(taken):
        p50, p95 = np.percentile(taken, [50, 95])
        summary["capture_to_packed"] = {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}
    for line in _table(summary):
        progress.note(line)
    return summary


def _camera(studio: Studio, seconds: float) -> tuple[float, list[bytes] | None]:
    """Frames a second, and the packed pictures of a video; None for a motion, which wants ticks."""
    if not is_film(studio.source):
        return TICKS, None
    info = probe(studio.source, studio.rotate)
    frames = read_frames(studio.source, rotate=studio.rotate)
    stop = max(1, round(info.fps * seconds))
    return info.fps, [jpeg(fit_within(frame, SIDE["film"])) for frame in _first(frames, stop)]


def _first(frames: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    for _, frame in zip(range(count), frames, strict=False):
        yield frame


def _open(studio: Studio, ticks: bool) -> Pipeline:
    avatar, _ = studio.load(studio.current)
    return studio.pipeline(avatar, studio.driver(avatar, "source" if ticks else "camera"))


def _collect(mailbox: Mailbox, taken: list[float]) -> None:
    """Note how old the pictures are that came meanwhile."""
    while (message := mailbox.take()) is not None:
        packed, has_picture = message
        if has_picture:
            mailbox.sent()
            taken.append(1e3 * time.perf_counter() - Answer.unpack(packed).captured)


def _table(summary: dict) -> list[str]:
    shown, dropped = summary["frames"], summary["dropped"]
    lines = [
        f"{summary['fps']} frames a second; {shown} shown, {dropped} gave way to newer ones",
        f"{'milliseconds':24s} {'p50':>8s} {'p95':>8s}",
    ]
    rows = {name: summary["latency"].get(name) for name in (*STAGES, "total")}
    rows["capture to packed"] = summary.get("capture_to_packed")
    return lines + [
        f"  {name:22s} {row['p50']:8.1f} {row['p95']:8.1f}" for name, row in rows.items() if row and row["p95"]
    ]
