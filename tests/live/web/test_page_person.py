"""End to end without stand-ins: a person in front of a real browser's camera, the real detector and solver, and an
avatar on the page."""

import cv2
import numpy as np
import pytest
from chromium import CHROMIUM, Chromium
from live_server import running
from wiretap import LISTEN, PICTURES, exchanged

from ram_avatar.core.progress import Silent
from ram_avatar.creation.options import TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.drivers.camera import tracker_maker
from ram_avatar.drivers.driver import Status
from ram_avatar.evaluation.control import detect_frames
from ram_avatar.live.session.codecs import FrameDecoder
from ram_avatar.live.session.pipeline_factory import PipelineFactory
from ram_avatar.video import read_frames

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]
WRISTS, HIPS, SHOULDERS = [15, 16], [23, 24], [11, 12]


@pytest.fixture(scope="module")
def person(shared, tmp_path_factory):
    """A video of a real person, for the camera to play."""
    path = tmp_path_factory.mktemp("camera") / "person.mjpeg"
    with path.open("wb") as film:
        for frame in read_frames(shared / "videos" / "bedroom_dance.mp4"):
            small = cv2.resize(frame, (400, 640), interpolation=cv2.INTER_AREA)
            film.write(cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return path


@pytest.fixture(scope="module")
def avatar(capture, tmp_path_factory):
    """An untrained avatar of the built-in performer, 256 pixels."""
    folder = tmp_path_factory.mktemp("people") / "performer"
    train(capture, folder, TrainOptions(preset="lite", instant=True))
    return folder


def _arms(landmarks) -> np.ndarray:
    """Return the wrists relative to the hips, [4], in units of the trunk's length."""
    hips, shoulders = landmarks.pose[HIPS].mean(0), landmarks.pose[SHOULDERS].mean(0)
    return ((landmarks.pose[WRISTS] - hips) / np.linalg.norm(hips - shoulders)).ravel()


def test_the_avatar_on_the_page_follows_the_person(shared, person, avatar):
    """The detector finds the avatar's wrists where it finds the person's, frame by frame."""
    maker = tracker_maker(shared / "models" / "face_landmarker.task", None, Silent())
    with Chromium(person) as browser, running(PipelineFactory(avatar, camera=maker)) as live:
        tab = browser.tab()
        tab.call("Page.enable")
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=LISTEN)
        tab.open(live.url)
        tab.wait("document.body.dataset.state === 'idle'")
        tab.evaluate("document.querySelector('#mirror').click()")
        tab.wait("document.querySelector('#mirror').getAttribute('aria-pressed') === 'false'")
        tab.evaluate("document.querySelector('#start').click()")
        tab.wait(f"{PICTURES} > 60", 240)
        tab.evaluate("document.querySelector('#start').click()")
        pairs = exchanged(tab)
        tab.close()
    decode = FrameDecoder()
    pairs = [pair for pair in pairs if pair[1].status == Status.SEEN]
    films = [decode(up.coding, up.picture) for up, _ in pairs]
    shown = [decode(down.coding, down.picture) for _, down in pairs]
    people, avatars = detect_frames(films), detect_frames(shown)
    both = [(_arms(a), _arms(b)) for a, b in zip(people, avatars, strict=True) if a.found and b.found]
    assert len(both) > 25
    wanted, made = (np.array(side) for side in zip(*both, strict=True))
    assert wanted.std(0).max() > 0.3  # the arms move at all
    assert np.corrcoef((wanted - wanted.mean(0)).ravel(), (made - made.mean(0)).ravel())[0, 1] > 0.8
