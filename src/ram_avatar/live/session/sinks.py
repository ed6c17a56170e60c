"""Sinks: where the images of a session go. Here: the page and its views; see also `recorder`, `virtual_camera`."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ...drivers.driver import Status
from ...video.scaling import fit_within
from ..protocol import Answer, CameraFrame, Coding
from .codecs import ImageEncoder, encode_jpeg, stack_opacity
from .pipeline import RenderedFrame

_MAX_WAITING = 256  # answers that nobody fetches
_DRIVING_SIDE = 320  # pixels of the driving image, which the page shows small
_DRIVING_QUALITY = 75


class Sink(Protocol):
    """Gets the images of a session, in order. Called by the session's threads; must not block them.

    `drop` may be called while `show` runs.
    """

    def show(self, frame: CameraFrame, rendered: RenderedFrame) -> None:
        """Take the image for a camera frame. Add the time spent to `rendered.timings`."""
        ...

    def drop(self, frame: CameraFrame) -> None:
        """Learn that no image will come for this frame."""
        ...


class Outbox:
    """Answers waiting to be sent over one socket. At most one of them holds an image, so that on a slow network
    images become fewer but never late.

    Args:
        wake: called after an answer was put in, by the thread that put it.
    """

    def __init__(self, wake: Callable[[], None]):
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._has_picture = False  # waiting, or being sent

    @property
    def free(self) -> bool:
        """Whether an image would be sent at once."""
        return not self._has_picture

    @property
    def overrun(self) -> bool:
        """Whether the client sends frames without fetching the answers."""
        return len(self._waiting) >= _MAX_WAITING

    def put(self, answer: Answer) -> None:
        """Add an answer; discard it if too many are waiting."""
        with self._lock:
            if len(self._waiting) < _MAX_WAITING:
                has_picture = answer.coding != Coding.NONE
                self._has_picture |= has_picture
                self._waiting.append((answer.pack(), has_picture))
        self._wake()

    def take(self) -> tuple[bytes, bool] | None:
        """Return the next message, and whether it holds an image; if so, call `sent` once it is sent."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def sent(self) -> None:
        """Report that the image was sent."""
        self._has_picture = False


class PageSink:
    """Answers every frame of a page, with JPEG images at first."""

    def __init__(self, outbox: Outbox):
        self.outbox = outbox
        self._encoder = ImageEncoder()
        self._status = Status.WAITING
        self.transparent = False  # send opacity, for a transparent background

    def show(self, frame: CameraFrame, rendered: RenderedFrame) -> None:
        """Answer with the image, or without if the previous one is not sent yet."""
        started = time.perf_counter()
        self._status = rendered.status
        answer = Answer(
            frame.number, frame.captured, rendered.status, landmarks=rendered.landmarks, timings=rendered.timings
        )
        if self.outbox.free:
            answer.opacity_below = self.transparent
            if rendered.driving is not None:
                answer.driving = encode_jpeg(fit_within(rendered.driving, _DRIVING_SIDE), _DRIVING_QUALITY)
            image = stack_opacity(rendered.rgba) if self.transparent else rendered.rgb
            answer.coding, answer.picture = self._encoder(image)
        else:
            answer.dropped = True
        rendered.timings["encode"] = 1e3 * (time.perf_counter() - started)
        self.outbox.put(answer)

    def drop(self, frame: CameraFrame) -> None:
        """Answer that the frame was dropped."""
        self.outbox.put(Answer(frame.number, frame.captured, self._status, dropped=True))

    def restart(self) -> None:
        """Send a key frame next."""
        self._encoder.restart()

    def use_h264(self, h264: bool) -> None:
        """Choose between H.264 and JPEG."""
        self._encoder = ImageEncoder(h264)


class ViewSink:
    """Sends images to a view, which sends no frames.

    Args:
        transparent: send opacity instead of the background.
    """

    def __init__(self, outbox: Outbox, *, transparent: bool):
        self.outbox = outbox
        self._transparent = transparent

    def show(self, frame: CameraFrame, rendered: RenderedFrame) -> None:
        """Send the image, unless the previous one is not sent yet."""
        if not self.outbox.free:
            return
        encoded = encode_jpeg(stack_opacity(rendered.rgba) if self._transparent else rendered.rgb)
        answer = Answer(frame.number, frame.captured, rendered.status, Coding.JPEG, encoded)
        answer.opacity_below = self._transparent
        self.outbox.put(answer)

    def drop(self, frame: CameraFrame) -> None:
        """Do nothing."""
