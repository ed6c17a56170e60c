"""How a session goes: frames a second, latency by stage, drops; over the last seconds, in bounded memory."""

import threading
import time
from collections import deque

import numpy as np

from ..protocol import STAGES

_KEPT = 600  # frames: about half a minute
_RECENT = 5.0  # seconds over which frames are counted


class Figures:
    """Counts frames and keeps the times of the last ones. Threads may share it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=_KEPT)  # when frames were done, seconds
        self._spent: deque[tuple[float, ...]] = deque(maxlen=_KEPT)  # milliseconds by stage, then in all
        self.frames = self.dropped = 0

    def drop(self) -> None:
        """A frame gave way to a newer one."""
        with self._lock:
            self.dropped += 1

    def done(self, timings: dict[str, float], total: float) -> None:
        """A frame was shown: milliseconds by stage, and from its arrival to its departure."""
        with self._lock:
            self.frames += 1
            self._times.append(time.perf_counter())
            self._spent.append((*(timings.get(name, 0.0) for name in STAGES), total))

    def summary(self) -> dict:
        """`fps`, `frames`, `dropped`, and `latency`: milliseconds {p50, p95} by stage, and of `total`."""
        with self._lock:
            now = time.perf_counter()
            recent = [t for t in self._times if now - t < _RECENT]
            spent = np.array(self._spent, np.float64)
            frames, dropped = self.frames, self.dropped
        if not len(spent):
            return {"fps": 0.0, "frames": frames, "dropped": dropped, "latency": {}}
        middle, late = np.percentile(spent, [50, 95], axis=0)
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0
        latency = {
            name: {"p50": round(float(a), 1), "p95": round(float(b), 1)}
            for name, a, b in zip((*STAGES, "total"), middle, late, strict=True)
        }
        return {"fps": round(rate, 1), "frames": frames, "dropped": dropped, "latency": latency}
