"""Recordings of a server: the one in progress, and finished ones."""

import asyncio
import secrets
import time
from pathlib import Path

from ...core.errors import UserError
from ..session.recorder import Recorder

MAX_SECONDS = 30 * 60  # of one recording
_MAX_KEPT = 5


class Recordings:
    """Makes one recording at a time, and keeps the last few until the server ends.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path):
        self.finished: dict[str, Path] = {}
        self.recorder: Recorder | None = None
        self._folder = folder
        self._started = 0.0

    def start(self, size: tuple[int, int], metadata: dict[str, str]) -> Recorder:
        """Start a recording, see `Recorder`; remove the oldest finished one if there are too many.

        Raises:
            UserError: a recording is in progress.
        """
        if self.recorder is not None:
            raise UserError("a recording is already in progress")
        while len(self.finished) >= _MAX_KEPT:
            self.finished.pop(next(iter(self.finished))).unlink(missing_ok=True)
        self.recorder = Recorder(self._folder / f"{secrets.token_urlsafe(12)}.mp4", size, metadata)
        self._started = time.monotonic()
        return self.recorder

    @property
    def overdue(self) -> bool:
        """Whether the recording has to end: it is too long, or cannot be written."""
        if self.recorder is None:
            return False
        return time.monotonic() - self._started > MAX_SECONDS or self.recorder.error is not None

    async def finish(self, recorder: Recorder) -> dict:
        """Finish the recording in progress.

        Returns:
            `recording` and `seconds`: the name under which `finished` has it, and its length; or `text`: why there
            is none.
        """
        self.recorder = None
        try:
            await asyncio.to_thread(recorder.finish)
        except UserError as error:
            return {"text": str(error)}
        self.finished[recorder.path.stem] = recorder.path
        return {"recording": recorder.path.stem, "seconds": round(time.monotonic() - self._started, 1)}
