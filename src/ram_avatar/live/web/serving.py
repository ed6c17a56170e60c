"""What `ram-avatar live` does: checks, says where the page is, serves until Ctrl-C."""

import errno
import importlib.util
import os
import secrets
import socket
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import UserError
from ...core.progress import Progress
from .access import Access, is_loopback

if TYPE_CHECKING:
    from ..studio import Studio  # takes seconds to import, with torch

DEFAULT_PORT = 8642
_NEEDS = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
    "cryptography": "cryptography",
    "pythonosc": "python-osc",
    "threadpoolctl": "threadpoolctl",
}  # modules, and what they are installed by
_MOST_CONNECTIONS = 64
_PING = 20.0  # seconds


@dataclass(frozen=True)
class Address:
    """Where the server listens, and what it asks for."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    certificate: Path | None = None


def check_extra() -> None:
    """Raises UserError where the packages of the extra are missing."""
    missing = [package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"ram-avatar live needs {', '.join(missing)}: pip install 'ram-avatar[live]'")


def serve(
    studio: "Studio",
    address: Address,
    listening: socket.socket,
    *,
    virtual_camera: bool,
    browser: bool,
    progress: Progress,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        listening: see `listen`; it is closed.
        browser: open the page.

    Raises:
        UserError: the certificate is no good.
    """
    import uvicorn

    from ..protocol import MAX_FRAME
    from .server import create_app

    access, certificate = grant(address, listening.getsockname()[1], progress)
    app = create_app(studio, access, virtual_camera=virtual_camera)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=MAX_FRAME + 1024,
        ws_ping_interval=_PING,
        ws_ping_timeout=_PING,
        ws_per_message_deflate=False,  # pictures are packed already
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate,
    )
    try:
        progress.note(f"Open {access.link}    (Ctrl-C ends)")
        if browser:
            threading.Thread(target=webbrowser.open, args=(access.link,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn hands it on when it is done
        pass
    finally:
        listening.close()
    progress.note("Stopped.")
    if not getattr(app.state, "ended", True):
        os._exit(0)  # the worker is inside a library that does not come back; nothing is left to be saved


def grant(address: Address, port: int, progress: Progress) -> tuple[Access, Path | None]:
    """Who may come, and the certificate of TLS.

    Beyond loopback there is always a token, and always TLS: made here, where the user has none.

    Raises:
        UserError: the user's certificate is no good.
    """
    from .certificate import check_certificate, fingerprint, own_certificate

    certificate, token = address.certificate, address.token
    if certificate is not None:
        check_certificate(certificate)
    if not is_loopback(address.host):
        token = token or secrets.token_urlsafe(16)
        if certificate is None:
            certificate = own_certificate(address.host)
            progress.note(
                "The browser will warn that this machine made its certificate itself. Its SHA-256 is\n"
                f"  {fingerprint(certificate)}\nGo on if the browser shows the same."
            )
    return Access(address.host, port, token, tls=certificate is not None), certificate


def listen(address: Address) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: the port is in use, or not allowed; the address is not this machine's.
    """
    host, port = address.host, address.port
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: ports go from 0 to 65535")
    try:
        family, kind, number, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UserError(f"--host {host}: no such address") from None
    listening = socket.socket(family, kind, number)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UserError(_refused(host, port, error)) from None
    return listening


def _refused(host: str, port: int, error: OSError) -> str:
    cause = error.errno
    if cause == errno.EADDRINUSE:
        return f"port {port} is in use, by another `ram-avatar live`? End it, or pass --port 0 for a free one"
    if cause == errno.EACCES:
        return f"port {port} is not for everybody; pass one above 1023"
    if cause == errno.EADDRNOTAVAIL:
        return f"--host {host}: not an address of this machine"
    return f"cannot listen on {host}, port {port} ({error})"
