"""Statistics of a session: frame rate, latency by stage, and dropped frames."""

import threading
import time
from collections import deque

import numpy as np

from ..protocol import STAGES

_KEPT = 600  # frames: about half a minute
_RATE_WINDOW = 5.0  # seconds over which the frame rate is measured


class Statistics:
    """Counts frames and keeps the timings of the latest ones, in bounded memory. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=_KEPT)  # when each frame was done, seconds
        self._spent: deque[tuple[float, ...]] = deque(maxlen=_KEPT)  # milliseconds by stage, then in total
        self.frames = self.dropped = 0

    def drop(self) -> None:
        """Count a dropped frame."""
        with self._lock:
            self.dropped += 1

    def add(self, timings: dict[str, float], total: float) -> None:
        """Count a frame that was shown.

        Args:
            timings: milliseconds by stage.
            total: milliseconds from its arrival until its image was handed out.
        """
        with self._lock:
            self.frames += 1
            self._times.append(time.perf_counter())
            self._spent.append((*(timings.get(name, 0.0) for name in STAGES), total))

    def summary(self) -> dict:
        """Return `fps`, `frames`, `dropped`, and `latency`: milliseconds {p50, p95} by stage and in `total`."""
        with self._lock:
            now = time.perf_counter()
            recent = [t for t in self._times if now - t < _RATE_WINDOW]
            spent = np.array(self._spent, np.float64)
            frames, dropped = self.frames, self.dropped
        if not len(spent):
            return {"fps": 0.0, "frames": frames, "dropped": dropped, "latency": {}}
        p50s, p95s = np.percentile(spent, [50, 95], axis=0)
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0
        latency = {
            name: {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}
            for name, p50, p95 in zip((*STAGES, "total"), p50s, p95s, strict=True)
        }
        return {"fps": round(rate, 1), "frames": frames, "dropped": dropped, "latency": latency}
