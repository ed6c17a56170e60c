"""What `ram-avatar live` does before it loads anything: checks its packages, and opens its port."""

import errno
import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError

_PACKAGES = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
    "cryptography": "cryptography",
    "pythonosc": "python-osc",
}  # by the module that each provides


@dataclass(frozen=True)
class Address:
    """Where the server listens, and what it requires of clients."""

    host: str = "127.0.0.1"
    port: int = 8642
    token: str | None = None
    certificate: Path | None = None


def check_extra() -> None:
    """Check that the packages of the extra `live` are installed.

    Raises:
        UserError: one is missing.
    """
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"ram-avatar live needs {', '.join(missing)}: pip install 'ram-avatar[live]'")


def listen(address: Address) -> socket.socket:
    """Return a listening socket.

    Raises:
        UserError: the port is in use or not permitted, or the address is not this machine's.
    """
    host, port = address.host, address.port
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: choose a port from 0 to 65535")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UserError(f"--host {host}: no such address") from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(target)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UserError(_explain(host, port, error)) from None
    return listening


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use, perhaps by another `ram-avatar live`; stop it, or pass --port 0 for a free port"
    if error.errno == errno.EACCES:
        return f"permission denied on port {port}; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: not an address of this machine"
    return f"cannot listen on {host}, port {port} ({error})"
