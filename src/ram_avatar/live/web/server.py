"""The server: one page, its websocket, its views, uploads and recordings."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...core.errors import UserError
from ...video.sandbox import MAX_FILM_BYTES, MAX_PICTURE_BYTES
from ..protocol import STAGES, CameraFrame, parse_request
from ..session.sinks import Mailbox, ViewOutlet
from ..studio import Studio
from .access import Access, RateLimit
from .host import Host, Page

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGES = {"": "index.html", "view": "view.html"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_MESSAGES, _BURST = 200.0, 400  # of a page, a second and at once
_UPLOADS, _UPLOAD_BURST = 0.2, 5
_UPLOAD_TIME = 600  # seconds that one may take
_FIGURES_EVERY = 1.0  # seconds
BUSY, TAKEN, REFUSED, TOO_MUCH, ENDED = 4409, 4410, 4403, 4429, 4000
"""Codes that close a websocket: another page drives; it took over; not allowed; too many messages or views; the
session cannot go on."""


def create_app(studio: Studio, access: Access, *, virtual_camera: bool = False) -> Starlette:
    """The application; its session starts and ends with it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="ram-avatar-live-") as folder:
            app.state.host = Host(studio, Path(folder), virtual_camera=virtual_camera)
            app.state.host.session.start()
            try:
                yield
            finally:
                app.state.ended = await app.state.host.stop()

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/upload/{kind}", _upload, methods=["POST"]),
            Route("/recordings/{name}.mp4", _recording),
            Route("/{path:path}", _page),
            WebSocketRoute("/socket", _socket),
            WebSocketRoute("/socket/view/{background}", _view_socket),
        ],
    )
    app.state.access = access
    app.state.uploads = RateLimit(_UPLOADS, _UPLOAD_BURST)
    app.state.uploading = asyncio.Lock()
    return app


def _refused(connection: HTTPConnection, *, from_page: bool) -> str | None:
    access: Access = connection.app.state.access
    return access.refusal(connection.headers, connection.cookies, from_page=from_page)


# Files ------------------------------------------------------------------------------------------------------


async def _page(request: Request) -> Response:
    access: Access = request.app.state.access
    path = request.path_params["path"]
    given = request.query_params.get("token")
    if given is not None and access.allows_token(given) and access.allows_host(request.headers.get("host")):
        return _keep_token(request, access)
    if (refused := _refused(request, from_page=False)) is not None:
        return PlainTextResponse(f"Not allowed: {refused}.\n", 403, _HEADERS)
    name = _PAGES.get(path, path)
    file = files(__package__) / "static" / name
    if "/" in name or Path(name).suffix not in _TYPES or not file.is_file():
        return PlainTextResponse("There is no such page.\n", 404, _HEADERS)
    return Response(file.read_bytes(), 200, _HEADERS, media_type=_TYPES[Path(name).suffix])


def _keep_token(request: Request, access: Access) -> Response:
    """The key moves from the address, which is seen and kept in histories, into a cookie."""
    rest = request.url.remove_query_params("token")
    answer = RedirectResponse(f"{rest.path}?{rest.query}" if rest.query else rest.path, 303, _HEADERS)
    answer.set_cookie(access.cookie, access.token or "", httponly=True, samesite="strict", secure=access.tls, path="/")
    return answer


async def _recording(request: Request) -> Response:
    if (refused := _refused(request, from_page=False)) is not None:
        return PlainTextResponse(f"Not allowed: {refused}.\n", 403, _HEADERS)
    host: Host = request.app.state.host
    path = host.recordings.get(request.path_params["name"])
    if path is None:
        return PlainTextResponse("This recording is not there any more.\n", 404, _HEADERS)
    return FileResponse(path, headers=_HEADERS, filename=f"{host.studio.current}.mp4", media_type="video/mp4")


async def _upload(request: Request) -> Response:
    """A file as the body of the request, its name in the header X-Name."""
    if (refused := _refused(request, from_page=True)) is not None:
        return JSONResponse({"text": f"Not allowed: {refused}."}, 403, _HEADERS)
    state, kind = request.app.state, request.path_params["kind"]
    host: Host = state.host
    if kind not in ("film", "picture"):
        return JSONResponse({"text": "There is no such upload."}, 404, _HEADERS)
    if host.page is None or state.uploading.locked() or not state.uploads.allows():
        return JSONResponse({"text": "One upload at a time, from the page that drives; try again."}, 429, _HEADERS)
    name = Path(unquote(request.headers.get("x-name", ""))).name[:80] or f"the {kind}"
    async with state.uploading:
        path = host.scratch()
        try:
            async with asyncio.timeout(_UPLOAD_TIME):
                await _receive(request, path, MAX_FILM_BYTES if kind == "film" else MAX_PICTURE_BYTES, name)
            await (host.take_film if kind == "film" else host.take_picture)(path, name)
        except TimeoutError:
            return JSONResponse({"text": f"{name} took longer than {_UPLOAD_TIME // 60} minutes"}, 408, _HEADERS)
        except UserError as error:
            return JSONResponse({"text": str(error)}, 400, _HEADERS)
    return JSONResponse({"name": name}, 200, _HEADERS)


async def _receive(request: Request, path: Path, most: int, name: str) -> None:
    """The body into a file, never more than `most` bytes of it."""
    received = 0
    try:
        with path.open("xb") as file:
            async for part in request.stream():
                received += len(part)
                if received > most:
                    raise UserError(f"{name} is larger than {most >> 20} MB; that is the most that is taken")
                file.write(part)
        if not received:
            raise UserError(f"{name} is empty")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


# Websockets -------------------------------------------------------------------------------------------------


async def _socket(socket: WebSocket) -> None:
    """The page that drives."""
    if _refused(socket, from_page=True) is not None:
        await socket.close(REFUSED)
        return
    await socket.accept()
    host: Host = socket.app.state.host
    wake, loop = asyncio.Event(), asyncio.get_running_loop()
    page = Page(socket.query_params.get("page", "")[:64], _waker(loop, wake))
    if not host.enter(page, take_over=socket.query_params.get("take") == "1"):
        await socket.close(BUSY, "another page drives this avatar")
        return
    tasks = [
        asyncio.create_task(_send(socket, page, wake)),
        asyncio.create_task(_listen(socket, host, page)),
        asyncio.create_task(_report(host, page)),
    ]
    try:
        await _first_to_end(tasks)
    finally:
        host.leave(page)


async def _view_socket(socket: WebSocket) -> None:
    """A view: pictures only."""
    if _refused(socket, from_page=True) is not None:
        await socket.close(REFUSED)
        return
    await socket.accept()
    host: Host = socket.app.state.host
    wake = asyncio.Event()
    mailbox = Mailbox(_waker(asyncio.get_running_loop(), wake))
    view = ViewOutlet(mailbox, transparent=socket.path_params["background"] != "scene")
    if not host.watch(view):
        await socket.close(TOO_MUCH, "too many views are open")
        return
    tasks = [asyncio.create_task(_send_pictures(socket, mailbox, wake)), asyncio.create_task(_ignore(socket))]
    try:
        await _first_to_end(tasks)
    finally:
        host.unwatch(view)


def _waker(loop: asyncio.AbstractEventLoop, wake: asyncio.Event):
    def call() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the worker
            loop.call_soon_threadsafe(wake.set)

    return call


async def _first_to_end(tasks: list[asyncio.Task]) -> None:
    """Until one of the tasks of a connection ends; the others end with it."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        # RuntimeError is what Starlette says of a socket that closed in the middle of sending.
        if error is not None and not isinstance(error, (WebSocketDisconnect, RuntimeError)):
            raise error


async def _listen(socket: WebSocket, host: Host, page: Page) -> None:
    limit = RateLimit(_MESSAGES, _BURST)
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if not limit.allows() or page.mailbox.overrun:
            await socket.close(TOO_MUCH, "too many messages")
            return
        if page is not host.page:
            continue
        try:
            if message.get("bytes") is not None:
                host.offer(CameraFrame.unpack(message["bytes"]))
            else:
                await host.answer(parse_request(message["text"]))
        except UserError as error:
            page.tell({"type": "refused", "text": str(error)})


async def _send(socket: WebSocket, page: Page, wake: asyncio.Event) -> None:
    while True:
        await wake.wait()
        wake.clear()
        while page.events:
            await socket.send_text(json.dumps(page.events.popleft()))
        await _send_waiting(socket, page.mailbox)
        if page.dismissed is not None:
            await socket.close(TAKEN, page.dismissed)
            return


async def _send_pictures(socket: WebSocket, mailbox: Mailbox, wake: asyncio.Event) -> None:
    while True:
        await wake.wait()
        wake.clear()
        await _send_waiting(socket, mailbox)


async def _send_waiting(socket: WebSocket, mailbox: Mailbox) -> None:
    while (taken := mailbox.take()) is not None:
        message, has_picture = taken
        await socket.send_bytes(message)
        if has_picture:
            mailbox.sent()


async def _report(host: Host, page: Page) -> None:
    while True:
        await asyncio.sleep(_FIGURES_EVERY)
        await host.end_long_recording()
        page.tell({"type": "figures", "stages": STAGES, **host.session.figures.summary()})


async def _ignore(socket: WebSocket) -> None:
    """A view has nothing to say; what it says all the same is bounded."""
    limit = RateLimit(1.0, 10)
    while (await socket.receive())["type"] != "websocket.disconnect":
        if not limit.allows():
            await socket.close(TOO_MUCH)
            return
