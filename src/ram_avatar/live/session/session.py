"""A session: the newest camera frame, a worker and a painter, and those who get their pictures."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from threadpoolctl import threadpool_limits

from ...core.errors import UserError
from ..protocol import CameraFrame, Coding
from .codecs import FrameDecoder, NeedsKey
from .pipeline import Driven, Pipeline, Shown
from .statistics import Figures
from .worker_thread import Beside

log = logging.getLogger(__name__)

_MOST_SKIPPED = 16  # H.264 pictures that are passed over but have to be unpacked
_MOST_COMMANDS = 64
_MOST_FAULTS = 10  # in a row; then the session is given up


class Outlet(Protocol):
    """Somebody who gets the pictures, in order. Called by the session's threads; must not block them.

    `drop` may be called while `show` runs.
    """

    def show(self, frame: CameraFrame, shown: Shown) -> None:
        """A picture for a frame. Time that is spent on it goes into `shown.timings`."""
        ...

    def drop(self, frame: CameraFrame) -> None:
        """No picture will come for this frame."""
        ...


class Slot:
    """Holds the newest frame until the worker takes it; an older one gives way.

    H.264 pictures build on the ones before, so that those which give way are kept to be unpacked, up to a number;
    beyond it all wait for the next key picture.
    """

    def __init__(self):
        self._frame: CameraFrame | None = None
        self._arrived = 0.0
        self._skipped: list[CameraFrame] = []
        self._broken = False

    def put(self, frame: CameraFrame) -> list[CameraFrame]:
        """Returns the frames that are dropped for it, or it itself."""
        if frame.coding == Coding.H264_DELTA and self._broken:
            return [frame]
        dropped = [] if self._frame is None else [self._frame]
        if self._frame is not None and self._frame.coding >= Coding.H264_KEY:
            self._skipped.append(self._frame)
        if frame.coding != Coding.H264_DELTA:
            self._skipped, self._broken = [], False
        self._frame, self._arrived = frame, time.perf_counter()
        if len(self._skipped) > _MOST_SKIPPED:
            self._frame, self._skipped, self._broken = None, [], True
            dropped.append(frame)
        return dropped

    def take(self) -> tuple[CameraFrame, float, list[CameraFrame]] | None:
        """The newest frame, when it arrived, and the ones to be unpacked before it."""
        if self._frame is None:
            return None
        taken = self._frame, self._arrived, self._skipped
        self._frame, self._skipped = None, []
        return taken

    @property
    def broken(self) -> bool:
        """A key picture is needed before anything can be shown."""
        return self._broken


class Session:
    """Runs a pipeline in threads of its own. All methods return at once; any thread may call them.

    The worker takes the newest frame and drives the avatar by it; the painter paints what came of it and hands it out,
    while the worker is at the next frame already, where that is worth it. Nothing waits between the two but what
    the worker holds, so that at most two frames are under way and one waits.

    Args:
        open_pipeline: called by the worker, since it may take a while.
        tell: called by the worker with events for whoever shows them: `type` is "ready", "trouble" (`text`),
            "keyframe" or "failed" (`text`; the session is over).
    """

    def __init__(self, open_pipeline: Callable[[], Pipeline], tell: Callable[[dict], None]):
        self.figures = Figures()
        self._open, self._tell = open_pipeline, tell
        self._slot, self._decoder = Slot(), FrameDecoder()
        self._commands: deque[Callable[[Pipeline], None]] = deque()
        self._outlets: tuple[Outlet, ...] = ()
        self._changed = threading.Condition()
        self._stopping = self._ended = False
        self._faults = 0  # frames in a row that failed
        self._fatal: Exception | None = None  # what the last of too many failed with
        self._clock = 0.0  # seconds, of the latest frame
        self._worker = threading.Thread(target=self._run, name="live-worker", daemon=True)

    def start(self) -> None:
        self._worker.start()

    def offer(self, frame: CameraFrame) -> None:
        """A new frame. Whatever waits is dropped for it, and said to be."""
        with self._changed:
            dropped, broken = self._slot.put(frame), self._slot.broken
            self._changed.notify()
        for each in dropped:
            self._drop(each)
        if broken:
            self._tell({"type": "keyframe"})

    def call(self, command: Callable[[Pipeline], None]) -> None:
        """Let the worker do something with the pipeline, before its next frame. After its end that is nothing.

        Raises:
            UserError: too much is waiting already.
        """
        with self._changed:
            if self._ended:
                return
            if len(self._commands) >= _MOST_COMMANDS:
                raise UserError("the server is busy; wait a moment")
            self._commands.append(command)
            self._changed.notify()

    def add(self, outlet: Outlet) -> None:
        with self._changed:
            self._outlets = (*self._outlets, outlet)

    def remove(self, outlet: Outlet) -> None:
        with self._changed:
            self._outlets = tuple(each for each in self._outlets if each is not outlet)

    def rest(self) -> None:
        """The page is gone: forget its frames and its person; the avatar stays loaded."""
        with self._changed:
            self._slot = Slot()
        self.call(self._forget)

    def close(self, timeout: float = 5.0) -> bool:
        """Stop the worker after the frame it is at; False where that takes longer than `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._worker.join(timeout)
        return not self._worker.is_alive()

    # The worker's -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pipeline = None
        try:
            pipeline = self._open()
            self._tell({"type": "ready"})
            self._work(pipeline)
        except UserError as error:
            self._tell({"type": "failed", "text": str(error)})
        except Exception as error:
            log.exception("the session ended")
            self._tell({"type": "failed", "text": f"unexpected {type(error).__name__}: {error}"})
        finally:
            with self._changed:
                self._ended = True
            if pipeline is not None:
                pipeline.close()

    def _work(self, pipeline: Pipeline) -> None:
        painter = Beside("live-painter")
        try:
            # BLAS is used for matrices too small to share; its threads, waiting for more, would take a core.
            with threadpool_limits(1, user_api="blas"):
                while (work := self._next()) is not None:
                    if callable(work):
                        painter.finish()
                        self._try(None, lambda command=work: command(pipeline))
                    else:
                        self._try(work[0], lambda taken=work: self._step(pipeline, painter, *taken))
                    if self._fatal is not None:
                        raise self._fatal
        finally:
            painter.close()

    def _try(self, frame: CameraFrame | None, work: Callable[[], None]) -> None:
        """Do something; if it fails, that is told, and the frame that it was for is dropped."""
        try:
            work()
        except NeedsKey:
            self._drop(frame)
            self._tell({"type": "keyframe"})
        except Exception as error:
            if frame is not None:
                self._drop(frame)
            self._faults += 1
            if self._faults >= _MOST_FAULTS:
                self._fatal = error
                return
            known = isinstance(error, UserError)
            if not known:
                log.exception("a frame failed")
            text = str(error) if known else f"unexpected {type(error).__name__}: {error}"
            self._tell({"type": "trouble", "text": text})

    def _next(self):
        """A command, or a frame as `Slot.take` gives it; None when all is over."""
        with self._changed:
            while not self._stopping:
                if self._commands:
                    return self._commands.popleft()
                if (taken := self._slot.take()) is not None:
                    return taken
                self._changed.wait()
        return None

    def _step(
        self,
        pipeline: Pipeline,
        painter: Beside,
        frame: CameraFrame,
        arrived: float,
        skipped: list[CameraFrame],
    ) -> None:
        started = time.perf_counter()
        for passed in skipped:
            self._decoder(passed.coding, passed.picture)
        rgb = self._decoder(frame.coding, frame.picture)
        decoded = time.perf_counter()
        # The page's clock tells how far frames are apart; it has to go forward whatever the page says.
        self._clock = max(self._clock + 1e-3, frame.captured / 1e3)
        driven = pipeline.drive(rgb, self._clock)
        driven.timings |= {"wait": 1e3 * (started - arrived), "decode": 1e3 * (decoded - started)}
        ready = time.perf_counter()
        paint = lambda: self._paint(pipeline, frame, driven, arrived, ready)
        painter.start(lambda: self._try(frame, paint))
        if not pipeline.side_by_side:
            painter.finish()

    def _paint(self, pipeline: Pipeline, frame: CameraFrame, driven: Driven, arrived: float, ready: float) -> None:
        """The painter's: what came of a frame that arrived, and was driven by, at these times."""
        driven.timings["wait"] += 1e3 * (time.perf_counter() - ready)
        shown = pipeline.paint(driven)
        for outlet in self._outlets:
            try:
                outlet.show(frame, shown)
            except Exception:  # one of them is no reason to leave the others without their picture
                log.exception("a picture was not delivered")
        self._faults = 0
        self.figures.done(shown.timings, 1e3 * (time.perf_counter() - arrived))

    def _drop(self, frame: CameraFrame) -> None:
        self.figures.drop()
        for outlet in self._outlets:
            outlet.drop(frame)

    def _forget(self, pipeline: Pipeline) -> None:
        self._decoder, self._clock = FrameDecoder(), 0.0
        pipeline.reset()
