"""`ram-avatar live --bench`: times a session without a page, fed as by a camera."""

import threading
import time
from itertools import islice

import numpy as np

from ..core.errors import UserError
from ..core.progress import Progress, follow
from ..drivers.sources import DriverSource, VideoSource
from ..video.sandbox import SIDE
from ..video.scaling import fit_within
from .protocol import STAGES, Answer, CameraFrame, Coding
from .session.codecs import encode_jpeg
from .session.pipeline import Pipeline
from .session.pipeline_factory import PipelineFactory
from .session.session import Session
from .session.sinks import Outbox, PageSink

_TICKS = 30.0  # a second, if a motion drives
_MAX_SECONDS = 30.0


def measure(factory: PipelineFactory, progress: Progress, seconds: float = _MAX_SECONDS) -> dict:
    """Play the source once in real time, as a camera would, and report rates and latencies.

    A video is encoded as JPEG beforehand, which otherwise is the browser's work.

    Args:
        seconds: how much of the source to play, at most.

    Returns:
        `fps`, `frames`, `dropped`, `latency` as in `Statistics.summary`, and `capture_to_packed`: milliseconds
        {p50, p95} from the time a frame was due until its image was ready to send.

    Raises:
        UserError: there is no source, or it cannot be read.
    """
    if not factory.source.recorded:
        raise UserError("--bench needs a --source: a video or a motion file")
    rate, frames = _camera(factory.source, seconds)
    latencies: list[float] = []
    outbox = Outbox(lambda: None)
    failed: list[str] = []
    ready = threading.Event()

    def on_event(event: dict) -> None:
        if "text" in event:
            failed.append(event["text"])
        ready.set()

    session = Session(lambda: _open(factory, ticks=frames is None), on_event)
    session.add(PageSink(outbox))
    session.start()
    try:
        with progress.wait("Loading the avatar"):
            ready.wait()
        count = round(rate * seconds) if frames is None else len(frames)
        started = time.perf_counter()
        for number in follow(range(count), progress, "Live", count):
            due = started + number / rate
            while (left := due - time.perf_counter()) > 0:
                time.sleep(min(left, 0.002))
                _collect(outbox, latencies)
            coding, picture = (Coding.NONE, b"") if frames is None else (Coding.JPEG, frames[number])
            session.offer(CameraFrame(number, 1e3 * due, coding, picture))
            if failed:
                raise UserError(failed[0])
        while session.statistics.frames + session.statistics.dropped < count and not failed:
            time.sleep(0.002)
        _collect(outbox, latencies)
        summary = session.statistics.summary()
        summary["fps"] = round(summary["frames"] / (time.perf_counter() - started), 1)
    finally:
        session.close()
    if latencies:
        p50, p95 = np.percentile(latencies, [50, 95])
        summary["capture_to_packed"] = {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}
    for line in _table(summary):
        progress.note(line)
    return summary


def _camera(source: DriverSource, seconds: float) -> tuple[float, list[bytes] | None]:
    """Return frames a second and a video's encoded frames; or None for a motion, which needs ticks."""
    if not isinstance(source, VideoSource):
        return _TICKS, None
    info = source.probe()
    frames = islice(source.frames(), max(1, round(info.fps * seconds)))
    return info.fps, [encode_jpeg(fit_within(frame, SIDE["film"])) for frame in frames]


def _open(factory: PipelineFactory, ticks: bool) -> Pipeline:
    avatar, _ = factory.load(factory.first_avatar)
    return factory.pipeline(avatar, factory.driver(avatar, "source" if ticks else "camera"))


def _collect(outbox: Outbox, latencies: list[float]) -> None:
    """Note the age of the images that came."""
    while (message := outbox.take()) is not None:
        packed, has_picture = message
        if has_picture:
            outbox.sent()
            latencies.append(1e3 * time.perf_counter() - Answer.unpack(packed).captured)


def _table(summary: dict) -> list[str]:
    shown, dropped = summary["frames"], summary["dropped"]
    lines = [
        f"{summary['fps']} frames per second; {shown} shown, {dropped} dropped",
        f"{'milliseconds':24s} {'p50':>8s} {'p95':>8s}",
    ]
    rows = {name: summary["latency"].get(name) for name in (*STAGES, "total")}
    rows["capture to packed"] = summary.get("capture_to_packed")
    return lines + [
        f"  {name:22s} {row['p50']:8.1f} {row['p95']:8.1f}" for name, row in rows.items() if row and row["p95"]
    ]
