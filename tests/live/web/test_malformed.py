"""Malformed requests and messages, over real connections: 400 or a refusal, and nothing on the terminal."""

import json
import re
import socket
import struct

import pytest
from live_server import answer, event, running, until

from ram_avatar.live.protocol import CameraFrame, Coding
from ram_avatar.live.session.pipeline_factory import PipelineFactory

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
VALUES = (
    "1" + "0" * 400,
    "1" + "0" * 5000,  # beyond what Python converts
    "1e999",
    "NaN",
    "-Infinity",
    "null",
    "[[]]",
    '{"a": {}}',
    '"\\ud800\\u001b[31m"',
    "[" * 20_000 + "]" * 20_000,
)


@pytest.fixture(scope="module", params=[None, "sesame"])
def server(request, avatars):
    """On loopback, and as if beyond it, where any name may be the server's."""
    host = "0.0.0.0" if request.param else "127.0.0.1"
    with running(PipelineFactory(avatars / "ada"), host=host, token=request.param) as live:
        with live.page(Cookie=f"ram-avatar-{live.port}={request.param}") as page:
            event(page, "welcome")  # libraries print while the avatar loads
        yield live, request.param


@pytest.fixture(autouse=True)
def silence(caplog, capfd):
    """Nothing may be logged, or printed past the log."""
    yield
    assert not caplog.records and capfd.readouterr() == ("", "")


@pytest.fixture()
def head(server):
    """The headers of a page of this server."""
    live, token = server
    own = f"127.0.0.1:{live.port}"
    return f"Host: {own}\r\nOrigin: http://{own}\r\nCookie: ram-avatar-{live.port}={token}\r\n"


def _status(live, request: str) -> int:
    """Send a raw request; return the status of the answer."""
    with socket.create_connection((live.host, live.port), timeout=20) as connection:
        connection.sendall(request.encode("latin-1"))
        received = b""
        while b"\r\n" not in received:
            received += (part := connection.recv(4096))
            assert part, "no answer"
    return int(received.split()[1])


@pytest.mark.parametrize("name", ["[", "[::1", "]", "http://[", "\x7f", "a" * 15000, "\xff"])
def test_malformed_headers(server, head, name):
    live, token = server
    for header in ("Host", "Origin", "Cookie"):
        changed = re.sub(rf"{header}: .*\r\n", lambda _, header=header: f"{header}: {name}\r\n", head)
        for line in ("GET / HTTP/1.1", "GET /?token=sesame HTTP/1.1", "POST /upload/film HTTP/1.1"):
            assert _status(live, f"{line}\r\n{changed}\r\n") < 500
        assert _status(live, f"GET /socket HTTP/1.1\r\n{changed}{UPGRADE}\r\n") in (101, 400, 403)
    if token is None:
        assert _status(live, "GET / HTTP/1.1\r\nHost: [\r\n\r\n") == 400


@pytest.mark.parametrize(
    "path",
    [
        "/" + "a" * 300 + ".js",
        "/" + "a" * 60000,
        "/%00.js",
        "/%ff",
        "/recordings/" + "a" * 300 + ".mp4",
        "//[",
        "*",
        "?",
    ],
)
def test_unusual_paths(server, head, path):
    live, _ = server
    assert _status(live, f"GET {path} HTTP/1.1\r\n{head}\r\n") in (200, 400, 404)
    assert _status(live, f"GET /socket/view/{path} HTTP/1.1\r\n{head}{UPGRADE}\r\n") in (101, 400, 403)


@pytest.mark.parametrize(
    "extra", ["X: " + "a" * 9000 + "\r\n", "X: a\r\n" * 200, "Sec-WebSocket-Protocol: \xff, [\r\n"]
)
def test_long_and_many_headers(server, head, extra):
    live, _ = server
    assert _status(live, f"GET / HTTP/1.1\r\n{head}{extra}\r\n") in (200, 400)
    assert _status(live, f"GET /socket/view/scene HTTP/1.1\r\n{head}{UPGRADE}{extra}\r\n") in (101, 400)


@pytest.mark.parametrize(
    "request_",
    [
        "\0" * 100,
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeno chunk\r\n",
    ],
)
def test_no_http(server, request_):
    live, _ = server
    assert _status(live, request_) == 400


def test_a_body_that_breaks_after_the_answer(server):
    live, _ = server
    with socket.create_connection((live.host, live.port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        assert connection.recv(4096).split()[1] == b"403"
        connection.sendall(b"no chunk\r\n")
        while connection.recv(4096):
            pass


@pytest.mark.parametrize("value", VALUES)
def test_values_of_every_kind_in_every_request(server, value):
    live, token = server
    with live.page(Cookie=f"ram-avatar-{live.port}={token}") as page:
        event(page, "welcome")
        kinds = [*live.app.state.hub._handlers, "absent"]
        fields = ("changes", "kind", "name", "on", "h264", "type")
        requests = [f'{{"type": "{kind}", "{field}": {value}}}' for kind in kinds for field in fields]
        requests += [
            f'{{"type": "settings", "changes": {{"{name}": {changed}}}}}'
            for name in ("mirror", "smoothing", "alignment", "background", "face", "fingers", "absent")
            for changed in (value, f'{{"jawOpen": {value}}}', f"[{value}]")
        ]
        for request in (value, *requests):
            page.send(request)
        page.send(json.dumps({"type": "settings", "changes": {"smoothing": 0.25}}))
        while event(page, "settings")["settings"]["smoothing"] != 0.25:
            pass
        page.send(CameraFrame(1, 1.0).pack())
        while answer(page).coding != Coding.JPEG:
            pass
    until(lambda: live.app.state.hub.page is None)


def test_binary_messages_of_every_kind(server):
    live, token = server
    with live.page(Cookie=f"ram-avatar-{live.port}={token}") as page:
        event(page, "welcome")
        for kind in range(3):
            for coding in range(6):
                for captured in (0.0, -1e308, 1e308, float("nan"), float("inf")):
                    head = struct.pack("<BBHId", kind, coding, 65535, 2**32 - 1, captured)
                    page.send(head)
                    page.send(head + bytes(50))
        page.send(b"")
        page.send(CameraFrame(12345, 1.0).pack())
        while answer(page).number != 12345:
            pass
    until(lambda: live.app.state.hub.page is None)
