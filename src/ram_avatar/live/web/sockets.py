"""Websockets: the page that drives the avatar, and views that only watch."""

import asyncio
import contextlib
import json
from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect

from ...core.errors import UserError
from ..protocol import STAGES, CameraFrame, CloseCode, parse_request
from ..session.rate_limit import RateLimit
from ..session.sinks import Outbox, ViewSink
from .hub import Hub
from .page import Page

_MESSAGES, _MESSAGE_BURST = 200.0, 400  # from a page, a second and at once
_VIEW_MESSAGES, _VIEW_MESSAGE_BURST = 1.0, 10
_STATISTICS_INTERVAL = 1.0  # seconds


async def serve_page(socket: WebSocket) -> None:
    """Serve the page that drives the avatar."""
    await socket.accept()
    hub: Hub = socket.app.state.hub
    wake = asyncio.Event()
    page = Page(socket.query_params.get("page", "")[:64], _waker(wake))
    if not hub.connect(page, take_over=socket.query_params.get("take") == "1"):
        await socket.close(CloseCode.BUSY, "another page drives this avatar")
        return
    try:
        await _run_until_first_ends(
            asyncio.create_task(_send_page(socket, page, wake)),
            asyncio.create_task(_receive(socket, hub, page)),
            asyncio.create_task(_report(hub, page)),
        )
    finally:
        hub.disconnect(page)


async def serve_view(socket: WebSocket) -> None:
    """Serve a view, which gets images and nothing else."""
    await socket.accept()
    hub: Hub = socket.app.state.hub
    wake = asyncio.Event()
    outbox = Outbox(_waker(wake))
    view = ViewSink(outbox, transparent=socket.path_params["background"] != "scene")
    if not hub.add_view(view):
        await socket.close(CloseCode.TOO_MANY, "too many views are open")
        return
    try:
        await _run_until_first_ends(
            asyncio.create_task(_send_view(socket, outbox, wake)),
            asyncio.create_task(_ignore(socket)),
        )
    finally:
        hub.remove_view(view)


def _waker(wake: asyncio.Event) -> Callable[[], None]:
    """Return a function that sets the event from any thread."""
    loop = asyncio.get_running_loop()

    def call() -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended before the worker
            loop.call_soon_threadsafe(wake.set)

    return call


async def _run_until_first_ends(*tasks: asyncio.Task[None]) -> None:
    """Wait until one task of a connection ends, then cancel the others."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        # Starlette raises RuntimeError when a socket closes in the middle of sending.
        if error is not None and not isinstance(error, (WebSocketDisconnect, RuntimeError)):
            raise error


async def _receive(socket: WebSocket, hub: Hub, page: Page) -> None:
    limit = RateLimit(_MESSAGES, _MESSAGE_BURST)
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if not limit.allows() or page.outbox.overrun:
            await socket.close(CloseCode.TOO_MANY, "too many messages")
            return
        if page is not hub.page:
            continue
        try:
            if message.get("bytes") is not None:
                hub.session.offer(CameraFrame.unpack(message["bytes"]))
            else:
                await hub.handle(parse_request(message["text"]))
        except UserError as error:
            page.send_event({"type": "refused", "text": str(error)})


async def _send_page(socket: WebSocket, page: Page, wake: asyncio.Event) -> None:
    while True:
        await wake.wait()
        wake.clear()
        while page.events:
            await socket.send_text(json.dumps(page.events.popleft()))
        await _send_answers(socket, page.outbox)
        if page.close_reason is not None:
            await socket.close(CloseCode.TAKEN, page.close_reason)
            return


async def _send_view(socket: WebSocket, outbox: Outbox, wake: asyncio.Event) -> None:
    while True:
        await wake.wait()
        wake.clear()
        await _send_answers(socket, outbox)


async def _send_answers(socket: WebSocket, outbox: Outbox) -> None:
    while (taken := outbox.take()) is not None:
        message, has_picture = taken
        await socket.send_bytes(message)
        if has_picture:
            outbox.sent()


async def _report(hub: Hub, page: Page) -> None:
    """Send statistics regularly."""
    while True:
        await asyncio.sleep(_STATISTICS_INTERVAL)
        await hub.end_overdue_recording()
        page.send_event({"type": "statistics", "stages": STAGES, **hub.session.statistics.summary()})


async def _ignore(socket: WebSocket) -> None:
    """Discard what a view sends; close the socket if it sends too much."""
    limit = RateLimit(_VIEW_MESSAGES, _VIEW_MESSAGE_BURST)
    while (await socket.receive())["type"] != "websocket.disconnect":
        if not limit.allows():
            await socket.close(CloseCode.TOO_MANY)
            return
