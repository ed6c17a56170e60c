"""Those who get the pictures of a session: the page, views of it, a recording, a virtual camera."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core.errors import UserError
from ...core.files import disk_errors
from ...drivers.driver import Status
from ...video import VideoWriter
from ...video.scaling import fit_within
from ..protocol import (
    Answer,
    CameraFrame,
    Coding,
)
from .codecs import (
    PictureEncoder,
    jpeg,
    opacity_below,
)
from .pipeline import Shown

_MOST_WAITING = 256  # answers that nobody fetches
DRIVING_SIDE = 320  # pixels of the driving picture that the page shows small
RECORDED_FPS = 25
LONGEST_RECORDING = 30 * 60  # seconds; then it is ended


class Mailbox:
    """Answers on their way to one socket. At most one of them has a picture, so that a slow network makes the
    picture rare and never late.

    Args:
        wake: called after something was put in, from the thread that put it.
    """

    def __init__(self, wake: Callable[[], None]):
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._picture = False  # one is waiting, or being sent

    @property
    def free(self) -> bool:
        """Whether a picture would be sent at once."""
        return not self._picture

    @property
    def overrun(self) -> bool:
        """Whether the other side sends and does not fetch."""
        return len(self._waiting) >= _MOST_WAITING

    def put(self, answer: Answer) -> None:
        with self._lock:
            if len(self._waiting) < _MOST_WAITING:
                has_picture = answer.coding != Coding.NONE
                self._picture |= has_picture
                self._waiting.append((answer.pack(), has_picture))
        self._wake()

    def take(self) -> tuple[bytes, bool] | None:
        """The next message, and whether it has a picture: then `sent` is due."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def sent(self) -> None:
        """The picture is out."""
        self._picture = False


class PageOutlet:
    """Answers every frame of the page that it belongs to.

    Args:
        h264: pack the pictures as H.264 instead of JPEG.
    """

    def __init__(self, mailbox: Mailbox, *, h264: bool = False):
        self.mailbox = mailbox
        self._encoder = PictureEncoder(h264)
        self._status = Status.WAITING
        self.transparent = False  # as the page's background is

    def show(self, frame: CameraFrame, shown: Shown) -> None:
        started = time.perf_counter()
        self._status = shown.status
        answer = Answer(frame.number, frame.captured, shown.status, landmarks=shown.landmarks, timings=shown.timings)
        if self.mailbox.free:
            answer.opacity_below = self.transparent
            if shown.driving is not None:
                answer.driving = jpeg(fit_within(shown.driving, DRIVING_SIDE), 75)
            answer.coding, answer.picture = self._encoder(opacity_below(shown.rgba) if self.transparent else shown.rgb)
        else:
            answer.dropped = True
        shown.timings["encode"] = 1e3 * (time.perf_counter() - started)
        self.mailbox.put(answer)

    def drop(self, frame: CameraFrame) -> None:
        self.mailbox.put(Answer(frame.number, frame.captured, self._status, dropped=True))

    def start_over(self) -> None:
        """The page needs a picture that stands alone."""
        self._encoder.start_over()

    def pack_as(self, h264: bool) -> None:
        self._encoder = PictureEncoder(h264)


class ViewOutlet:
    """Pictures alone, for a view that sends no frames; with opacity where it asks for it."""

    def __init__(self, mailbox: Mailbox, *, transparent: bool):
        self.mailbox = mailbox
        self._transparent = transparent

    def show(self, frame: CameraFrame, shown: Shown) -> None:
        if not self.mailbox.free:
            return
        packed = jpeg(opacity_below(shown.rgba) if self._transparent else shown.rgb)
        answer = Answer(frame.number, frame.captured, shown.status, Coding.JPEG, packed)
        answer.opacity_below = self._transparent
        self.mailbox.put(answer)

    def drop(self, frame: CameraFrame) -> None:
        pass


class Recorder:
    """Writes what is shown into an .mp4 at a constant rate, in a thread of its own, so that it never slows the loop.

    Args:
        path: the file to be, there once `finish` is done.
        size: width and height of the pictures.
        metadata: says that the film is generated, and by which avatar.
    """

    def __init__(self, path: Path, size: tuple[int, int], metadata: dict[str, str]):
        self.path = path
        self.error: str | None = None
        self._size, self._metadata = size, metadata
        self._frames: queue.Queue[tuple[float, np.ndarray] | None] = queue.Queue(maxsize=8)
        self._keep = True
        self._thread = threading.Thread(target=self._write, name="live-recorder", daemon=True)
        self._thread.start()

    def show(self, frame: CameraFrame, shown: Shown) -> None:
        # Where the disk is slow, the frame before is shown a little longer.
        if not self._frames.full() and self._thread.is_alive():
            self._frames.put_nowait((time.monotonic(), shown.rgb))

    def drop(self, frame: CameraFrame) -> None:
        pass

    def finish(self, keep: bool = True) -> None:
        """Close the file; waits for it. Without `keep` there will be none.

        Raises:
            UserError: nothing was shown meanwhile, or the file cannot be written.
        """
        self._keep = keep
        while self._thread.is_alive():
            try:
                self._frames.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join()
        if keep and self.error:
            raise UserError(self.error)

    def _write(self) -> None:
        try:
            with disk_errors(self.path):
                self._write_video()
        except _Discarded:
            pass
        except UserError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"the recording failed: {type(error).__name__}: {error}"

    def _write_video(self) -> None:
        first = self._frames.get()
        if first is None:
            raise UserError("nothing was recorded: no picture came")
        started, latest = first
        with VideoWriter(self.path, *self._size, RECORDED_FPS, metadata=self._metadata) as video:
            written = 0
            while True:
                following = self._frames.get()
                until = time.monotonic() if following is None else following[0]
                due = round((until - started) * RECORDED_FPS)
                for _ in range(max(due, 1 if following is None else 0) - written):
                    video.write(latest)
                    written += 1
                if following is None:
                    break
                latest = following[1]
            if not self._keep:
                raise _Discarded


class _Discarded(Exception):
    """The recording is not wanted."""


class VirtualCamera:
    """A camera that other programs can choose: needs `pyvirtualcam` and a driver (see docs/live.md).

    Args:
        size: width and height of the pictures.

    Raises:
        UserError: either is missing.
    """

    def __init__(self, size: tuple[int, int]):
        try:
            import pyvirtualcam
        except ImportError:
            raise UserError("--virtual-camera needs one more package: pip install 'ram-avatar[camera]'") from None
        try:
            self._camera = pyvirtualcam.Camera(width=size[0], height=size[1], fps=30, print_fps=False)
        except RuntimeError as error:
            cause = str(error).strip().splitlines()[0]
            raise UserError(f"no virtual camera on this machine ({cause}); docs/live.md says how to get one") from None
        self.name = self._camera.device

    def show(self, frame: CameraFrame, shown: Shown) -> None:
        self._camera.send(shown.rgb)

    def drop(self, frame: CameraFrame) -> None:
        pass

    def close(self) -> None:
        self._camera.close()
