import os
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import suppress

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.live.session.rate_limit import RateLimit
from ram_avatar.live.web.access import Access
from ram_avatar.live.web.addresses import is_loopback, reachable_address
from ram_avatar.live.web.certificate import check_certificate, fingerprint, own_certificate
from ram_avatar.live.web.listening import Address, listen
from ram_avatar.live.web.serving import grant

HERE = Access("127.0.0.1", 8642)
AWAY = Access("0.0.0.0", 8642, "sesame", tls=True)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[(name, True) for name in ("127.0.0.1", "127.1.2.3", "::1", "localhost")],
        *[(name, False) for name in ("0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", "")],
    ],
)
def test_loopback_addresses_are_recognized(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost:8642", "[::1]:8642", "localhost"])
def test_names_of_this_machine_are_accepted(host):
    assert HERE.refusal({"host": host}, {}, from_page=False) is None


@pytest.mark.parametrize("host", ["evil.example:8642", "127.0.0.1.evil.example", "192.168.1.5:8642", "", None])
def test_other_names_that_point_at_this_machine_are_refused(host):
    """DNS rebinding: a page of evil.example reaches 127.0.0.1, but the browser sends evil.example as Host."""
    headers = {} if host is None else {"host": host}
    assert HERE.refusal(headers, {}, from_page=False)


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("http://localhost:8642", True),
        ("HTTP://localhost:8642", True),
        ("http://localhost:8643", False),
        ("https://localhost:8642", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        (None, False),
    ],
)
def test_only_pages_of_this_server_may_open_a_websocket(origin, fine):
    headers = {"host": "localhost:8642"} | ({} if origin is None else {"origin": origin})
    assert (HERE.refusal(headers, {}, from_page=True) is None) is fine


@pytest.mark.parametrize(("given", "fine"), [("sesame", True), ("Sesame", False), ("", False), (None, False)])
def test_a_token_is_required_beyond_loopback(given, fine):
    cookies = {} if given is None else {AWAY.cookie: given}
    assert (AWAY.refusal({"host": "192.168.1.5:8642"}, cookies, from_page=False) is None) is fine


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.1.5"])
def test_a_refusal_never_contains_the_token(host):
    access = Access(host, 8642, "sesame")
    for headers in ({}, {"host": "evil.example"}, {"host": f"{host}:8642"}, {"host": f"{host}:8642", "origin": "null"}):
        for cookies in ({}, {access.cookie: "wrong"}):
            for from_page in (False, True):
                refusal = access.refusal(headers, cookies, from_page=from_page)
                assert refusal and "sesame" not in refusal


def test_the_link_carries_the_token():
    assert HERE.link == "http://127.0.0.1:8642/"
    assert Access("192.168.1.5", 9, "key", tls=True).link == "https://192.168.1.5:9/?token=key"
    assert Access("::1", 9).link == "http://[::1]:9/"
    assert "0.0.0.0" not in AWAY.link and reachable_address("0.0.0.0")


def test_the_rate_limit_holds():
    slow, quick = RateLimit(rate=0.001, burst=5), RateLimit(rate=1e9, burst=5)
    assert sum(slow.allows() for _ in range(100)) == 5
    assert sum(quick.allows() for _ in range(100)) == 100


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture()
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))
    return tmp_path


def test_loopback_needs_neither_token_nor_certificate():
    access, certificate = grant(Address(), 8642, Silent())
    assert access.token is None and certificate is None and not access.tls


def test_any_other_address_gets_a_token_and_a_certificate(cache):
    notes = Notes()
    access, certificate = grant(Address(host="0.0.0.0"), 8642, notes)
    assert len(access.token) >= 20 and access.tls and certificate.parent == cache
    assert grant(Address(host="0.0.0.0"), 8642, notes)[0].token != access.token
    assert grant(Address(host="0.0.0.0", token="mine"), 8642, notes)[0].token == "mine"
    assert fingerprint(certificate) in notes.notes[0]


def test_the_own_certificate_is_kept_and_private(cache):
    made = own_certificate("192.168.1.5")
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o600
    first = fingerprint(made)
    assert fingerprint(own_certificate("192.168.1.5")) == first
    assert fingerprint(own_certificate("192.168.1.6")) != first  # it names the address
    assert [p.name for p in cache.iterdir()] == [made.name]
    check_certificate(made)


@pytest.mark.parametrize("damage", ["noise", "empty", "key", "folder"])
def test_a_damaged_own_certificate_is_made_anew(cache, listener, damage):
    made = own_certificate("192.168.1.5")
    content = made.read_bytes()
    made.unlink()
    if damage == "folder":
        made.mkdir()
    else:
        other = own_certificate("192.168.1.5").read_bytes()
        key = other[: other.index(b"-----BEGIN CERTIFICATE")] + content[content.index(b"-----BEGIN CERTIFICATE") :]
        made.write_bytes({"noise": bytes(range(256)), "empty": b"", "key": key}[damage])
    check_certificate(own_certificate("192.168.1.5", progress=listener))
    [note] = listener.notes
    assert str(made) in note and "damaged" in note
    own_certificate("192.168.1.5", progress=listener)
    assert len(listener.notes) == 1


def test_the_own_certificate_is_valid_for_its_address(cache):
    """In a real handshake that trusts only this certificate and checks the name."""
    made = own_certificate("localhost")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made)
    client = ssl.create_default_context(cafile=str(made))
    for name, fine in (("localhost", True), ("127.0.0.1", True), ("evil.example", False)):
        here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
        a = client.wrap_bio(here, there, server_hostname=name)
        b = server.wrap_bio(there, here, server_side=True)
        try:
            for _ in range(4):
                for end in (a, b):
                    with suppress(ssl.SSLWantReadError):
                        end.do_handshake()
            assert fine and a.version()
        except ssl.SSLCertVerificationError:
            assert not fine


@pytest.mark.parametrize("content", [None, b"", b"no pem", "certificate alone"])
def test_an_invalid_certificate_is_rejected(cache, tmp_path, content):
    path = tmp_path / "cert.pem"
    if content == "certificate alone":
        content = own_certificate("localhost").read_bytes().split(b"-----BEGIN CERTIFICATE")[1]
        content = b"-----BEGIN CERTIFICATE" + content
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cert\.pem"):
        check_certificate(path)


def test_a_port_in_use_is_reported():
    taken = listen(Address(port=0))
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=f"port {port} is in use.*--port"):
        listen(Address(port=port))
    taken.close()


@pytest.mark.parametrize(
    ("host", "port", "cause"),
    [
        ("203.0.113.7", 0, "not an address of this machine"),
        ("no.such.name.invalid", 0, "no such"),
        ("127.0.0.1", 99999, "99999"),
    ],
)
def test_an_invalid_address_is_reported(host, port, cause):
    with pytest.raises(UserError, match=cause):
        listen(Address(host, port))


def test_a_missing_package_is_reported_with_its_extra():
    """In a process that cannot find starlette."""
    script = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'starlette' else find(name, *a)\n"
        "from ram_avatar.cli.main import main\n"
        "main(['live', 'avatar'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "starlette" in done.stderr and "ram-avatar[live]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_server_listens_on_loopback_by_default():
    from ram_avatar.cli.main import live

    assert live.__defaults__ is not None and Address().host == "127.0.0.1"
    with listen(Address(port=0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        assert server.getsockname()[0] == "127.0.0.1"
