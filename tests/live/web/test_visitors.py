"""Connections that say nothing, over real sockets."""

import http.client
import socket
import ssl
import time
from contextlib import ExitStack

import pytest
from live_server import Running, running, until

from ram_avatar.live.session.pipeline_factory import PipelineFactory
from ram_avatar.live.web import visitors
from ram_avatar.live.web.addresses import neighbourhood
from ram_avatar.live.web.certificate import own_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return own_certificate("127.0.0.1", tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http", "https"])
def live(request, avatars, certificate):
    """A server that asks for a token."""
    made = certificate if request.param == "https" else None
    with running(PipelineFactory(avatars / "ada"), token="sesame", certificate=made) as server:
        yield server


def _connect(live: Running, *, shake: bool = True, source: str = "127.0.0.1") -> socket.socket:
    """Connect; complete the TLS handshake, if there is one, unless told otherwise."""
    made = socket.create_connection((live.host, live.port), timeout=20, source_address=(source, 0))
    if live.scheme == "https" and shake:
        return ssl._create_unverified_context().wrap_socket(made, server_hostname="127.0.0.1")
    return made


def _get(connection: socket.socket, live: Running, token: str) -> int:
    """Send a request; return the status."""
    cookie = f"ram-avatar-{live.port}={token}"
    connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\nCookie: {cookie}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def _is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes the connection; return whether it did so before it sent anything."""
    try:
        return connection.recv(100) == b""
    except (ConnectionError, ssl.SSLError):
        return True


@pytest.mark.parametrize("shake", [False, True])
def test_silent_connections_keep_nobody_out(live, shake):
    """From the same address or others, before or after the handshake."""
    with ExitStack() as stack:
        friend = stack.enter_context(_connect(live))
        assert _get(friend, live, "sesame") == 200
        for number in range(2 * visitors.MAX_WAITING):
            stack.enter_context(_connect(live, shake=shake, source=f"127.0.0.{2 + number % 16}"))
        for source in ("127.0.0.1", "127.0.0.2"):
            with _connect(live, source=source) as another:
                assert _get(another, live, "sesame") == 200
                assert _get(another, live, "sesame") == 200
        with _connect(live) as stranger:
            assert _get(stranger, live, "wrong") == 403


def test_one_address_has_few_waiting_connections(live):
    with ExitStack() as stack:
        other = stack.enter_context(_connect(live, source="127.0.0.2"))
        made = [stack.enter_context(_connect(live, shake=False)) for _ in range(visitors.MAX_WAITING_PER_ADDRESS + 1)]
        assert _is_closed(made[0])
        made[1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            made[1].recv(1)
        assert _get(other, live, "sesame") == 200


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"POST /upload/film HTTP/1.1\r\n"])
@pytest.mark.parametrize("shake", [False, True])
def test_patience_with_a_silent_connection_ends(live, monkeypatch, begun, shake):
    monkeypatch.setattr(visitors, "PATIENCE", 0.5)
    with _connect(live, shake=shake) as connection:
        started = time.monotonic()
        if shake:
            connection.sendall(begun)
        assert _is_closed(connection) and 0.3 < time.monotonic() - started < 10


def test_patience_begins_anew_after_an_allowed_request_only(live, monkeypatch):
    monkeypatch.setattr(visitors, "PATIENCE", 1.0)
    with _connect(live) as friend, _connect(live) as stranger:
        started = time.monotonic()
        while time.monotonic() - started < 2.0:
            assert _get(friend, live, "sesame") == 200
            if time.monotonic() - started < 0.5:
                assert _get(stranger, live, "wrong") == 403
            time.sleep(0.2)
        assert _is_closed(stranger)
        friend.sendall(b"GET / HT")
        assert _is_closed(friend)


def test_a_websocket_outlasts_the_patience(avatars, monkeypatch):
    monkeypatch.setattr(visitors, "PATIENCE", 0.3)
    with running(PipelineFactory(avatars / "ada")) as server, server.page() as page:
        time.sleep(1.0)
        page.send("nonsense")
        assert page.recv(timeout=20) and server.app.state.hub.page is not None


def test_admitted_connections_are_limited(avatars, monkeypatch):
    monkeypatch.setattr(visitors, "MAX_ADMITTED", 1)
    with running(PipelineFactory(avatars / "ada")) as server:
        with server.page():
            until(lambda: server.app.state.hub.page is not None)
            assert server.get("/")[0] == 503
        until(lambda: server.get("/")[0] == 200)


def test_what_is_no_tls_is_closed(avatars, certificate):
    with running(PipelineFactory(avatars / "ada"), token="sesame", certificate=certificate) as server:
        for sent in (b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\x16\x03\x01\xff\xff" + bytes(2000)):
            with _connect(server, shake=False) as connection:
                connection.sendall(sent)
                connection.settimeout(20)
                while connection.recv(1000):  # an alert, at most
                    pass
        with _connect(server) as friend:
            assert _get(friend, server, "sesame") == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_addresses_that_one_client_may_have_count_as_one(host, expected):
    assert neighbourhood(host) == expected
