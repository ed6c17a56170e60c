"""The real page in a real browser: headless Chromium, whose camera plays a video."""

import json
import time

import av
import cv2
import numpy as np
import pytest
from chromium import CHROMIUM, Chromium
from live_server import running, until
from untrained_avatar import SIZE
from wiretap import LISTEN, PICTURES, exchanged

from ram_avatar.drivers.driver import Driven
from ram_avatar.drivers.played_motion import standing
from ram_avatar.live.protocol import (
    STAGES,
    Answer,
    CameraFrame,
    Coding,
    Status,
)
from ram_avatar.live.session.codecs import FrameDecoder
from ram_avatar.live.session.pipeline_factory import PipelineFactory
from ram_avatar.live.web import hub
from ram_avatar.video import read_frames

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]

WIDTH, HEIGHT, RATE, PERIOD = 160, 120, 20, 80  # of the camera's video; frames per second; frames
RAISED, SWING = 0.4, 1.1  # of the arm, radians: the minimum, and the range


CORNER = "picture.getContext('2d').getImageData(3, 3, 1, 1).data"


class RedSquare:
    """Follows a red square: the higher it is in the image, the higher the avatar's arm."""

    takes_long = True

    def __init__(self, avatar):
        self.frame = standing(avatar)
        self.joint = avatar.template.pose_joints.index("upperarm01.L")
        self.body = 0.1 * np.random.default_rng(0).standard_normal((75, 2))

    def drive(self, rgb, seconds):
        red = np.zeros((1, 1), bool) if rgb is None else (rgb[..., 0] > 150) & (rgb[..., 1] < 100)
        if not red.any():
            return Driven(None, Status.WAITING if rgb is None else Status.LOST)
        y, x = (centre.mean() for centre in np.nonzero(red))
        place = np.array([[x / rgb.shape[1], y / rgb.shape[0]]])
        self.frame.pose[self.joint] = [0.0, SWING * (place[0, 1] - 1) - RAISED, 0.0]
        return Driven(self.frame, Status.SEEN, place + self.body, {"detect": 1.0})

    def adjust(self, settings): ...

    def calibrate(self): ...

    def reset(self): ...

    def close(self): ...


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """A video of a red square that moves up and down on the left side of the image."""
    path = tmp_path_factory.mktemp("camera") / "square.mjpeg"
    with av.open(str(path), "w", format="mjpeg") as film:
        stream = film.add_stream("mjpeg", rate=RATE, options={"q:v": "3"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for k in range(PERIOD):
            picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            y = round(HEIGHT / 2 + 0.33 * HEIGHT * np.sin(2 * np.pi * k / PERIOD))
            picture[y - 14 : y + 14, 36:64] = 220, 20, 20
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def server(avatars):
    with running(PipelineFactory(avatars / "ada", camera=RedSquare)) as live:
        yield live


@pytest.fixture(autouse=True)
def no_grace_period(monkeypatch):
    """Reset the server as soon as a page disconnects."""
    monkeypatch.setattr(hub, "GRACE", 0.0)


@pytest.fixture(scope="module")
def browser(camera):
    with Chromium(camera) as made:
        yield made


@pytest.fixture()
def blank(browser, server):
    """An empty tab. It is closed, and its page forgotten, however the test ends."""
    made = browser.tab()
    yield made
    made.close()
    until(lambda: server.app.state.hub.page is None)
    until(lambda: server.app.state.hub._reset_task.done())


@pytest.fixture()
def tab(blank, server):
    """A tab with the page, ready to start."""
    blank.open(server.url)
    blank.wait("document.body.dataset.state === 'idle'")
    return blank


def _click(tab, selector: str) -> None:
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def _start(tab) -> None:
    _click(tab, "#start")
    tab.wait("document.body.dataset.state === 'running' && Number(picture.dataset.number) > 3")


def _set(tab, selector: str, value) -> None:
    """Move a slider or choose from a list, as a user would."""
    tab.evaluate(
        f"{{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
        "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, { bubbles: true })); }"
    )


def _pixels(tab) -> np.ndarray:
    """Return the avatar's canvas, [H, W, 4]."""
    data = tab.evaluate("Array.from(picture.getContext('2d').getImageData(0, 0, picture.width, picture.height).data)")
    height = tab.evaluate("picture.height")
    return np.array(data, np.uint8).reshape(height, -1, 4)


def _top(mask: np.ndarray) -> float:
    """Return the row of the topmost pixel, relative to the height of the image."""
    return np.nonzero(mask.any(1))[0].min(initial=len(mask)) / len(mask)


def test_the_avatar_on_the_page_follows_the_camera(blank, server):
    """In each image, its hand is as high as the square in the camera frame that the image answers."""
    tab = blank
    tab.call("Page.enable")
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=LISTEN)
    tab.open(server.url)
    tab.wait("document.body.dataset.state === 'idle'")
    _click(tab, "#mirror")  # without a mirror, the left arm is on the right of the image
    tab.wait("document.querySelector('#mirror').getAttribute('aria-pressed') === 'false'")
    _start(tab)
    time.sleep(PERIOD / RATE)  # one period of the square, however fast the machine is
    tab.wait(f"{PICTURES} > 40", 120)
    _click(tab, "#start")  # stop: the latest image stays
    time.sleep(1.0)
    decode, square, hand, shown = FrameDecoder(), [], [], {}
    for up, down in exchanged(tab):
        film = decode(up.coding, up.picture).astype(int)
        shown[down.number] = decode(down.coding, down.picture)
        square.append(_top((film[..., 0] > 150) & (film[..., 1] < 100)))
        hand.append(_top(shown[down.number][:, round(0.86 * SIZE) :, 0] > 120))
    assert len(square) > 20 and np.ptp(square) > 0.4 and np.ptp(hand) > 0.12
    assert np.corrcoef(square, hand)[0, 1] > 0.9
    # The page shows the latest of them.
    last = shown[max(shown)].astype(int)
    assert tab.evaluate("Number(picture.dataset.number)") in shown
    assert np.abs(_pixels(tab)[..., :3] - last).mean() < 2


def test_the_page_shows_statistics(tab):
    _start(tab)
    tab.wait("document.querySelector('[data-statistic=p95]').textContent !== '–'")
    shown = tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-statistic]')]"
        ".map((e) => [e.dataset.statistic, e.textContent]))"
    )
    assert float(shown["fps"]) > 1 and shown["p50"].endswith(" ms") and int(shown["dropped"]) >= 0
    stages = tab.evaluate("[...document.querySelectorAll('#stages th')].map((e) => e.textContent)")
    assert {"detect", "render", "encode"} <= set(stages) <= set(STAGES)


def test_the_tracked_body_is_drawn_over_the_camera(tab):
    _start(tab)
    drawn = (
        "overlay.getContext('2d').getImageData(0, 0, overlay.width || 1, overlay.height || 1).data.some((v) => v > 0)"
    )
    tab.wait(drawn)


def test_h264_works_if_the_browser_supports_it(tab):
    if not tab.evaluate("import('./codecs.js').then((m) => m.canH264())"):
        pytest.skip("this chromium has no H.264 encoder")
    _start(tab)
    _set(tab, "#coding", "h264")
    before = tab.evaluate("Number(picture.dataset.number)")
    tab.wait(f"Number(picture.dataset.number) > {before + 10}")
    assert _pixels(tab)[50, 64, :3].mean() > 150
    _set(tab, "#coding", "jpeg")
    before = tab.evaluate("Number(picture.dataset.number)")
    tab.wait(f"Number(picture.dataset.number) > {before + 5}")


def test_the_page_and_the_server_speak_the_same_protocol(tab):
    packed = tab.evaluate(
        "import('./protocol.js').then(({ packFrame, CODING }) => "
        "Array.from(packFrame(4000000000, 1234.5, CODING.jpeg, new Uint8Array([7, 8, 9]).buffer)))"
    )
    assert CameraFrame.unpack(bytes(packed)) == CameraFrame(4_000_000_000, 1234.5, Coding.JPEG, b"\x07\x08\x09")
    answer = Answer(
        number=9,
        captured=17.25,
        status=Status.LOST,
        coding=Coding.H264_DELTA,
        picture=b"abc",
        driving=b"de",
        landmarks=np.array([[0.25, 0.5], [np.nan, np.nan]]),
        timings={"render": 12.5},
        dropped=True,
        opacity_below=True,
    )
    got = tab.evaluate(
        """import("./protocol.js").then(({ unpackAnswer }) => {
          const answer = unpackAnswer(new Uint8Array(BYTES).buffer);
          return { ...answer, picture: Array.from(answer.picture), driving: Array.from(answer.driving) };
        })""".replace("BYTES", str(list(answer.pack())))
    )
    assert (got["number"], got["captured"], got["status"], got["coding"]) == (9, 17.25, "lost", 3)
    assert (got["dropped"], got["opacityBelow"]) == (True, True)
    assert bytes(got["picture"]) == b"abc" and bytes(got["driving"]) == b"de"
    assert got["points"][0] == pytest.approx([0.25, 0.5], abs=1e-4) and got["points"][1] is None
    assert got["timings"][STAGES.index("render")] == 12.5


def test_the_page_paces_frames_to_the_server(tab):
    """One at a time until its pace is known; faster if no frame waits, slower if frames wait or are dropped."""

    def answer(number: int, wait: float, dropped: bool = False) -> str:
        timings = {"wait": wait, "detect": 60.0, "render": 40.0}
        return str(list(Answer(number, 0.0, Status.SEEN, timings=timings, dropped=dropped).pack()))

    ready = tab.evaluate(
        """import('./connection.js').then(({ Connection }) => {
          const [plain, clock] = [window.WebSocket, performance.now];
          let socket, now = 1000;
          window.WebSocket = class { static OPEN = 1; readyState = 1; constructor() { socket = this; } send() {} };
          performance.now = () => now;
          const connection = new Connection("socket", "test");
          connection.connect();
          socket.onopen();
          const receive = (bytes) => socket.onmessage({ data: new Uint8Array(bytes).buffer });
          // Milliseconds from sending a frame until the next one may be sent.
          const interval = (number) => {
            connection.reserve(number);
            const sent = now;
            while (!connection.ready && now - sent < 3000) now += 1;
            return now - sent;
          };
          const seen = [interval(1)];
          receive(FIRST);
          seen.push(interval(2));
          receive(EARLY);
          seen.push(interval(3));
          receive(LATE);
          seen.push(interval(4));
          receive(DROPPED);
          seen.push(interval(5));
          [window.WebSocket, performance.now] = [plain, clock];
          return seen;
        })""".replace("FIRST", answer(1, 2.0))
        .replace("EARLY", answer(2, 2.0))
        .replace("LATE", answer(3, 108.0))
        .replace("DROPPED", answer(4, 0.0, dropped=True))
    )
    assert ready == [3000, 101, 96, 126, 138]


def test_the_background_can_be_chosen(tab):
    _start(tab)
    _set(tab, "#colour", "#ff0000")
    tab.wait(f"{CORNER}[0] > 220")
    _click(tab, "[name=background][value=transparent]")
    tab.wait(f"{CORNER}[3] < 8")
    shown = _pixels(tab)
    assert shown[50, 64, 3] > 240 and shown[50, 64, :3].mean() > 150  # the body is still visible
    _click(tab, "[name=background][value=captured]")
    tab.wait(f"{CORNER}[3] === 255")


def test_the_view_for_obs_has_a_transparent_background(tab, browser, server):
    _start(tab)
    view = browser.tab()
    view.open(server.url + "view")
    view.wait("document.querySelector('canvas').width === 128")
    view.wait("document.querySelector('canvas').getContext('2d').getImageData(64, 50, 1, 1).data[3] > 240")
    assert view.evaluate(f"{CORNER}[3]") < 8
    assert view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
    view.close()
    until(lambda: not server.app.state.hub._views)


def test_the_sliders_work_without_a_camera(tab):
    _click(tab, "[name=driver][value=sliders]")
    _start(tab)
    assert tab.evaluate("document.querySelector('#preview').hidden")
    still = _pixels(tab)
    _set(tab, "[data-name=jawOpen]", 1)
    tab.wait("document.querySelector('[data-name=jawOpen]').closest('.slider').classList.contains('held')")
    before = tab.evaluate("Number(picture.dataset.number)")
    tab.wait(f"Number(picture.dataset.number) > {before + 3}")
    assert np.abs(_pixels(tab).astype(int) - still).max() > 10
    _click(tab, "#release")
    tab.wait("!document.querySelector('.held')")


def test_a_recording_is_downloaded(tab, browser):
    _start(tab)
    _click(tab, "#record")
    tab.wait("document.querySelector('#record').getAttribute('aria-pressed') === 'true'")
    time.sleep(1.5)
    _click(tab, "#record")
    tab.wait("!document.querySelector('#saved').hidden")
    until(lambda: list(browser.downloads.glob("*.mp4")))
    (film,) = browser.downloads.glob("*.mp4")
    until(lambda: film.stat().st_size > 0)
    assert len(list(read_frames(film))) > 20
    with av.open(str(film)) as container:
        assert "Generated by RAM-Avatar" in container.metadata["comment"]


def test_an_uploaded_image_becomes_the_background(tab, tmp_path):
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((20, 20, 3), (200, 0, 0), np.uint8))  # BGR
    _start(tab)
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector="#backdrop")["nodeId"]
    tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "blue.png")])
    tab.wait(f"{CORNER}[2] > 170 && {CORNER}[0] < 40")
    assert tab.evaluate("document.querySelector('#backdrop-name').textContent") == "blue.png"
    (tmp_path / "text.png").write_text("no picture")
    tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "text.png")])
    assert "text.png" in tab.wait("!trouble.hidden && document.querySelector('#trouble-text').textContent")


# Troubles ---------------------------------------------------------------------------------------------------


def test_a_disconnected_camera_is_reported_and_can_be_started_again(tab):
    _start(tab)
    tab.evaluate(
        "{ const track = document.querySelector('#video').srcObject.getVideoTracks()[0];"
        "track.stop(); track.dispatchEvent(new Event('ended')); }"
    )
    tab.wait("document.body.dataset.state === 'idle'")
    assert "camera was disconnected" in tab.evaluate("document.querySelector('#trouble-text').textContent")
    _start(tab)
    assert tab.evaluate("document.querySelector('#trouble').hidden")


def test_a_second_page_is_refused_but_can_take_over(tab, browser, server):
    _start(tab)
    second = browser.tab()
    second.open(server.url)
    assert "Another page" in second.wait(
        "document.body.dataset.link === 'ended' && document.querySelector('#card-title').textContent"
    )
    assert tab.evaluate("document.body.dataset.state") == "running"
    _click(second, "#card-button")
    second.wait("document.body.dataset.state === 'idle'")
    tab.wait("document.querySelector('#card-title').textContent.includes('took over')")
    second.close()
    until(lambda: server.app.state.hub.page is None)


def test_the_page_reconnects_after_the_server_was_gone(avatars, browser):
    """As after a network failure: the camera keeps running, and the session continues."""
    page, factory = browser.tab(), PipelineFactory(avatars / "ada", camera=RedSquare)
    with running(factory) as live:
        page.open(live.url)
        page.wait("document.body.dataset.state === 'idle'")
        _start(page)
        _set(page, "#smoothing", 0.85)
        until(lambda: live.app.state.hub.settings.smoothing == 0.85)
    page.wait("document.body.dataset.link === 'lost'")
    assert "still running" in page.wait("!card.hidden && document.querySelector('#card-text').textContent")
    before = page.evaluate("Number(picture.dataset.number)")
    with running(factory, port=live.port) as again:
        page.wait("document.body.dataset.state === 'running' && document.querySelector('#card').hidden")
        page.wait(f"Number(picture.dataset.number) > {before + 3}")
        until(lambda: again.app.state.hub.settings.smoothing == 0.85)
        page.close()


@pytest.mark.parametrize(
    ("video", "allow", "words"), [(None, True, "No camera found"), ("film", False, "camera is blocked")]
)
def test_a_missing_or_denied_camera_is_reported(server, camera, video, allow, words):
    with Chromium(camera if video else None, allow=allow) as browser:
        page = browser.tab()
        page.open(server.url)
        page.wait("document.body.dataset.state === 'idle'")
        _click(page, "#start")
        shown = page.wait(
            "!document.querySelector('#trouble').hidden && document.querySelector('#trouble-text').textContent"
        )
        assert words in shown
        assert page.evaluate("document.body.dataset.state") == "idle"
        _click(page, "#card-other")  # the sliders still work
        page.wait("document.body.dataset.state === 'running'")
        page.close()
        until(lambda: server.app.state.hub.page is None)


# Accessibility ---------------------------------------------------------------------------------------------


def test_all_controls_have_names_and_are_reachable_by_keyboard(tab):
    tab.size(1440, 900)
    nameless = tab.evaluate(
        """[...document.querySelectorAll("button, input, select, canvas, summary, [role=radiogroup]")]
          .filter((e) => !e.closest("[aria-hidden=true], [hidden]"))
          .filter((e) => !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim()))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    named = {(n["role"]["value"], n.get("name", {}).get("value")) for n in tree if not n.get("ignored") and "role" in n}
    assert {("button", "Start"), ("button", "Mirror"), ("combobox", "Avatar")} <= named
    reached = set()
    for _ in range(30):
        tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        tab.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(
            tab.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
    assert {"start", "mirror", "smoothing", "driver", "background"} <= reached


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1440, 900), (844, 390)])
def test_the_page_fits_the_screen(tab, width, height):
    tab.size(width, height)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for part in ("#start", "#mirror", "#record", ".frame", "#card-button"):
        box = tab.evaluate(f"document.querySelector('{part}').getBoundingClientRect().toJSON()")
        assert box["left"] >= 0 and box["right"] <= width + 0.5 and box["width"] > 30, part
    assert tab.evaluate("document.querySelector('#start').getBoundingClientRect().bottom") <= height + 0.5


def test_on_a_phone_the_settings_sheet_takes_and_returns_the_focus(tab):
    tab.size(390, 844)
    tab.wait("document.querySelector('#panel').inert")
    _click(tab, "#open-panel")
    assert tab.evaluate("document.activeElement.id") == "close-panel"
    assert tab.evaluate("document.querySelector('#open-panel').getAttribute('aria-expanded')") == "true"
    tab.evaluate(
        "document.querySelector('#panel').dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))"
    )
    assert tab.evaluate("document.activeElement.id") == "open-panel" and tab.evaluate(
        "document.querySelector('#panel').inert"
    )


def test_reduced_motion_is_respected(tab):
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert tab.evaluate("parseFloat(getComputedStyle(document.querySelector('.spinner')).animationDuration)") < 0.001
    tab.call("Emulation.setEmulatedMedia", features=[])
