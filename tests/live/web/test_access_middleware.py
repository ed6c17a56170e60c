"""Every route of the live server, as a stranger sees it: over real HTTP and websocket connections."""

import json
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from live_server import Running, ask, running, until
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ram_avatar.live.protocol import CameraFrame, Coding
from ram_avatar.live.session.pipeline_factory import PipelineFactory

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec_WebSocket_Version": "13",
}


async def _greet(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _greet_socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def _requests(app) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Path, method and headers of a request to each route."""
    for route in app.routes:
        path = re.sub(r"{[^}]*}", "x", route.path)
        if isinstance(route, WebSocketRoute):
            yield path, "GET", UPGRADE
        else:
            assert isinstance(route, Route), "this test does not know such routes"
            for method in METHODS:
                yield path, method, {}
    for path in ("/", "/app.js", "/?token=wrong", "/?token=", "/socket?token=sesame"):
        yield path, "POST", {}
        if not path.startswith("/socket"):
            yield path, "GET", {}
        yield path, "GET", UPGRADE


def _strangers(live: Running, token: str | None) -> Iterator[dict[str, str]]:
    """Headers of clients that must get nothing."""
    own = f"127.0.0.1:{live.port}"
    for host in (own, "evil.example", ""):
        for origin in (f"http://{host}", "http://evil.example", "null"):
            for cookie in ("", f"ram-avatar-{live.port}=wrong"):
                if token is not None or host != own:
                    yield {"Host": host, "Origin": origin, "Cookie": cookie}


@pytest.fixture(params=[("127.0.0.1", None), ("127.0.0.1", "sesame"), ("0.0.0.0", "sesame")])
def live(request, avatars):
    """A server to which two routes were added that ask for nothing, and its token."""
    host, token = request.param
    with running(PipelineFactory(avatars / "ada"), host=host, token=token) as made:
        made.app.router.routes[:0] = [Route("/added", _greet), WebSocketRoute("/added-socket", _greet_socket)]
        yield made, token


def test_a_stranger_gets_nothing_from_any_route(live):
    """Neither from those of the server nor from added ones, nor does a refusal contain the token."""
    live, token = live
    requests = list(_requests(live.app))
    paths = {path for path, _, _ in requests}
    assert {"/x", "/socket", "/socket/view/x", "/upload/x", "/recordings/x.mp4", "/added", "/added-socket"} <= paths
    for stranger in _strangers(live, token):
        for path, method, headers in requests:
            status, answered, body = live.get(path, method, **headers, **stranger)
            assert status == 403, (path, method, headers, stranger)
            assert "sesame" not in str(answered) + str(body)
            assert not body or headers or b"Not allowed" in body


def _frame(payload: bytes, opcode: int) -> bytes:
    """A masked websocket frame."""
    return struct.pack(">BBHI", 0x80 | opcode, 0xFE, len(payload), 0) + payload


def _say(live: Running, path: str, headers: dict[str, str], messages: list[bytes]) -> bytes:
    """Open a websocket and send messages without waiting for its acceptance; return all that is answered."""
    lines = [f"GET {path} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in {**UPGRADE, **headers}.items())]
    with socket.create_connection((live.host, live.port), timeout=20) as connection:
        with suppress(ConnectionError):
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"".join(messages))
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                received += part
    return received


def test_no_message_of_a_stranger_is_heard(live, monkeypatch):
    """Of any type, from no page, a page without the token or with a wrong one, or another site's."""
    live, token = live
    hub, heard = live.app.state.hub, []

    def handler(request: dict) -> None:
        heard.append(request)

    kinds = list(hub._handlers)
    monkeypatch.setattr(hub, "_handlers", dict.fromkeys(kinds, handler))
    monkeypatch.setattr(hub.session, "offer", handler)
    messages = [_frame(json.dumps({"type": kind, "on": True}).encode(), 1) for kind in kinds]
    messages += [_frame(CameraFrame(1, 1.0, coding, bytes(coding > 0)).pack(), 2) for coding in Coding]
    for stranger in _strangers(live, token):
        for path in ("/socket?page=p&take=1", "/socket/view/scene"):
            answered = _say(live, path, stranger, messages)
            assert answered.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")) and b"sesame" not in answered
    own = f"127.0.0.1:{live.port}"
    friend = {"Host": own, "Origin": f"http://{own}", "Cookie": f"ram-avatar-{live.port}={token}"}
    _say(live, "/socket/view/scene", friend, messages)
    assert not heard and hub.page is None
    with live.page("p", Cookie=friend["Cookie"]) as page:
        for kind in kinds:
            ask(page, kind)
        until(lambda: len(heard) == len(kinds))  # so this test would hear them


def test_pages_of_this_server_get_through(live):
    live, token = live
    own = f"127.0.0.1:{live.port}"
    friend = {"Host": own, "Origin": f"http://{own}", "Cookie": f"ram-avatar-{live.port}={token}"}
    assert live.get("/added", **friend)[2] == b"hello"
    assert live.get("/added-socket", **UPGRADE, **friend)[0] == 101
    assert live.get("/added", "DELETE", **friend)[0] == 405


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_other_pages_may_not_change_anything_or_open_websockets(live, origin):
    """Even in a browser that has the cookie."""
    live, token = live
    other = {"Origin": origin, "Cookie": f"ram-avatar-{live.port}={token}"}
    for path, method, headers in _requests(live.app):
        if headers or method not in ("GET", "HEAD"):
            assert live.get(path, method, **headers, **other)[0] == 403, (path, method)


def test_the_token_in_a_link_moves_into_a_cookie(live):
    live, token = live
    if token is None:
        return
    status, headers, _ = live.get("/view?token=sesame&background=scene")
    assert status == 303 and headers["location"] == "/view?background=scene"
    cookie = headers["set-cookie"]
    assert f"ram-avatar-{live.port}=sesame" in cookie and "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert live.get("/", Cookie=f"ram-avatar-{live.port}=sesame")[0] == 200
    if live.host == "127.0.0.1":
        status, headers, body = live.get("/?token=sesame", Host="evil.example")
        assert status == 403 and "sesame" not in str(headers) + str(body)


def test_a_link_does_not_lead_to_another_server(live):
    live, _ = live
    assert live.get("//evil.example/?token=sesame")[1]["location"] == "/evil.example/"


def test_every_response_has_the_security_headers(live):
    """Refusals and errors too."""
    live, token = live
    own = f"127.0.0.1:{live.port}"
    friend = {"Origin": f"http://{own}", "Cookie": f"ram-avatar-{live.port}={token}"}
    stranger = {"Host": "evil.example"}
    for path, method, headers in (
        ("/", "GET", friend),
        ("/missing", "GET", friend),
        ("/added", "DELETE", friend),
        ("/", "GET", stranger),
        ("/", "POST", stranger),
    ):
        answered = live.get(path, method, **headers)[1]
        assert "default-src 'none'" in answered["content-security-policy"], (path, method)
        assert answered["x-content-type-options"] == "nosniff" and answered["cache-control"] == "no-cache"
