import threading
import time

import numpy as np
import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.drivers.driver import Driven
from ram_avatar.drivers.settings import Settings
from ram_avatar.live.protocol import (
    Answer,
    CameraFrame,
    Coding,
    Status,
)
from ram_avatar.live.session.codecs import PictureEncoder
from ram_avatar.live.session.pipeline import Shown
from ram_avatar.live.session.session import Session, Slot
from ram_avatar.live.session.sinks import Mailbox, PageOutlet, ViewOutlet


class Gated:
    """A pipeline that shows what it is given, one frame for every `go`; painting waits for `painting` to be set."""

    def __init__(self, side_by_side: bool = False):
        self.settings = Settings()
        self.side_by_side = side_by_side
        self.painting = threading.Event()
        self.painting.set()
        self.at_the_easel = threading.Semaphore(0)
        self.seen: list[tuple[np.ndarray | None, float]] = []
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.fault: Exception | None = None
        self.closed = False

    def go(self, frames: int = 1) -> None:
        self.gate.release(frames)

    def drive(self, rgb, seconds):
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        if self.fault:
            raise self.fault
        self.seen.append((rgb, seconds))
        return Driven(None, Status.SEEN)

    def paint(self, driven):
        self.at_the_easel.release()
        assert self.painting.wait(20)
        rgba = np.full((32, 32, 4), 255, np.uint8)
        return Shown(rgba, rgba[..., :3], driven.status, driven.landmarks, driven.timings | {"render": 1.0})

    def calibrate(self): ...

    def reset(self): ...

    def close(self):
        self.closed = True


@pytest.fixture()
def running():
    """A session, its pipeline, its page's mailbox and what was told."""
    pipeline, told = Gated(), []
    session = Session(lambda: pipeline, told.append)
    mailbox = Mailbox(lambda: None)
    session.add(PageOutlet(mailbox))
    session.start()
    yield session, pipeline, mailbox, told
    pipeline.go(1000)
    assert session.close()
    assert pipeline.closed


def _answers(mailbox: Mailbox) -> list[Answer]:
    """All that wait, fetched as a socket would."""
    got = []
    while (message := mailbox.take()) is not None:
        if message[1]:
            mailbox.sent()
        got.append(Answer.unpack(message[0]))
    return got


def _wait(true, timeout=20.0):
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def _tick(number: int) -> CameraFrame:
    return CameraFrame(number, 40.0 * number)


def test_the_newest_frame_wins_and_every_frame_is_answered_once(running):
    session, pipeline, mailbox, _ = running
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)  # it is worked on; what comes now has to wait
    for number in range(1, 6):
        session.offer(_tick(number))
    pipeline.go(2)
    _wait(lambda: session.figures.frames == 2)
    got = {a.number: a for a in _answers(mailbox)}
    assert sorted(got) == [0, 1, 2, 3, 4, 5]
    assert [n for n, a in sorted(got.items()) if a.dropped and n not in (0, 5)] == [1, 2, 3, 4]
    assert [seconds for _, seconds in pipeline.seen] == [pytest.approx(0.001), pytest.approx(0.2)]
    assert session.figures.dropped == 4


def test_an_answer_tells_status_capture_time_and_stages(running):
    session, pipeline, mailbox, _ = running
    pipeline.go()
    session.offer(CameraFrame(3, 1234.5))
    _wait(lambda: session.figures.frames == 1)
    (got,) = _answers(mailbox)
    assert (got.number, got.captured, got.status, got.coding) == (3, 1234.5, Status.SEEN, Coding.JPEG)
    assert got.timings["render"] == 1.0 and got.timings["wait"] > 0
    latency = session.figures.summary()["latency"]
    assert latency["render"] == {"p50": 1.0, "p95": 1.0} and latency["total"]["p95"] >= latency["wait"]["p50"]


def test_nothing_grows_while_the_worker_is_busy_and_nobody_fetches(running):
    session, pipeline, mailbox, _ = running
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)
    for number in range(1, 20_000):
        session.offer(CameraFrame(number, 0.0, Coding.JPEG, b"x" * 100))
    assert session.figures.dropped == 19_998  # all but the first and the last
    assert mailbox.overrun and len(mailbox._waiting) <= 256


def test_figures_keep_a_bounded_past(running):
    session, *_ = running
    for _ in range(5000):
        session.figures.done({"render": 2.0}, 3.0)
    assert len(session.figures._spent) <= 600 and session.figures.summary()["frames"] == 5000


def test_a_slow_network_gets_fewer_pictures_and_all_answers(running):
    session, pipeline, mailbox, _ = running
    for number in range(4):
        pipeline.go()
        session.offer(_tick(number))
        _wait(lambda: session.figures.frames == number + 1)  # noqa: B023
    got = [Answer.unpack(mailbox.take()[0]) for _ in range(4)]  # nothing was sent so far
    assert [a.coding for a in got] == [Coding.JPEG, Coding.NONE, Coding.NONE, Coding.NONE]
    assert [a.dropped for a in got] == [False, True, True, True]


def test_time_goes_forward_whatever_the_page_says(running):
    session, pipeline, *_ = running
    for count, captured in enumerate((5000.0, 4000.0, -1e300, 6000.0), 1):
        pipeline.go()
        session.offer(CameraFrame(count, captured))
        _wait(lambda: session.figures.frames == count)  # noqa: B023
    times = [seconds for _, seconds in pipeline.seen]
    assert times == sorted(set(times)) and times[0] == 5.0 and times[-1] == 6.0


def test_a_frame_that_fails_is_answered_and_the_session_goes_on(running):
    session, pipeline, mailbox, told = running
    pipeline.fault = UserError("no light")
    pipeline.go()
    session.offer(_tick(1))
    _wait(lambda: session.figures.dropped == 1)
    pipeline.fault = None
    pipeline.go()
    session.offer(_tick(2))
    _wait(lambda: session.figures.frames == 1)
    assert [(a.number, a.dropped) for a in _answers(mailbox)] == [(1, True), (2, False)]
    assert {"type": "trouble", "text": "no light"} in told


def test_a_picture_that_is_damaged_is_answered(running):
    session, _, mailbox, told = running
    session.offer(CameraFrame(1, 0.0, Coding.JPEG, b"no picture"))
    _wait(lambda: session.figures.dropped == 1)
    assert _answers(mailbox)[0].dropped and "JPEG" in told[-1]["text"]


def test_faults_without_end_end_the_session():
    pipeline, told = Gated(), []
    pipeline.fault = RuntimeError("broken")
    session = Session(lambda: pipeline, told.append)
    session.start()
    pipeline.go(100)
    for number in range(30):
        session.offer(_tick(number))
        time.sleep(0.01)
        if told[-1]["type"] == "failed":
            break
    assert told[-1]["type"] == "failed" and "broken" in told[-1]["text"] and pipeline.closed
    assert session.close()


def test_an_avatar_that_does_not_open_is_told():
    told = []

    def refuse():
        raise UserError("avatar.json: damaged")

    session = Session(refuse, told.append)
    session.start()
    assert session.close() and told == [{"type": "failed", "text": "avatar.json: damaged"}]


def test_commands_come_before_the_next_frame(running):
    session, pipeline, _, _ = running
    order = []
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)
    session.offer(_tick(1))
    session.call(lambda p: order.append(len(p.seen)))
    pipeline.go(2)
    _wait(lambda: session.figures.frames == 2)
    assert order == [1]
    pipeline.begun.acquire(timeout=20)
    session.offer(_tick(2))
    assert pipeline.begun.acquire(timeout=20)
    with pytest.raises(UserError, match="busy"):
        for _ in range(1000):
            session.call(lambda p: None)


def test_one_that_cannot_take_its_picture_does_not_harm_the_others(running):
    session, pipeline, mailbox, _ = running

    class Broken:
        def show(self, frame, shown):
            raise RuntimeError("gone")

        def drop(self, frame): ...

    view = Mailbox(lambda: None)
    session.add(Broken())
    session.add(ViewOutlet(view, transparent=True))
    pipeline.go()
    session.offer(_tick(1))
    _wait(lambda: session.figures.frames == 1)
    assert [a.number for a in _answers(mailbox)] == [1]
    assert _answers(view)[0].opacity_below


@pytest.mark.parametrize("painting", [False, True])
def test_closing_does_not_wait_for_ever(painting):
    """Neither for what drives nor for what paints."""
    pipeline = Gated()
    session = Session(lambda: pipeline, lambda event: None)
    session.start()
    if painting:
        pipeline.painting.clear()
        pipeline.go()
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)
    started = time.monotonic()
    assert session.close(timeout=0.2) is False and time.monotonic() - started < 5
    pipeline.go(10)
    pipeline.painting.set()
    assert session.close()


# Side by side ------------------------------------------------------------------------------------------------


@pytest.fixture()
def painter_at_work():
    """A function that makes a session whose first frame is being painted, and offers a second one."""
    sessions = []

    def make(side_by_side: bool):
        pipeline, mailbox, told = Gated(side_by_side), Mailbox(lambda: None), []
        session = Session(lambda: pipeline, told.append)
        sessions.append((session, pipeline))
        session.add(PageOutlet(mailbox))
        session.start()
        pipeline.painting.clear()
        pipeline.go(100)
        session.offer(_tick(0))
        assert pipeline.at_the_easel.acquire(timeout=20)
        session.offer(_tick(1))
        return session, pipeline, mailbox, told

    yield make
    for session, pipeline in sessions:
        pipeline.painting.set()
        assert session.close()


def test_the_next_frame_is_driven_while_one_is_painted(painter_at_work):
    session, pipeline, mailbox, _ = painter_at_work(True)
    _wait(lambda: len(pipeline.seen) == 2)
    assert session.figures.frames == 0
    session.offer(_tick(2))
    session.offer(_tick(3))
    time.sleep(0.1)
    assert len(pipeline.seen) == 2  # no third one: only as many as can be painted soon
    pipeline.painting.set()
    _wait(lambda: session.figures.frames == 3)
    assert [(a.number, a.dropped) for a in _answers(mailbox) if a.number != 2] == [(0, False), (1, True), (3, True)]
    assert session.figures.summary()["latency"]["wait"]["p95"] > 50  # milliseconds, for the painter


def test_one_after_the_other_where_following_takes_no_time(painter_at_work):
    session, pipeline, *_ = painter_at_work(False)
    time.sleep(0.1)
    assert len(pipeline.seen) == 1
    pipeline.painting.set()
    _wait(lambda: session.figures.frames == 2)


def test_a_command_waits_for_the_painter(painter_at_work):
    session, pipeline, *_ = painter_at_work(True)
    painted = []
    _wait(lambda: len(pipeline.seen) == 2)
    session.call(lambda _: painted.append(session.figures.frames))
    time.sleep(0.1)
    assert painted == []
    pipeline.painting.set()
    _wait(lambda: painted)
    assert painted == [2]


def test_a_picture_that_cannot_be_painted_is_told_and_the_session_goes_on(painter_at_work):
    session, pipeline, mailbox, told = painter_at_work(True)
    paint, pipeline.paint = pipeline.paint, lambda driven: 1 / 0
    _wait(lambda: len(pipeline.seen) == 2)
    pipeline.painting.set()  # the first one is painted as it was; the second is not
    _wait(lambda: session.figures.dropped == 1)
    assert "ZeroDivisionError" in told[-1]["text"]
    pipeline.paint = paint
    session.offer(_tick(2))
    _wait(lambda: session.figures.frames == 2)
    assert [a.number for a in _answers(mailbox)] == [0, 1, 2]


def test_painting_that_always_fails_ends_the_session(painter_at_work):
    session, pipeline, _, told = painter_at_work(True)
    pipeline.paint = lambda driven: 1 / 0
    pipeline.painting.set()
    for number in range(2, 100):
        session.offer(_tick(number))
        time.sleep(0.01)
        if told[-1]["type"] == "failed":
            break
    assert told[-1]["type"] == "failed" and pipeline.closed


# H.264: pictures build on each other -------------------------------------------------------------------------


def _h264(count: int) -> list[CameraFrame]:
    """Pictures that grow brighter, each built on the one before."""
    encode = PictureEncoder(h264=True)
    frames = []
    for number in range(count):
        coding, packed = encode(np.full((32, 32, 3), 20 + number, np.uint8))
        frames.append(CameraFrame(number, 40.0 * number, coding, packed))
    return frames


def _packed(count: int) -> list[CameraFrame]:
    """A key picture and those that build on it, as far as a slot can tell."""
    return [CameraFrame(n, 40.0 * n, Coding.H264_DELTA if n else Coding.H264_KEY, b"x") for n in range(count)]


def test_h264_pictures_that_are_dropped_are_unpacked_all_the_same(running):
    session, pipeline, mailbox, _ = running
    session.offer(_tick(100))
    assert pipeline.begun.acquire(timeout=20)
    for frame in _h264(8):
        session.offer(frame)
    pipeline.go(2)
    _wait(lambda: session.figures.frames == 2)
    assert pipeline.seen[1][0].mean() == pytest.approx(20 + 7, abs=1.5)
    assert sum(a.dropped for a in _answers(mailbox)) >= 7


def test_h264_behind_by_too_much_waits_for_a_key_picture():
    slot, frames = Slot(), _packed(30)
    dropped = [each.number for frame in frames for each in slot.put(frame)]
    assert slot.broken and slot.take() is None and dropped == list(range(30))
    key = _h264(1)[0]
    assert slot.put(key) == [] and not slot.broken
    assert slot.take()[0] is key


def test_a_page_whose_h264_is_lost_is_asked_for_a_key_picture(running):
    session, pipeline, _, told = running
    session.offer(_tick(100))
    assert pipeline.begun.acquire(timeout=20)
    for frame in _packed(30):
        session.offer(frame)
    assert {"type": "keyframe"} in told
