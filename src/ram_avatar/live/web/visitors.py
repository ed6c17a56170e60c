"""Connections: how many there may be, and how long one may wait before it shows that it is allowed to be there."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from .addresses import neighbourhood

PATIENCE = 10.0  # seconds for the TLS handshake, a request's headers and all that comes before one that is allowed
MAX_WAITING = 64  # connections without an allowed request
MAX_WAITING_PER_ADDRESS = 16
MAX_ADMITTED = 64  # connections with one


class Visitor:
    """One connection.

    It waits until a request of its is allowed, and again after the response.
    """

    def __init__(self, visitors: "Visitors", transport: asyncio.Transport):
        self.address = neighbourhood(_host(transport))
        self._visitors, self._transport = visitors, transport

    @property
    def closed(self) -> bool:
        """Whether the connection ended, or is about to."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection without waiting for the other side."""
        self._transport.abort()

    def admitted(self) -> AbstractContextManager[bool]:
        """Return a context that holds a place for an allowed request; it yields whether there is one."""
        return self._visitors.admitting(self)


class Visitors:
    """The connections of a server.

    Where too many wait, the newest is let in and the one that has waited longest is closed: whoever sends an allowed
    request at once gets through, however many others keep silent. Those with an allowed request have places of their
    own. Lives in the server's event loop.
    """

    def __init__(self) -> None:
        self._waiting: dict[Visitor, asyncio.TimerHandle] = {}  # in order of arrival, with the end of patience
        self._admitted = 0

    def arrive(self, transport: asyncio.Transport) -> Visitor:
        """Take a new connection; close an older one if too many wait."""
        visitor = Visitor(self, transport)
        self._make_room(visitor.address)
        self._wait(visitor)
        return visitor

    @contextmanager
    def admitting(self, visitor: Visitor) -> Iterator[bool]:
        """See `Visitor.admitted`."""
        if self._admitted >= MAX_ADMITTED:
            yield False
            return
        self._forget(visitor)
        self._admitted += 1
        try:
            yield True
        finally:
            self._admitted -= 1
            if not visitor.closed:
                self._wait(visitor)

    def _wait(self, visitor: Visitor) -> None:
        timer = asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience, visitor)
        self._waiting[visitor] = timer

    def _lose_patience(self, visitor: Visitor) -> None:
        del self._waiting[visitor]
        visitor.close()

    def _forget(self, visitor: Visitor) -> None:
        timer = self._waiting.pop(visitor, None)
        if timer is not None:
            timer.cancel()

    def _make_room(self, address: str) -> None:
        """Close one connection if too many wait: of this address, or else of the address that has most."""
        for visitor in [each for each in self._waiting if each.closed]:
            self._forget(visitor)
        counts = Counter(each.address for each in self._waiting)
        if counts[address] < MAX_WAITING_PER_ADDRESS:
            if counts.total() < MAX_WAITING:
                return
            address = counts.most_common(1)[0][0]
        longest = next(each for each in self._waiting if each.address == address)
        self._forget(longest)
        longest.close()


def _host(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return peer[0] if peer else ""  # it closed already
