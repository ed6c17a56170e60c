"""A rate limit."""

import time


class RateLimit:
    """A token bucket: at most `rate` events a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: int):
        self._rate, self._burst = rate, burst
        self._left, self._then = float(burst), time.monotonic()

    def allows(self) -> bool:
        """Count one event; return False if it exceeds the limit."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + self._rate * (now - self._then))
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
