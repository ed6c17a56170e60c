"""The door: what every connection passes before its first byte of HTTP is read."""

import asyncio
import ssl
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from .visitors import PATIENCE, Visitors


class Http(H11Protocol):
    """Uvicorn's HTTP protocol, which answers 400 to every malformed request."""

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the body is malformed: the application must not answer, too
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # there was an answer already
            self.transport.abort()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        upgraded = self.transport.get_protocol()
        # It parses the request again, by its own limits, and waits for more where it fails.
        if isinstance(upgraded, WebSocketsSansIOProtocol) and not upgraded.handshake_initiated:
            self.send_400_response("Invalid websocket request received.")


class Door(asyncio.Protocol):
    """Registers a connection as a visitor, completes its TLS handshake, and hands it to `Http`.

    Uvicorn itself sees a connection only after the handshake, for which it allows a minute, and then waits for a
    request for ever. Every request's `state` has the `visitor`.

    Args:
        visitors: of this server.
        tls: for HTTPS; None for HTTP.
        config, server_state, app_state, _loop: what uvicorn gives a protocol.
    """

    def __init__(
        self,
        visitors: Visitors,
        tls: ssl.SSLContext | None,
        *,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ):
        self._visitors, self._tls = visitors, tls
        self._config, self._server, self._state = config, server_state, app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()  # what came with the end of the handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        visitor = self._visitors.arrive(transport)
        http = Http(self._config, self._server, self._state | {"visitor": visitor}, self._loop)
        if self._tls is None:
            _hand_over(transport, http)
            return
        self._server.connections.add(self)  # type: ignore[arg-type] # `shutdown` is what it calls
        task = self._loop.create_task(self._shake_hands(transport, http, self._tls))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def data_received(self, data: bytes) -> None:
        self._early += data

    def shutdown(self) -> None:
        """Close the connection. Called by uvicorn when the server ends."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport, http: Http, tls: ssl.SSLContext) -> None:
        try:
            with suppress(OSError):  # what the other side sends is no TLS, or nothing
                safe = await self._loop.start_tls(
                    transport,
                    self,
                    tls,
                    server_side=True,
                    ssl_handshake_timeout=PATIENCE,
                    ssl_shutdown_timeout=PATIENCE,
                )
                if safe is not None and not safe.is_closing():
                    _hand_over(safe, http)
                    if self._early:
                        http.data_received(bytes(self._early))
        finally:
            self._server.connections.discard(self)


def _hand_over(transport: asyncio.Transport, http: Http) -> None:
    transport.set_protocol(http)
    http.connection_made(transport)
