"""Access control: who may talk to the live server, and the middleware that enforces it."""

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ..protocol import CloseCode
from .addresses import is_loopback, reachable_address
from .visitors import Visitor

log = logging.getLogger(__name__)

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
        """Return whether the Host header names this server.

        Raises:
            ValueError: it is malformed.
        """
        if header is None:
            return False
        if not self.local:
            return True  # a machine has many names and addresses; the token decides
        name = urlsplit(f"//{header}").hostname or ""
        return name in _LOOPBACK_NAMES or name == self.host

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Return whether the request comes from a page of this server: its origin equals the Host it addresses.

        Raises:
            ValueError: the origin is malformed.
        """
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

        Raises:
            ValueError: a header is malformed.
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

    Websockets, and requests that may change something, are accepted only from pages of this server. An allowed request
    takes one of the places of admitted visitors, which the `visitor` of its state holds (see `door`).
    """

    def __init__(self, app: ASGIApp, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # start and end of the server itself
            await self._app(scope, receive, send)
            return
        try:
            answer = self._answer(HTTPConnection(scope), reads=_reads(scope))
        except ValueError:  # of the parsers of what the client sent
            answer = _refuse("A header of this request is malformed.", 400, reads=_reads(scope))
        if answer is not None:
            await self._send(answer, scope, receive, send)
            return
        visitor: Visitor = scope["state"]["visitor"]
        with visitor.admitted() as has_place:
            if has_place:
                with _logging_bugs():
                    await self._app(scope, receive, send)
                return
        answer = _refuse("Too many connections. Close some pages.", 503, reads=_reads(scope))
        await self._send(answer, scope, receive, send)

    def _answer(self, connection: HTTPConnection, *, reads: bool) -> Response | None:
        """Return what a request gets in place of the route's answer; None if it is allowed."""
        if reads and self._presents_token(connection):
            return self._keep_token(connection)
        reason = self._access.refusal(connection.headers, connection.cookies, from_page=not reads)
        return None if reason is None else _refuse(f"Not allowed: {reason}.", 403, reads=reads)

    async def _send(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose(CloseCode.REFUSED)(scope, receive, send)
        else:
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
        path = "/" + quote(connection.scope["path"].lstrip("/"))  # `//name` would lead to another server
        query = urlencode([(key, value) for key, value in connection.query_params.multi_items() if key != "token"])
        answer = RedirectResponse(f"{path}?{query}" if query else path, 303)
        answer.set_cookie(
            self._access.cookie,
            self._access.token or "",
            httponly=True,
            samesite="strict",
            secure=self._access.tls,
            path="/",
        )
        return answer


@contextmanager
def _logging_bugs() -> Iterator[None]:
    """Log what a route raises; uvicorn's own log is closed, since clients can fill it."""
    try:
        yield
    except Exception:
        log.exception("a request failed")
        raise


def _reads(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD")


def _refuse(text: str, status: int, *, reads: bool) -> Response:
    # Pages fetch with other methods, and read JSON.
    return PlainTextResponse(f"{text}\n", status) if reads else JSONResponse({"text": text}, status)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
