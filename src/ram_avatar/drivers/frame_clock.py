"""Time between frames that come at no constant rate."""

_SHORTEST, _LONGEST = 1e-3, 0.5  # seconds between two frames, as motion counts them


class FrameClock:
    """Measures the time between frames, within bounds, so that a stalled stream makes no jump.

    Args:
        fps: nominal rate, for the first frame.
    """

    def __init__(self, fps: float):
        self._fps = fps
        self._last: float | None = None

    def step(self, seconds: float) -> float:
        """Return the seconds since the last frame, 0.001 to 0.5, for a frame at time `seconds`."""
        last, self._last = self._last, seconds
        return 1 / self._fps if last is None else min(max(seconds - last, _SHORTEST), _LONGEST)
