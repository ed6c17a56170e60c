"""A real server in a thread, and what a page says to it."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from websockets.sync.client import ClientConnection, connect

from ram_avatar.core.temporaries import scratch_folder
from ram_avatar.live.protocol import Answer, CameraFrame
from ram_avatar.live.session.pipeline_factory import PipelineFactory
from ram_avatar.live.web.access import Access
from ram_avatar.live.web.listening import Address, listen
from ram_avatar.live.web.server import create_app
from ram_avatar.live.web.serving import configure


@dataclass
class Running:
    """A server that runs in its own thread."""

    host: str
    port: int
    app: Starlette
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"{self.scheme}://{self.host}:{self.port}/"

    def page(self, tab: str = "p", query: str = "", **headers) -> ClientConnection:
        """Open the websocket, as a page does."""
        headers = {"Origin": self.url.rstrip("/")} | headers
        return connect(
            f"ws://{self.host}:{self.port}/socket?page={tab}{query}",
            additional_headers=headers,
            max_size=None,
            compression=None,
        )

    def get(self, path: str, method: str = "GET", body=None, **headers) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers in lower case, and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        made = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return made

    @property
    def folder(self) -> Path:
        """The folder of uploads and recordings."""
        return self.app.state.hub._folder


@contextmanager
def running(
    factory: PipelineFactory,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    certificate: Path | None = None,
) -> Iterator[Running]:
    """Run a server."""
    listening = listen(Address(host, port))
    port = listening.getsockname()[1]
    with scratch_folder() as folder:
        app = create_app(factory, Access(host, port, token, tls=certificate is not None), folder)
        server = uvicorn.Server(configure(app, certificate))
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


def until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until a condition holds, which another thread changes."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def event(page: ClientConnection, kind: str, timeout: float = 60.0) -> dict:
    """Return the next event of a kind; skip other messages."""
    end = time.monotonic() + timeout
    while True:
        message = page.recv(timeout=max(0.01, end - time.monotonic()))
        if isinstance(message, str) and (received := json.loads(message))["type"] == kind:
            return received


def answer(page: ClientConnection, timeout: float = 60.0) -> Answer:
    """Return the next answer; skip other messages."""
    end = time.monotonic() + timeout
    while True:
        message = page.recv(timeout=max(0.01, end - time.monotonic()))
        if isinstance(message, bytes):
            return Answer.unpack(message)


def ask(page: ClientConnection, kind: str, /, **values) -> None:
    """Send a request."""
    page.send(json.dumps({"type": kind, **values}))


def tick(page: ClientConnection, number: int) -> Answer:
    """Send a frame without an image; return the answer."""
    page.send(CameraFrame(number, 40.0 * number).pack())
    return answer(page)
