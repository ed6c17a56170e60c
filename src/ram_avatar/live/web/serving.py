"""Runs the live server until Ctrl-C."""

import asyncio
import os
import re
import secrets
import signal
import socket
import ssl
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from ...core.errors import UserError
from ...core.files import disk_errors
from ...core.progress import Progress
from ...core.temporaries import scratch_folder
from ..protocol import MAX_FRAME
from ..session.pipeline_factory import PipelineFactory
from .access import Access
from .addresses import is_loopback
from .certificate import check_certificate, fingerprint, own_certificate
from .door import Door
from .listening import Address
from .server import create_app
from .visitors import Visitors

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")  # the last two not on Windows
_PING = 20.0  # seconds


def serve(
    factory: PipelineFactory,
    address: Address,
    listening: socket.socket,
    *,
    virtual_camera: bool,
    browser: bool,
    progress: Progress,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        listening: see `listen`; it is closed at the end.
        virtual_camera: also show the avatar on a virtual camera.
        browser: open the page.

    Raises:
        UserError: the certificate or the token is invalid, or the temporary folder cannot be written.
    """
    access, certificate = grant(address, listening.getsockname()[1], progress)
    with ExitStack() as stack:
        stack.callback(listening.close)
        with disk_errors(tempfile.gettempdir()):
            folder = stack.enter_context(scratch_folder())
        app = create_app(factory, access, folder, virtual_camera=virtual_camera)
        server = uvicorn.Server(configure(app, certificate))
        stack.enter_context(suppress(KeyboardInterrupt))  # uvicorn raises it again after it has shut down
        stack.enter_context(_ended_by_signals(server))
        progress.note(f"Open {access.link}    (Ctrl-C to stop)")
        if browser:
            threading.Thread(target=webbrowser.open, args=(access.link,), daemon=True).start()
        server.run(sockets=[listening])
    with suppress(OSError):  # the terminal may be closed
        progress.note("Stopped.")
    if not getattr(app.state, "ended", True):
        os._exit(0)  # the worker hangs inside a library; everything is saved


def configure(app: ASGIApp, certificate: Path | None) -> uvicorn.Config:
    """Return how uvicorn serves the application.

    Args:
        certificate: a PEM file for HTTPS; None for HTTP.
    """
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(Door, Visitors(), tls)),
        ws="websockets-sansio",
        loop="asyncio",
        log_level="critical",  # the rest is about what clients send; see `access` for bugs
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=MAX_FRAME + 1024,
        ws_ping_interval=_PING,
        ws_ping_timeout=_PING,
        ws_per_message_deflate=False,  # images are compressed already
        timeout_graceful_shutdown=2,
    )


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Shut the server down, and with it remove its temporary files, on every signal that asks a program to end.

    Among them are a closed terminal and Ctrl-\\. Uvicorn handles Ctrl-C and SIGTERM itself while it runs, and sends
    itself the same signal again afterwards.
    """

    def end(number: int, frame: object) -> None:
        if number == signal.SIGINT and server.should_exit:
            raise KeyboardInterrupt
        server.should_exit = True

    numbers = [getattr(signal, name) for name in _ENDING_SIGNALS if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    former = {number: handler for number, handler in former.items() if handler != signal.SIG_IGN}  # as nohup sets it
    for number in former:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def grant(address: Address, port: int, progress: Progress) -> tuple[Access, Path | None]:
    """Return the access rules, and the certificate for TLS, if any.

    Beyond loopback there are always a token and TLS; both are made here if the user has none.

    Raises:
        UserError: the user's certificate or token is invalid.
    """
    certificate, token = address.certificate, address.token
    if token is not None and not _TOKEN.fullmatch(token):
        raise UserError("--token: use letters, digits, - . _ and ~ only, at most 200, since it is part of a link")
    if certificate is not None:
        check_certificate(certificate)
    if not is_loopback(address.host):
        token = token or secrets.token_urlsafe(16)
        if certificate is None:
            certificate = own_certificate(address.host, progress=progress)
            progress.note(
                "The browser will warn that this certificate is self-signed. Its SHA-256 fingerprint is\n"
                f"  {fingerprint(certificate)}\nContinue only if the browser shows the same."
            )
    return Access(address.host, port, token, tls=certificate is not None), certificate
