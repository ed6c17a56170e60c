"""Who may talk to the server."""

import ipaddress
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True)
class Access:
    """What a request has to bring.

    On a loopback address the browser's address bar has to say so too (a page elsewhere whose name was pointed at
    this machine says its own name). On any other address a secret is asked for, which the printed link carries and
    the browser then keeps as a cookie.
    """

    host: str
    port: int
    token: str | None = None
    tls: bool = False

    @property
    def local(self) -> bool:
        return is_loopback(self.host)

    @property
    def cookie(self) -> str:
        """Its name; cookies know hosts, but no ports."""
        return f"ram-avatar-{self.port}"

    @property
    def link(self) -> str:
        """What the user opens."""
        query = f"/?token={self.token}" if self.token else "/"
        return f"{'https' if self.tls else 'http'}://{_bracketed(reachable_address(self.host))}:{self.port}{query}"

    def allows_host(self, header: str | None) -> bool:
        """Whether the Host that the browser asked for is this server's."""
        if header is None:
            return False
        if not self.local:
            return True  # names and addresses of a machine are many; here the token decides
        name = urlsplit(f"//{header}").hostname or ""
        return name in _LOOPBACK_NAMES or name == self.host

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a page that this server delivered is asking: its origin is the host that it asks."""
        if not origin or not host:
            return False
        parts = urlsplit(origin)
        return parts.scheme == ("https" if self.tls else "http") and parts.netloc.lower() == host.lower()

    def allows_token(self, given: str | None) -> bool:
        if self.token is None:
            return True
        return given is not None and secrets.compare_digest(given.encode(), self.token.encode())

    def refusal(self, headers: Mapping[str, str], cookies: Mapping[str, str], *, from_page: bool) -> str | None:
        """Say why a request is refused, in words for a user; None where it is allowed.

        The words go to somebody who has not shown the key, so they never hold it.

        Args:
            from_page: whether only a page of this server's may ask: what changes something, and websockets.
        """
        host = headers.get("host")
        if not self.allows_host(host):
            return f"this server does not answer to '{host}'; open the link that `ram-avatar live` printed"
        if not self.allows_token(cookies.get(self.cookie)):
            return "open the link that `ram-avatar live` printed; it carries the key to this server"
        if from_page and not self.allows_origin(headers.get("origin"), host):
            return "only pages of this server may ask for this"
        return None


class RateLimit:
    """At most `rate` things a second in the long run, `burst` at once."""

    def __init__(self, rate: float, burst: int):
        self._rate, self._burst = rate, burst
        self._left, self._then = float(burst), time.monotonic()

    def allows(self) -> bool:
        now = time.monotonic()
        self._left = min(self._burst, self._left + self._rate * (now - self._then))
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_address(host: str) -> str:
    """The address to write into a link: for "all addresses" this machine's own in its network."""
    if host not in ("0.0.0.0", "::", ""):
        return host
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the kernel says which address it would use. (Addresses reserved for documentation.)
            probe.connect(("2001:db8::1" if host == "::" else "192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
