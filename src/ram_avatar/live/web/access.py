"""Access control: who may talk to the live server, and the middleware that enforces it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ..protocol import CloseCode
from .addresses import is_loopback, reachable_address

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True)
class Access:
    """What a request must present.

    On a loopback address, the Host header must name loopback too: a page elsewhere whose name was pointed at this
    machine (DNS rebinding) sends its own name. On any other address, a token is required; the printed link carries it,
    and the browser then keeps it as a cookie.
    """

    host: str
    port: int
    token: str | None = None
    tls: bool = False

    @property
    def local(self) -> bool:
        """Whether the server listens on loopback only."""
        return is_loopback(self.host)

    @property
    def cookie(self) -> str:
        """The cookie's name. It holds the port, since cookies are shared by all ports of a host."""
        return f"ram-avatar-{self.port}"

    @property
    def link(self) -> str:
        """The link that the user opens."""
        query = f"/?token={self.token}" if self.token else "/"
        return f"{'https' if self.tls else 'http'}://{_bracketed(reachable_address(self.host))}:{self.port}{query}"

    def allows_host(self, header: str | None) -> bool:
        """Return whether the Host header names this server."""
        if header is None:
            return False
        if not self.local:
            return True  # a machine has many names and addresses; the token decides
        name = urlsplit(f"//{header}").hostname or ""
        return name in _LOOPBACK_NAMES or name == self.host

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Return whether the request comes from a page of this server: its origin equals the Host it addresses."""
        if not origin or not host:
            return False
        parts = urlsplit(origin)
        return parts.scheme == ("https" if self.tls else "http") and parts.netloc.lower() == host.lower()

    def allows_token(self, given: str | None) -> bool:
        """Return whether a token is right, or none is required."""
        if self.token is None:
            return True
        return given is not None and secrets.compare_digest(given.encode(), self.token.encode())

    def refusal(self, headers: Mapping[str, str], cookies: Mapping[str, str], *, from_page: bool) -> str | None:
        """Return why a request is refused, in words for a user, or None if it is allowed.

        The words never contain the token, since they go to clients that have not presented it.

        Args:
            from_page: require the request to come from a page of this server.
        """
        host = headers.get("host")
        if not self.allows_host(host):
            return f"this server does not answer to '{host}'; open the link that `ram-avatar live` printed"
        if not self.allows_token(cookies.get(self.cookie)):
            return "open the link that `ram-avatar live` printed; it carries the access token"
        if from_page and not self.allows_origin(headers.get("origin"), host):
            return "only pages of this server may ask for this"
        return None


class AccessMiddleware:
    """Checks every HTTP request and websocket before a route sees it. No route is public.

    Websockets, and requests that may change something, are accepted only from pages of this server.
    """

    def __init__(self, app: ASGIApp, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # start and end of the server itself
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if reads and self._presents_token(connection):
            await self._keep_token(connection)(scope, receive, send)
            return
        reason = self._access.refusal(connection.headers, connection.cookies, from_page=not reads)
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(CloseCode.REFUSED)(scope, receive, send)
        else:
            text = f"Not allowed: {reason}."
            # Pages fetch with other methods, and read JSON.
            answer = PlainTextResponse(f"{text}\n", 403) if reads else JSONResponse({"text": text}, 403)
            await answer(scope, receive, send)

    def _presents_token(self, connection: HTTPConnection) -> bool:
        given = connection.query_params.get("token")
        return (
            given is not None
            and self._access.allows_token(given)
            and self._access.allows_host(connection.headers.get("host"))
        )

    def _keep_token(self, connection: HTTPConnection) -> Response:
        """Move the token from the address, which is visible and kept in histories, into a cookie."""
        rest = connection.url.remove_query_params("token")
        path = "/" + rest.path.lstrip("/")  # `//name` would lead to another server
        answer = RedirectResponse(f"{path}?{rest.query}" if rest.query else path, 303)
        answer.set_cookie(
            self._access.cookie,
            self._access.token or "",
            httponly=True,
            samesite="strict",
            secure=self._access.tls,
            path="/",
        )
        return answer


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
