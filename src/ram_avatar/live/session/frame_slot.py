"""A slot for the newest camera frame."""

import time
from dataclasses import dataclass

from ..protocol import CameraFrame, Coding

_MAX_SKIPPED = 16  # H.264 frames that are dropped but must be decoded


@dataclass(frozen=True)
class TakenFrame:
    """A frame to process."""

    frame: CameraFrame
    arrived: float  # seconds, as `time.perf_counter` counts
    skipped: list[CameraFrame]  # dropped frames to decode before it


class FrameSlot:
    """Holds the newest frame until the worker takes it; a newer one replaces it.

    H.264 frames build on the previous ones, so replaced ones are kept to be decoded, up to a limit. Beyond it, all
    frames are dropped until the next key frame. Not thread-safe.
    """

    def __init__(self) -> None:
        self._frame: CameraFrame | None = None
        self._arrived = 0.0
        self._skipped: list[CameraFrame] = []
        self._broken = False

    def put(self, frame: CameraFrame) -> list[CameraFrame]:
        """Store a frame; return the frames dropped for it, which may include itself."""
        if frame.coding == Coding.H264_DELTA and self._broken:
            return [frame]
        dropped = [] if self._frame is None else [self._frame]
        if self._frame is not None and self._frame.coding >= Coding.H264_KEY:
            self._skipped.append(self._frame)
        if frame.coding != Coding.H264_DELTA:
            self._skipped, self._broken = [], False
        self._frame, self._arrived = frame, time.perf_counter()
        if len(self._skipped) > _MAX_SKIPPED:
            self._frame, self._skipped, self._broken = None, [], True
            dropped.append(frame)
        return dropped

    def take(self) -> TakenFrame | None:
        """Return the newest frame and empty the slot."""
        if self._frame is None:
            return None
        taken = TakenFrame(self._frame, self._arrived, self._skipped)
        self._frame, self._skipped = None, []
        return taken

    @property
    def broken(self) -> bool:
        """Whether a key frame is needed before anything can be shown."""
        return self._broken
