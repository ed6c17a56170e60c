"""Files over HTTP: the page, recordings, and uploads."""

import asyncio
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from ...core.errors import UserError
from ...core.files import disk_errors
from ...core.text import printable
from ...video.sandbox import MAX_FILM_BYTES, MAX_PICTURE_BYTES
from .hub import Hub

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGES = {"": "index.html", "view": "view.html"}
_FILES = {file.name: file for file in (files(__package__) / "static").iterdir() if Path(file.name).suffix in _TYPES}
_UPLOAD_TIME = 600  # seconds


async def send_static(request: Request) -> Response:
    """Send a file of the page."""
    path = request.path_params["path"]
    file = _FILES.get(_PAGES.get(path, path))  # so a path never reaches the disk
    if file is None:
        return PlainTextResponse("Page not found.\n", 404)
    return Response(file.read_bytes(), media_type=_TYPES[Path(file.name).suffix])


async def send_recording(request: Request) -> Response:
    """Send a finished recording."""
    hub: Hub = request.app.state.hub
    path = hub.recordings.finished.get(request.path_params["name"])
    if path is None:
        return PlainTextResponse("This recording no longer exists.\n", 404)
    return FileResponse(path, filename=f"{hub.avatar_name}.mp4", media_type="video/mp4")


async def receive_upload(request: Request) -> Response:
    """Receive a file as the body of the request, with its name in the X-Name header."""
    state, kind = request.app.state, request.path_params["kind"]
    hub: Hub = state.hub
    if kind not in ("film", "picture"):
        return JSONResponse({"text": "Unknown kind of upload."}, 404)
    if hub.page is None or state.uploading.locked() or not state.uploads.allows():
        return JSONResponse({"text": "One upload at a time, from the page in control. Try again shortly."}, 429)
    given = printable(Path(unquote(request.headers.get("x-name", ""))).name[:80])
    name = given or f"the {'video' if kind == 'film' else 'image'}"
    async with state.uploading:
        path = hub.upload_path()
        try:
            async with asyncio.timeout(_UPLOAD_TIME):
                await _receive(request, path, MAX_FILM_BYTES if kind == "film" else MAX_PICTURE_BYTES, name)
            await (hub.use_film if kind == "film" else hub.use_picture)(path, name)
        except TimeoutError:
            return JSONResponse({"text": f"{name} took longer than {_UPLOAD_TIME // 60} minutes"}, 408)
        except ClientDisconnect:
            return JSONResponse({"text": f"{name}: the upload was aborted"}, 400)
        except UserError as error:
            return JSONResponse({"text": str(error)}, 400)
    return JSONResponse({"name": name})


async def _receive(request: Request, path: Path, limit: int, name: str) -> None:
    """Write the body to a file of at most `limit` bytes; remove the file on failure.

    Raises:
        UserError: the body is empty or too large, or the disk is full.
        ClientDisconnect: the page went away.
    """
    received = 0
    try:
        with disk_errors(name), path.open("xb") as file:
            async for part in request.stream():
                received += len(part)
                if received > limit:
                    raise UserError(f"{name} is larger than {limit >> 20} MB, the limit for uploads")
                file.write(part)
        if not received:
            raise UserError(f"{name} is empty")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
