import numpy as np
import pytest

from ram_avatar.drivers.driver import Driven, Status
from ram_avatar.drivers.played_motion import Standing, standing
from ram_avatar.drivers.settings import Settings
from ram_avatar.live.session.background import Background
from ram_avatar.live.session.manual_control import ManualControl
from ram_avatar.live.session.pipeline import AvatarPipeline
from ram_avatar.motion.motion import Frame


def _step(pipeline, seconds: float):
    return pipeline.paint(pipeline.drive(None, seconds))


@pytest.fixture()
def frames(random_motion) -> list[Frame]:
    return list(random_motion(4).frames())


class Scripted:
    """A driver that returns given results and records the calls."""

    takes_long = False

    def __init__(self, *driven: Driven):
        self.driven, self.calls = list(driven), []

    def drive(self, rgb, seconds):
        return self.driven.pop(0)

    def adjust(self, settings):
        self.calls.append(settings.smoothing)

    def calibrate(self):
        self.calls.append("calibrate")

    def reset(self):
        self.calls.append("reset")

    def close(self):
        self.calls.append("close")


class RecordingRenderer:
    """Records the frames to render; None for a reset."""

    def __init__(self):
        self.frames: list[Frame | None] = []

    def render(self, frame):
        self.frames.append(frame)
        return np.zeros((8, 8, 4), np.uint8)

    def reset(self):
        self.frames.append(None)


@pytest.fixture()
def make(avatar):
    def build(driver, **options):
        renderer = RecordingRenderer()
        pipeline = AvatarPipeline(
            renderer,
            driver,
            start=standing(avatar),
            background=Background(np.zeros((8, 8, 3), np.uint8), (8, 8)),
            manual=ManualControl(avatar.template),
            **options,
        )
        return pipeline, renderer

    return build


def test_the_avatar_keeps_its_pose_while_the_person_is_lost(make, avatar, frames):
    lost = Driven(None, Status.LOST)
    pipeline, renderer = make(Scripted(lost, Driven(frames[1], Status.SEEN), lost))
    shown = [_step(pipeline, t) for t in range(3)]
    assert [s.status for s in shown] == [Status.LOST, Status.SEEN, Status.LOST]
    assert np.array_equal(renderer.frames[0].pose, standing(avatar).pose)
    assert renderer.frames[1] is frames[1] and renderer.frames[2] is frames[1]


def test_a_reset_returns_to_the_initial_pose(make, avatar, frames):
    driver = Scripted(Driven(frames[1], Status.SEEN), Driven(None, Status.WAITING))
    pipeline, renderer = make(driver)
    _step(pipeline, 0.0)
    pipeline.reset()
    _step(pipeline, 1.0)
    assert renderer.frames[1] is None and "reset" in driver.calls
    assert np.array_equal(renderer.frames[2].pose, standing(avatar).pose)


def test_an_avatar_without_opacity_covers_the_background(make, avatar):
    pipeline, renderer = make(Standing(avatar))
    renderer.render = lambda frame: np.full((8, 8, 3), 9, np.uint8)
    shown = _step(pipeline, 0.0)
    assert (shown.rgba[..., 3] == 255).all() and (shown.rgb == 9).all()


def test_sliders_override_the_driver(make, frames):
    """On the side that they name."""
    pipeline, renderer = make(Scripted(Driven(frames[1], Status.SEEN)))
    pipeline.settings = Settings(face={"eyeBlinkLeft": 1.0})
    _step(pipeline, 0.0)
    changed = renderer.frames[0].facial_actions != frames[1].facial_actions
    assert changed.sum() == 1 and renderer.frames[0].facial_actions[changed] == 1.0


def test_a_new_driver_gets_the_settings(make):
    first, second = Scripted(), Scripted()
    pipeline, _ = make(first)
    pipeline.settings = Settings(smoothing=0.9)
    pipeline.use(second)
    pipeline.calibrate()
    pipeline.close()
    assert first.calls == [0.9, "close"] and second.calls == [0.9, "calibrate", "close"]


def test_rendering_is_timed_and_marked_on_request(make, avatar):
    pipeline, _ = make(Standing(avatar), marked=True)
    shown = _step(pipeline, 0.0)
    assert shown.timings["render"] > 0 and shown.rgba[..., 3].max() == 255 and shown.rgb.max() > 0
