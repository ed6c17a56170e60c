"""A sink that writes a video file."""

import queue
import threading
import time
from pathlib import Path

import numpy as np

from ...core.errors import UserError
from ...core.files import disk_errors
from ...video import VideoWriter
from ..protocol import CameraFrame
from .pipeline import RenderedFrame

FPS = 25
_QUEUED = 8  # frames


class Recorder:
    """Writes what is shown to an .mp4 at a constant rate, in its own thread, so that it never slows down the session.

    Args:
        path: the file, complete after `finish`.
        size: width and height of the images.
        metadata: states that the video is generated, and by which avatar.
    """

    def __init__(self, path: Path, size: tuple[int, int], metadata: dict[str, str]):
        self.path = path
        self.error: str | None = None
        self._size, self._metadata = size, metadata
        self._frames: queue.Queue[tuple[float, np.ndarray] | None] = queue.Queue(maxsize=_QUEUED)
        self._thread = threading.Thread(target=self._write, name="live-recorder", daemon=True)
        self._thread.start()

    def show(self, frame: CameraFrame, rendered: RenderedFrame) -> None:
        """Record the image."""
        # On a slow disk the frame is skipped: the previous one is shown a little longer.
        if not self._frames.full() and self._thread.is_alive():
            self._frames.put_nowait((time.monotonic(), rendered.rgb))

    def drop(self, frame: CameraFrame) -> None:
        """Do nothing: the previous image is shown longer."""

    def finish(self) -> None:
        """Complete the file. Blocks until it is written.

        Raises:
            UserError: no image came, or the file cannot be written.
        """
        while self._thread.is_alive():
            try:
                self._frames.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join()
        if self.error:
            raise UserError(self.error)

    def _write(self) -> None:
        try:
            with disk_errors(self.path):
                self._write_video()
        except UserError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"the recording failed: {type(error).__name__}: {error}"

    def _write_video(self) -> None:
        first = self._frames.get()
        if first is None:
            raise UserError("nothing was recorded: there were no images")
        started, latest = first
        with VideoWriter(self.path, *self._size, FPS, metadata=self._metadata) as video:
            written = 0
            while True:
                following = self._frames.get()
                until = time.monotonic() if following is None else following[0]
                due = round((until - started) * FPS)
                for _ in range(max(due, 1 if following is None else 0) - written):
                    video.write(latest)
                    written += 1
                if following is None:
                    break
                latest = following[1]
