"""The real server with real sockets and real avatars."""

import json
import re
import resource
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from live_server import answer, ask, event, running, tick, until
from untrained_avatar import save_untrained
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ram_avatar.core.errors import UserError
from ram_avatar.drivers.driver import Driven, Status
from ram_avatar.live.protocol import (
    MAX_FRAME,
    CameraFrame,
    CloseCode,
    Coding,
)
from ram_avatar.live.session.codecs import FrameDecoder, encode_jpeg
from ram_avatar.live.session.pipeline_factory import PipelineFactory
from ram_avatar.live.web import files, hub, recordings
from ram_avatar.live.web import server as server_module
from ram_avatar.live.web.certificate import own_certificate
from ram_avatar.motion.motion import Motion
from ram_avatar.video import VideoWriter, read_frames

BODY = 50, 64  # a pixel of the standing avatar


class Brightness:
    """A simple tracker: sees a person in bright images, and reports the brightness as a landmark."""

    takes_long = True

    def __init__(self, avatar): ...

    def drive(self, rgb, seconds):
        if rgb is None:
            return Driven(None, Status.WAITING)
        level = rgb.mean() / 255
        return Driven(None, Status.SEEN if level > 0.2 else Status.LOST, np.array([[level, 1 - level]]))

    def adjust(self, settings): ...

    def calibrate(self): ...

    def reset(self): ...

    def close(self): ...


@pytest.fixture(scope="module")
def server(avatars):
    """A server shared by all tests that leave it as they find it."""
    with running(PipelineFactory(avatars / "ada", camera=Brightness)) as live:
        yield live


@pytest.fixture()
def page(server):
    """A driving page, with the avatar loaded."""
    with server.page() as socket:
        event(socket, "welcome")
        yield socket
    until(lambda: server.app.state.hub.page is None)


def _picture(level: int) -> bytes:
    return encode_jpeg(np.full((48, 64, 3), level, np.uint8))


def _film(folder: Path) -> Path:
    with VideoWriter(folder / "f.mp4", 64, 48, 10) as video:
        for _ in range(20):
            video.write(np.full((48, 64, 3), 150, np.uint8))
    return folder / "f.mp4"


# Pages ------------------------------------------------------------------------------------------------------


def test_the_page_is_served_and_loads_nothing_from_elsewhere(server):
    status, headers, body = server.get("/")
    assert status == 200 and headers["content-type"].startswith("text/html") and b"<title>RAM-Avatar" in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and "camera=(self)" in headers["permissions-policy"]
    for name in ("app.js", "style.css", "view", "icon.svg", "ticker.js"):
        assert server.get(f"/{name}")[0] == 200
    static = Path(server_module.__file__).parent / "static"
    for file in static.iterdir():
        others = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", file.read_text()))
        assert others <= {"http://www.w3.org"}  # the namespace of SVG


@pytest.mark.parametrize(
    "path", ["/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "/static/app.js", "/x.js", "/a/b"]
)
def test_nothing_else_is_served(server, path):
    assert server.get(path)[0] == 404


def test_a_page_under_another_name_is_refused(server):
    assert server.get("/", Host="evil.example")[0] == 403
    assert server.get("/", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_a_websocket_of_another_page_is_refused(server, origin):
    with pytest.raises(InvalidStatus) as refused, server.page(Origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_websocket_without_an_origin_is_refused(server):
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/socket", origin=None):
        pass


# A session --------------------------------------------------------------------------------------------------


def test_the_first_message_describes_the_session(server):
    with server.page() as socket:
        got = event(socket, "welcome")
    assert got["avatar"] == "ada" and got["avatars"] == ["ada", "bob"]
    assert got["drivers"] == ["camera", "film", "sliders"] and got["driver"] == "camera"
    assert (got["facts"]["width"], got["facts"]["height"]) == (128, 128) and "jawOpen" in got["facts"]["actions"]
    assert got["settings"]["background"] == "captured"
    until(lambda: server.app.state.hub.page is None)


def test_a_camera_frame_is_answered_with_the_avatar(page):
    page.send(CameraFrame(7, 123.5, Coding.JPEG, _picture(200)).pack())
    got = answer(page)
    assert (got.number, got.captured, got.status) == (7, 123.5, Status.SEEN)
    assert got.landmarks == pytest.approx(np.array([[200 / 255, 55 / 255]]), abs=0.01)
    assert got.timings["render"] > 0 and got.timings["decode"] > 0
    shown = FrameDecoder()(Coding.JPEG, got.picture)
    assert shown.shape == (128, 128, 3)
    assert shown[BODY].mean() > 150 and abs(int(shown[4, 4].mean()) - 40) < 6


def test_a_lost_person_is_reported(page):
    page.send(CameraFrame(1, 1.0, Coding.JPEG, _picture(5)).pack())
    assert answer(page).status == Status.LOST


def test_every_frame_of_a_flood_is_answered_once(server, page):
    """Sent as fast as the socket takes them, most are dropped but none is forgotten."""
    packed = _picture(100)
    for number in range(120):
        page.send(CameraFrame(number, 1.0, Coding.JPEG, packed).pack())
    got = [answer(page) for _ in range(120)]
    assert sorted(a.number for a in got) == list(range(120))
    assert sum(a.dropped for a in got) > 50 and not next(a for a in got if a.number == 119).dropped


def test_settings_are_applied_and_returned(page):
    ask(page, "settings", changes={"background": "#ff0000", "fingers": {"left index": 0.5}})
    assert event(page, "settings")["settings"]["fingers"] == {"left index": 0.5}
    shown = FrameDecoder()(Coding.JPEG, tick(page, 1).picture)
    assert shown[4, 4, 0] > 230 and shown[4, 4, 1] < 25
    ask(page, "settings", changes={"background": "transparent"})
    event(page, "settings")
    got = tick(page, 2)
    stacked = FrameDecoder()(Coding.JPEG, got.picture)
    assert got.opacity_below and stacked.shape == (256, 128, 3)
    assert stacked[128 + 4, 4].max() < 25 and stacked[128:][BODY].min() > 230
    ask(page, "settings", changes={"background": "captured", "fingers": {}})
    event(page, "settings")


@pytest.mark.parametrize(
    ("request_", "cause"),
    [
        ("no json", "not a message"),
        ({"type": "dance"}, "dance"),
        ({"type": "settings", "changes": {"speed": 2}}, "speed"),
        ({"type": "settings"}, "changes"),
        ({"type": "driver", "kind": "puppet"}, "puppet"),
        ({"type": "driver", "kind": "film"}, "film"),
        ({"type": "avatar", "name": "../ada"}, "no avatar"),
        ({"type": "avatar", "name": "notes"}, "notes"),
        ({"type": "__class__"}, "unknown request"),
    ],
)
def test_an_invalid_request_is_refused_and_the_session_continues(page, request_, cause):
    page.send(request_ if isinstance(request_, str) else json.dumps(request_))
    assert cause in event(page, "refused")["text"]
    assert tick(page, 1).coding == Coding.JPEG


def test_a_damaged_frame_is_reported_and_answered(page):
    page.send(CameraFrame(5, 1.0, Coding.JPEG, b"no picture").pack())
    assert answer(page).dropped
    page.send(b"\x01\x01nonsense")
    assert "frame" in event(page, "refused")["text"]


def test_a_reloaded_page_starts_a_failed_session_over(avatars, tmp_path, monkeypatch):
    """In its initial state; an uploaded video is removed."""

    def fail(*_):
        raise UserError("the tracker is broken")

    with running(PipelineFactory(avatars / "ada", camera=Brightness)) as live:
        with live.page() as page:
            event(page, "welcome")
            ask(page, "settings", changes={"smoothing": 0.9})
            event(page, "settings")
            assert _upload(live, "film", _film(tmp_path).read_bytes())[0] == 200
            event(page, "driver")
            with monkeypatch.context() as patch:
                patch.setattr(Brightness, "drive", fail)
                for number in range(10):
                    tick(page, number)
                event(page, "failed")
        with live.page("again") as page:
            got = event(page, "welcome")
            assert got["settings"]["smoothing"] == 0.5 and got["driver"] == "camera"
            assert not list(live.folder.iterdir())
            page.send(CameraFrame(7, 123.5, Coding.JPEG, _picture(200)).pack())
            assert answer(page).status == Status.SEEN


def test_h264_in_both_directions(page):
    from ram_avatar.live.session.codecs import ImageEncoder

    encode, decode = ImageEncoder(h264=True), FrameDecoder()
    ask(page, "coding", h264=True)
    for number in range(4):
        coding, packed = encode(np.full((48, 64, 3), 60 + 40 * number, np.uint8))
        page.send(CameraFrame(number, 40.0 * number, coding, packed).pack())
        got = answer(page)
        assert got.landmarks[0, 0] == pytest.approx((60 + 40 * number) / 255, abs=0.02)
        assert got.coding == (Coding.H264_DELTA if number else Coding.H264_KEY)
        assert decode(got.coding, got.picture).shape == (128, 128, 3)
    ask(page, "keyframe")
    time.sleep(0.05)
    page.send(CameraFrame(9, 400.0, *encode(np.zeros((48, 64, 3), np.uint8))).pack())
    assert answer(page).coding == Coding.H264_KEY
    ask(page, "coding", h264=False)


def test_statistics_come_every_second(page):
    tick(page, 1)
    got = event(page, "statistics", timeout=10)
    assert got["frames"] > 0 and {"p50", "p95"} == set(got["latency"]["render"]) and "render" in got["stages"]


def test_another_avatar_can_be_chosen(page):
    before = FrameDecoder()(Coding.JPEG, tick(page, 1).picture)
    ask(page, "avatar", name="bob")
    assert event(page, "loading")["avatar"] == "bob"
    assert event(page, "welcome")["facts"]["name"] == "bob"
    after = FrameDecoder()(Coding.JPEG, tick(page, 2).picture)
    assert after[BODY].mean() < before[BODY].mean() - 40
    ask(page, "avatar", name="ada")
    event(page, "loading")
    event(page, "welcome")


# Several pages ----------------------------------------------------------------------------------------------


def test_a_second_page_is_refused_but_may_take_over(server, page):
    with server.page("other") as second:
        with pytest.raises(ConnectionClosed) as closed:
            second.recv(timeout=10)
        assert closed.value.rcvd.code == CloseCode.BUSY
    assert tick(page, 1).coding == Coding.JPEG  # the first is not disturbed
    with server.page("other", "&take=1") as second:
        event(second, "welcome")
        assert tick(second, 2).coding == Coding.JPEG
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                page.recv(timeout=10)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (CloseCode.TAKEN, "taken")


def test_a_page_reconnects_to_its_session(server):
    """After a network failure, the old connection may still look alive."""
    with server.page("tab") as first:
        event(first, "welcome")
        ask(first, "settings", changes={"smoothing": 0.9})
        event(first, "settings")
        with server.page("tab") as again:
            assert event(again, "welcome")["settings"]["smoothing"] == 0.9
            assert tick(again, 1).coding == Coding.JPEG
    until(lambda: server.app.state.hub.page is None)


def test_a_page_that_stays_away_is_forgotten(avatars, monkeypatch):
    monkeypatch.setattr(hub, "GRACE", 0.2)
    with running(PipelineFactory(avatars / "ada")) as live:
        with live.page() as socket:
            event(socket, "welcome")
            ask(socket, "settings", changes={"smoothing": 0.9})
            event(socket, "settings")
        until(lambda: live.app.state.hub.settings.smoothing == 0.5)
        with live.page("next") as socket:
            assert event(socket, "welcome")["settings"]["smoothing"] == 0.5


def test_views_get_images_and_are_limited(server, page):
    url = f"ws://127.0.0.1:{server.port}/socket/view"
    views = [connect(f"{url}/{kind}", origin=server.url[:-1]) for kind in ("clear", "scene")]
    until(lambda: len(server.app.state.hub._views) == 2)
    tick(page, 1)
    clear, scene = (answer(view) for view in views)
    assert clear.opacity_below and not scene.opacity_below
    assert FrameDecoder()(Coding.JPEG, clear.picture).shape == (256, 128, 3)
    more = [connect(f"{url}/clear", origin=server.url[:-1]) for _ in range(7)]
    with pytest.raises(ConnectionClosed) as closed:
        more[-1].recv(timeout=10)
    assert closed.value.rcvd.code == CloseCode.TOO_MANY
    for view in (*views, *more):
        view.close()
    until(lambda: not server.app.state.hub._views)


# Limits -----------------------------------------------------------------------------------------------------


def test_too_large_a_message_ends_the_connection(server):
    with server.page() as socket:
        event(socket, "welcome")
        with pytest.raises(ConnectionClosed) as closed:
            # In parts: if a server leaves part of a frame unread, the connection is reset and the close code is lost.
            socket.send([bytes(MAX_FRAME), bytes(2000)])
            while True:
                socket.recv(timeout=10)
        assert closed.value.rcvd.code == 1009
    until(lambda: server.app.state.hub.page is None)


def test_a_page_that_sends_too_many_requests_is_disconnected(server):
    with server.page() as socket:
        event(socket, "welcome")
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(5000):
                ask(socket, "calibrate")
            while True:
                socket.recv(timeout=10)
        assert closed.value.rcvd.code == CloseCode.TOO_MANY
    until(lambda: server.app.state.hub.page is None)


# Uploads ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def unlimited_uploads(request):
    """Refill the rate limit of uploads, since tests are faster than people."""
    if "server" in request.fixturenames:
        request.getfixturevalue("server").app.state.uploads._left = 5.0


def _upload(server, kind: str, body: bytes, name: str = "mine", **headers):
    headers = {"Origin": server.url[:-1], "X-Name": name} | headers
    status, _, body = server.get(f"/upload/{kind}", "POST", body, **headers)
    return status, json.loads(body)


def test_an_uploaded_image_becomes_the_background_and_is_removed(server, page):
    green = np.zeros((30, 50, 3), np.uint8)
    green[..., 1] = 200
    status, body = _upload(server, "picture", encode_jpeg(green), "beach%20(1).jpg")
    assert status == 200 and body["name"] == "beach (1).jpg"
    assert event(page, "settings")["settings"]["background"] == "picture"
    assert FrameDecoder()(Coding.JPEG, tick(page, 1).picture)[4, 4].tolist() == pytest.approx([0, 200, 0], abs=12)
    assert list(server.folder.iterdir()) == []
    ask(page, "settings", changes={"background": "captured"})
    event(page, "settings")


def test_an_uploaded_video_drives_and_is_removed_afterwards(server, page, tmp_path):
    status, _ = _upload(server, "film", _film(tmp_path).read_bytes(), "dance.mp4")
    assert status == 200 and event(page, "driver")["name"] == "dance.mp4"
    got = tick(page, 1)
    assert got.landmarks[0, 0] == pytest.approx(150 / 255, abs=0.02)
    assert FrameDecoder()(Coding.JPEG, got.driving).mean() == pytest.approx(150, abs=4)
    assert len(list(server.folder.iterdir())) == 1
    page.send('{"type": "driver", "kind": "camera"}')
    event(page, "driver")
    tick(page, 2)
    until(lambda: not list(server.folder.iterdir()))


@pytest.mark.parametrize("kind", ["film", "picture"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff" + bytes(500)])
def test_an_unreadable_upload_is_reported_and_removed(server, page, kind, content):
    status, body = _upload(server, kind, content, "..%2f..%2fetc%2fpasswd")
    assert status == 400 and "passwd" in body["text"] and "/" not in body["text"].split(" ")[0]
    assert list(server.folder.iterdir()) == []


def test_too_large_an_upload_is_refused(server, page, monkeypatch):
    monkeypatch.setattr(files, "MAX_PICTURE_BYTES", 1 << 20)
    status, body = _upload(server, "picture", bytes(3 << 20), "big.png")
    assert status == 400 and "big.png is larger than 1 MB" in body["text"]
    assert list(server.folder.iterdir()) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_an_aborted_upload_leaves_nothing(server, page, caplog, chunked):
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000000"
    head = (
        f"POST /upload/film HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.url[:-1]}\r\n{length}\r\n\r\n"
    )
    for body in (b"5\r\nabcde\r\n", b"no chunk\r\n"):
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(head.encode() + body)
            if not (chunked and body.startswith(b"no")):
                until(lambda: list(server.folder.iterdir()))
        until(lambda: not server.app.state.uploading.locked())
        assert not list(server.folder.iterdir())
    assert not caplog.records


@contextmanager
def _full_disk():
    """Let no file grow beyond 1 kB."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_full_disk_is_reported_to_the_page(server, page, caplog):
    with _full_disk():
        status, body = _upload(server, "film", bytes(1 << 20), "dance.mp4")
        assert status == 400 and body["text"].startswith("dance.mp4: the file is larger than this disk")
        assert not list(server.folder.iterdir())
        ask(page, "record", on=True)
        event(page, "recording")
        for number in range(5):
            tick(page, number)
        ask(page, "record", on=False)
        text = event(page, "recorded")["text"]
        assert "larger than this disk" in text and "\n" not in text
    assert not list(server.folder.iterdir()) and not caplog.records


def test_uploads_from_other_pages_are_refused(server, page):
    assert _upload(server, "picture", b"x", Origin="http://evil.example")[0] == 403
    assert server.get("/upload/picture", "POST", b"x")[0] == 403
    assert _upload(server, "program", b"x")[0] == 404


def test_uploads_are_refused_without_a_page_or_when_too_frequent(server, monkeypatch):
    assert _upload(server, "picture", b"x")[0] == 429
    monkeypatch.setattr(server.app.state.uploads, "_rate", 0.0)
    monkeypatch.setattr(server.app.state.uploads, "_left", 2.0)
    with server.page() as socket:
        event(socket, "welcome")
        assert [_upload(server, "picture", b"x")[0] for _ in range(3)] == [400, 400, 429]
    until(lambda: server.app.state.hub.page is None)


# Recording --------------------------------------------------------------------------------------------------


def test_nothing_is_recorded_unless_requested(server, page):
    for number in range(5):
        page.send(CameraFrame(number, 40.0 * number, Coding.JPEG, _picture(100)).pack())
        answer(page)
    assert list(server.folder.iterdir()) == [] and server.app.state.hub.recordings.finished == {}


def test_a_recording_holds_what_was_shown_and_states_that_it_is_generated(server, page, tmp_path):
    ask(page, "record", on=True)
    event(page, "recording")
    asked = time.monotonic()
    tick(page, 1)
    first = time.monotonic()
    for number in range(2, 12):
        time.sleep(0.1)
        shown = FrameDecoder()(Coding.JPEG, tick(page, number).picture)
    last = time.monotonic()
    ask(page, "record", on=False)
    got = event(page, "recorded")
    status, headers, body = server.get(f"/recordings/{got['recording']}.mp4")
    assert status == 200 and headers["content-type"] == "video/mp4" and "ada.mp4" in headers["content-disposition"]
    (tmp_path / "r.mp4").write_bytes(body)
    frames = list(read_frames(tmp_path / "r.mp4"))
    assert 25 * (last - first) - 3 <= len(frames) <= 25 * (time.monotonic() - asked)
    assert got["seconds"] >= 1
    assert np.abs(frames[-1].astype(int) - shown).mean() < 4
    with av.open(str(tmp_path / "r.mp4")) as container:
        assert "Generated by RAM-Avatar" in container.metadata["comment"] and "ada" in container.metadata["comment"]
    assert server.get("/recordings/" + "x" * 16 + ".mp4")[0] == 404


def test_too_long_or_failing_a_recording_ends_by_itself(page, server, monkeypatch):
    monkeypatch.setattr(recordings, "MAX_SECONDS", 0.5)
    ask(page, "record", on=True)
    event(page, "recording")
    tick(page, 1)
    assert event(page, "recorded", timeout=10)["recording"] in server.app.state.hub.recordings.finished
    monkeypatch.setattr(recordings, "MAX_SECONDS", 60)
    ask(page, "record", on=True)
    event(page, "recording")
    server.app.state.hub.recordings.recorder.path = server.folder / "gone" / "x.mp4"
    tick(page, 2)
    assert "gone" in event(page, "recorded", timeout=10)["text"]


def test_an_empty_recording_is_reported(page):
    ask(page, "record", on=True)
    event(page, "recording")
    ask(page, "record", on=False)
    assert "nothing was recorded" in event(page, "recorded")["text"]


def test_a_page_that_disconnects_while_recording_finds_its_recording(avatars, monkeypatch):
    monkeypatch.setattr(hub, "GRACE", 0.2)
    with running(PipelineFactory(avatars / "ada")) as live:
        with live.page() as socket:
            event(socket, "welcome")
            ask(socket, "record", on=True)
            event(socket, "recording")
            tick(socket, 1)
        until(lambda: len(live.app.state.hub.recordings.finished) == 1)
        folder = live.folder
        with live.page() as socket:
            (name,) = event(socket, "welcome")["recordings"]
            assert live.get(f"/recordings/{name}.mp4")[0] == 200
    assert not folder.exists()  # its files are removed when the server ends


def test_images_are_marked_on_request(avatars):
    with running(PipelineFactory(avatars / "ada", marked=True)) as live, live.page() as socket:
        event(socket, "welcome")
        corner = FrameDecoder()(Coding.JPEG, tick(socket, 1).picture)[100:, 80:]
        assert corner.max() > 180


def test_an_smplx_avatar_opens_and_moves(smplx, smplx_file, tiny, motion_file, tmp_path, monkeypatch):
    """Driven by a motion of its own template, and by sliders."""
    monkeypatch.setenv("RAM_AVATAR_SMPLX", str(smplx_file))
    save_untrained(tmp_path / "sue", smplx, tiny.network)
    motion = Motion.load(motion_file)
    pose = torch.zeros(len(motion), len(smplx.pose_joints), 3)
    pose[:, smplx.pose_joints.index(smplx.roles["upper_arm.L"]), 1] = torch.linspace(0, 1, len(motion))
    actions = torch.zeros(len(motion), len(smplx.action_names))
    replace(motion, template=smplx.name, pose=pose, facial_actions=actions).save(tmp_path / "wave.npz")
    with running(PipelineFactory(tmp_path / "sue", source=tmp_path / "wave.npz")) as live, live.page() as page:
        assert event(page, "welcome")["driver"] == "source"
        pictures = [tick(page, number).picture for number in range(5)]
        assert all(pictures)
        ask(page, "driver", kind="sliders")
        event(page, "driver")
        before = tick(page, 10).picture
        ask(page, "settings", changes={"fingers": {"right index": 1.0, "left thumb": 1.0}})
        event(page, "settings")
        assert tick(page, 11).picture not in (b"", before)


# Beyond loopback --------------------------------------------------------------------------------------------


def test_a_token_is_required_for_everything(avatars):
    """On all addresses of this machine, as another machine in the network would see it."""
    with running(PipelineFactory(avatars / "ada"), host="0.0.0.0", token="sesame") as live:
        assert live.get("/")[0] == 403 and live.get("/?token=wrong")[0] == 403
        assert b"link" in live.get("/")[2]
        origin = {"Origin": f"http://127.0.0.1:{live.port}"}
        url = f"ws://127.0.0.1:{live.port}/socket"
        for cookies in ({}, {"Cookie": f"ram-avatar-{live.port}=wrong"}):
            with pytest.raises(InvalidStatus), connect(url, additional_headers=origin | cookies):
                pass
        with connect(url, additional_headers=origin | {"Cookie": f"ram-avatar-{live.port}=sesame"}) as socket:
            assert event(socket, "welcome")
        assert live.get("/recordings/x.mp4")[0] == 403
        assert live.get("/upload/picture", "POST", b"x", **origin)[0] == 403


def test_tls_with_a_certificate_of_this_machine(avatars, tmp_path):
    made = own_certificate("127.0.0.1", tmp_path)
    trusting = ssl.create_default_context(cafile=str(made))
    with running(PipelineFactory(avatars / "ada"), token="k", certificate=made) as live:
        headers = {"Origin": f"https://127.0.0.1:{live.port}", "Cookie": f"ram-avatar-{live.port}=k"}
        url = f"wss://127.0.0.1:{live.port}/socket"
        with connect(url, ssl=trusting, additional_headers=headers) as socket:
            assert event(socket, "welcome")
        with pytest.raises(InvalidStatus):  # the origin of a page over plain HTTP differs
            connect(url, ssl=trusting, additional_headers=headers | {"Origin": f"http://127.0.0.1:{live.port}"})


def test_a_damaged_avatar_is_reported_on_the_page(avatars, tmp_path):
    import shutil

    shutil.copytree(avatars / "ada", tmp_path / "broken")
    (tmp_path / "broken" / "weights.safetensors").write_bytes(b"x")
    with running(PipelineFactory(tmp_path / "broken")) as live, live.page() as socket:
        assert "weights.safetensors" in event(socket, "failed")["text"]


def test_a_file_is_not_an_avatar(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="not an avatar folder"):
        PipelineFactory(tmp_path / "x.png")
