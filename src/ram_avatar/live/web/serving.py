"""Runs the live server until Ctrl-C."""

import os
import secrets
import socket
import threading
import webbrowser
from pathlib import Path

import uvicorn

from ...core.progress import Progress
from ..protocol import MAX_FRAME
from ..session.pipeline_factory import PipelineFactory
from .access import Access
from .addresses import is_loopback
from .certificate import check_certificate, fingerprint, own_certificate
from .listening import Address
from .server import create_app

_MAX_CONNECTIONS = 64
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
        UserError: the certificate is invalid.
    """
    access, certificate = grant(address, listening.getsockname()[1], progress)
    app = create_app(factory, access, virtual_camera=virtual_camera)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=MAX_FRAME + 1024,
        ws_ping_interval=_PING,
        ws_ping_timeout=_PING,
        ws_per_message_deflate=False,  # images are compressed already
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate,
    )
    try:
        progress.note(f"Open {access.link}    (Ctrl-C to stop)")
        if browser:
            threading.Thread(target=webbrowser.open, args=(access.link,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it again after it has shut down
        pass
    finally:
        listening.close()
    progress.note("Stopped.")
    if not getattr(app.state, "ended", True):
        os._exit(0)  # the worker hangs inside a library; everything is saved


def grant(address: Address, port: int, progress: Progress) -> tuple[Access, Path | None]:
    """Return the access rules, and the certificate for TLS, if any.

    Beyond loopback there are always a token and TLS; both are made here if the user has none.

    Raises:
        UserError: the user's certificate is invalid.
    """
    certificate, token = address.certificate, address.token
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
