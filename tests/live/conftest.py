import asyncio
import http.client
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

pytest.importorskip("starlette", reason="the extra [live] is not installed")

import uvicorn
from websockets.sync.client import ClientConnection, connect

from ram_avatar.live.protocol import MAX_FRAME, Answer, CameraFrame
from ram_avatar.live.studio import Studio
from ram_avatar.live.web.access import Access
from ram_avatar.live.web.server import create_app
from ram_avatar.live.web.serving import Address, listen


@pytest.fixture()
def motion_file(random_motion, tmp_path) -> Path:
    """A second of a body that sways."""
    motion = random_motion(25, turn=0.0)
    motion.pose[:] = 0.2 * torch.sin(torch.arange(25) / 4)[:, None, None]
    motion.save(tmp_path / "sway.npz")
    return tmp_path / "sway.npz"


@dataclass
class Running:
    """A server in a thread of its own."""

    host: str
    port: int
    app: object
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/"

    def page(self, ident: str = "p", query: str = "", **headers) -> ClientConnection:
        """The websocket that a page opens."""
        headers = {"Origin": self.url.rstrip("/")} | headers
        return connect(
            f"ws://{self.host}:{self.port}/socket?page={ident}{query}",
            additional_headers=headers,
            max_size=None,
            compression=None,
        )

    def get(self, path: str, method: str = "GET", body=None, **headers) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        made = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return made

    @property
    def folder(self) -> Path:
        """Where uploads and recordings are."""
        return self.app.state.host._folder


@contextmanager
def running(
    studio: Studio,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    certificate: Path | None = None,
):
    listening = listen(Address(host, port))
    port = listening.getsockname()[1]
    app = create_app(studio, Access(host, port, token, tls=certificate is not None))
    config = uvicorn.Config(
        app,
        log_level="critical",
        ws_max_size=MAX_FRAME + 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield Running(host, port, app, "https" if certificate else "http")
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


def until(true: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def event(page: ClientConnection, kind: str, timeout: float = 60.0) -> dict:
    """The next event of a kind; what comes before it is passed over."""
    import json

    end = time.monotonic() + timeout
    while True:
        message = page.recv(timeout=max(0.01, end - time.monotonic()))
        if isinstance(message, str) and (told := json.loads(message))["type"] == kind:
            return told


def answer(page: ClientConnection, timeout: float = 60.0) -> Answer:
    """The next answer."""
    end = time.monotonic() + timeout
    while True:
        message = page.recv(timeout=max(0.01, end - time.monotonic()))
        if isinstance(message, bytes):
            return Answer.unpack(message)


def ask(page: ClientConnection, kind: str, /, **values) -> None:
    import json

    page.send(json.dumps({"type": kind, **values}))


def tick(page: ClientConnection, number: int) -> Answer:
    """A frame without a picture, and its answer."""
    page.send(CameraFrame(number, 40.0 * number).pack())
    return answer(page)
