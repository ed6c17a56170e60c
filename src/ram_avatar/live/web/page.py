"""The page that drives the avatar, as the server sees it."""

from collections import deque
from collections.abc import Callable

from ..session.sinks import Outbox, PageSink

_MAX_EVENTS = 256


class Page:
    """One connection of the driving page. Its events and answers wait here for the socket.

    Args:
        tab: identifies the browser tab, which may reconnect.
        wake: called when there is something to send.
    """

    def __init__(self, tab: str, wake: Callable[[], None]):
        self.tab = tab
        self.outbox = Outbox(wake)
        self.sink = PageSink(self.outbox)
        self.events: deque[dict] = deque(maxlen=_MAX_EVENTS)
        self.close_reason: str | None = None
        self._wake = wake

    def send_event(self, event: dict) -> None:
        """Send an event: a JSON object with a `type`."""
        self.events.append(event)
        self._wake()

    def close(self, reason: str) -> None:
        """Close the socket, after what is waiting was sent."""
        self.close_reason = reason
        self._wake()
