"""A session: feeds the newest camera frame through a pipeline and hands the images to sinks."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from ...core.errors import UserError
from ...drivers.driver import Driven
from ..protocol import CameraFrame
from .codecs import FrameDecoder, KeyFrameRequired
from .frame_slot import FrameSlot, TakenFrame
from .pipeline import Pipeline
from .rate_limit import RateLimit
from .sinks import Sink
from .statistics import Statistics
from .worker_thread import WorkerThread

log = logging.getLogger(__name__)

_MAX_COMMANDS = 64
_MAX_FAULTS = 10  # in a row, before the session ends
_SHORTEST_GAP, _LONGEST_GAP = 1e-3, 5.0  # seconds between frames
_BAD_PICTURES, _BAD_PICTURE_BURST = 0.5, 2  # reported, a second and at once; any number is skipped

Command = Callable[[Pipeline], None]


class _BadPicture(Exception):
    """The page sent an image that cannot be used. That is no fault of the session's, however often it happens."""


class Session:
    """Runs a pipeline in its own threads. All methods but `close` return at once and may be called from any thread.

    The worker takes the newest frame and drives the avatar by it. The painter renders the result and hands it to the
    sinks, while the worker is at the next frame already, if that pays. Nothing queues between the two, so at most two
    frames are in progress and one waits.

    Args:
        open_pipeline: called by the worker, since it may take a while.
        send_event: called by the worker with events for the page: `type` is "ready", "trouble" (with `text`),
            "keyframe", or "failed" (with `text`; the session is over).
    """

    def __init__(self, open_pipeline: Callable[[], Pipeline], send_event: Callable[[dict], None]):
        self.statistics = Statistics()
        self._open, self._send_event = open_pipeline, send_event
        self._slot, self._decoder = FrameSlot(), FrameDecoder()
        self._commands: deque[Command] = deque()
        self._sinks: tuple[Sink, ...] = ()
        self._changed = threading.Condition()
        self._stopping = self._ended = False
        self._bad_pictures = RateLimit(_BAD_PICTURES, _BAD_PICTURE_BURST)
        self._faults = 0  # failed frames in a row
        self._fatal: Exception | None = None  # the error of the last of too many
        self._clock = 0.0  # seconds, of the latest frame
        self._captured = 0.0  # its time on the page's clock, seconds
        self._worker = threading.Thread(target=self._run, name="live-worker", daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._worker.start()

    def offer(self, frame: CameraFrame) -> None:
        """Offer a new frame. It replaces one that waits, which is reported as dropped."""
        with self._changed:
            dropped, broken = self._slot.put(frame), self._slot.broken
            self._changed.notify()
        for each in dropped:
            self._drop(each)
        if broken:
            self._send_event({"type": "keyframe"})

    def call(self, command: Command, *, limited: bool = True) -> None:
        """Have the worker call a function with the pipeline before its next frame. Does nothing after the end.

        Args:
            limited: refuse it if too many calls are waiting; for what a page may request any number of times.

        Raises:
            UserError: too many calls are waiting.
        """
        with self._changed:
            if self._ended:
                return
            if limited and len(self._commands) >= _MAX_COMMANDS:
                raise UserError("the server is busy; wait a moment")
            self._commands.append(command)
            self._changed.notify()

    def add(self, sink: Sink) -> None:
        """Add a sink, from the next image on."""
        with self._changed:
            self._sinks = (*self._sinks, sink)

    def remove(self, sink: Sink) -> None:
        """Remove a sink."""
        with self._changed:
            self._sinks = tuple(each for each in self._sinks if each is not sink)

    def reset(self) -> None:
        """Forget the waiting frame and the person. The avatar stays loaded."""
        with self._changed:
            self._slot = FrameSlot()
        self.call(self._reset, limited=False)

    def close(self, timeout: float = 5.0) -> bool:
        """Stop the worker after its current frame; return False if that takes longer than `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._worker.join(timeout)
        return not self._worker.is_alive()

    # In the worker ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pipeline = None
        try:
            pipeline = self._open()
            self._send_event({"type": "ready"})
            self._work(pipeline)
        except UserError as error:
            self._send_event({"type": "failed", "text": str(error)})
        except Exception as error:
            log.exception("the session failed")
            self._send_event({"type": "failed", "text": f"unexpected {type(error).__name__}: {error}"})
        finally:
            with self._changed:
                self._ended = True
            if pipeline is not None:
                pipeline.close()

    def _work(self, pipeline: Pipeline) -> None:
        painter = WorkerThread("live-painter")
        try:
            # The matrices are too small for BLAS threads to pay; while they spin for work they would occupy a core.
            with threadpool_limits(1, user_api="blas"):
                while (work := self._next()) is not None:
                    if isinstance(work, TakenFrame):
                        self._process(pipeline, painter, work)
                    else:
                        painter.wait()
                        with self._reporting_faults():
                            work(pipeline)
                    if self._fatal is not None:
                        raise self._fatal
        finally:
            painter.close()

    def _next(self) -> Command | TakenFrame | None:
        """Wait for a command or a frame; return None when the session is to end."""
        with self._changed:
            while not self._stopping:
                if self._commands:
                    return self._commands.popleft()
                if (taken := self._slot.take()) is not None:
                    return taken
                self._changed.wait()
        return None

    def _process(self, pipeline: Pipeline, painter: WorkerThread, taken: TakenFrame) -> None:
        """Drive the avatar by a frame, and have the painter render it."""
        frame = taken.frame
        with self._reporting_faults(frame):
            started = time.perf_counter()
            rgb = self._decode(taken)
            decoded = time.perf_counter()
            self._advance_clock(frame.captured / 1e3)
            driven = pipeline.drive(rgb, self._clock)
            driven.timings |= {"wait": 1e3 * (started - taken.arrived), "decode": 1e3 * (decoded - started)}
            ready = time.perf_counter()

            def paint() -> None:
                with self._reporting_faults(frame):
                    self._paint(pipeline, taken, driven, ready)

            painter.start(paint)
            if not pipeline.side_by_side:
                painter.wait()

    def _advance_clock(self, captured: float) -> None:
        """Advance by what passed on the page's clock, which may be wrong, and starts anew when the page reloads."""
        self._clock += min(max(captured - self._captured, _SHORTEST_GAP), _LONGEST_GAP)
        self._captured = captured

    def _decode(self, taken: TakenFrame) -> np.ndarray | None:
        """Return the camera image [H, W, 3] uint8 RGB; None for a tick.

        Raises:
            KeyFrameRequired: see `FrameDecoder`.
            _BadPicture: the image cannot be used.
        """
        try:
            for skipped in taken.skipped:
                self._decoder(skipped.coding, skipped.picture)
            return self._decoder(taken.frame.coding, taken.frame.picture)
        except UserError as error:
            raise _BadPicture(str(error)) from None

    def _paint(self, pipeline: Pipeline, taken: TakenFrame, driven: Driven, ready: float) -> None:
        """Render a frame and hand it to the sinks. Called by the painter; `ready` is when `driven` was."""
        driven.timings["wait"] += 1e3 * (time.perf_counter() - ready)
        rendered = pipeline.paint(driven)
        for sink in self._sinks:
            try:
                sink.show(taken.frame, rendered)
            except Exception:  # the other sinks still get the image
                log.exception("a sink failed")
        self._faults = 0
        self.statistics.add(rendered.timings, 1e3 * (time.perf_counter() - taken.arrived))

    @contextmanager
    def _reporting_faults(self, frame: CameraFrame | None = None) -> Iterator[None]:
        """Report an exception to the page and drop the frame it is about; note when there are too many in a row."""
        try:
            yield
        except Exception as error:
            if frame is not None:
                self._drop(frame)
            if isinstance(error, KeyFrameRequired):
                self._send_event({"type": "keyframe"})
                return
            if isinstance(error, _BadPicture):
                if self._bad_pictures.allows():
                    self._send_event({"type": "trouble", "text": f"{error}; skipped"})
                return
            self._faults += 1
            if self._faults >= _MAX_FAULTS:
                self._fatal = error
                return
            known = isinstance(error, UserError)
            if not known:
                log.exception("a frame failed")
            text = str(error) if known else f"unexpected {type(error).__name__}: {error}"
            self._send_event({"type": "trouble", "text": text})

    def _drop(self, frame: CameraFrame) -> None:
        self.statistics.drop()
        for sink in self._sinks:
            sink.drop(frame)

    def _reset(self, pipeline: Pipeline) -> None:
        self._decoder, self._clock, self._captured = FrameDecoder(), 0.0, 0.0
        pipeline.reset()
