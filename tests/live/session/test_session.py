import threading
import time
from itertools import pairwise

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
from ram_avatar.live.session.codecs import ImageEncoder
from ram_avatar.live.session.frame_slot import FrameSlot
from ram_avatar.live.session.pipeline import RenderedFrame
from ram_avatar.live.session.session import Session
from ram_avatar.live.session.sinks import Outbox, PageSink, ViewSink


class Gated:
    """A pipeline that drives one frame for every `go`, and paints while `painting` is set."""

    def __init__(self, side_by_side: bool = False):
        self.settings = Settings()
        self.side_by_side = side_by_side
        self.painting = threading.Event()
        self.painting.set()
        self.paint_begun = threading.Semaphore(0)
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
        self.paint_begun.release()
        assert self.painting.wait(20)
        rgba = np.full((32, 32, 4), 255, np.uint8)
        return RenderedFrame(rgba, rgba[..., :3], driven.status, driven.landmarks, driven.timings | {"render": 1.0})

    def calibrate(self): ...

    def reset(self): ...

    def close(self):
        self.closed = True


@pytest.fixture()
def running():
    """Return a session, its pipeline, its page's outbox, and its events."""
    pipeline, events = Gated(), []
    session = Session(lambda: pipeline, events.append)
    outbox = Outbox(lambda: None)
    session.add(PageSink(outbox))
    session.start()
    yield session, pipeline, outbox, events
    pipeline.go(1000)
    assert session.close()
    assert pipeline.closed


def _answers(outbox: Outbox) -> list[Answer]:
    """Return all waiting answers, fetched as a socket would."""
    got = []
    while (message := outbox.take()) is not None:
        if message[1]:
            outbox.sent()
        got.append(Answer.unpack(message[0]))
    return got


def _wait(condition, timeout=20.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def _tick(number: int) -> CameraFrame:
    return CameraFrame(number, 40.0 * number)


def test_the_newest_frame_wins_and_every_frame_is_answered_once(running):
    session, pipeline, outbox, _ = running
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)  # it is being processed; the next ones have to wait
    for number in range(1, 6):
        session.offer(_tick(number))
    pipeline.go(2)
    _wait(lambda: session.statistics.frames == 2)
    got = {a.number: a for a in _answers(outbox)}
    assert sorted(got) == [0, 1, 2, 3, 4, 5]
    assert [n for n, a in sorted(got.items()) if a.dropped and n not in (0, 5)] == [1, 2, 3, 4]
    assert [seconds for _, seconds in pipeline.seen] == [pytest.approx(0.001), pytest.approx(0.201)]
    assert session.statistics.dropped == 4


def test_an_answer_has_status_capture_time_and_stages(running):
    session, pipeline, outbox, _ = running
    pipeline.go()
    session.offer(CameraFrame(3, 1234.5))
    _wait(lambda: session.statistics.frames == 1)
    (got,) = _answers(outbox)
    assert (got.number, got.captured, got.status, got.coding) == (3, 1234.5, Status.SEEN, Coding.JPEG)
    assert got.timings["render"] == 1.0 and got.timings["wait"] > 0
    latency = session.statistics.summary()["latency"]
    assert latency["render"] == {"p50": 1.0, "p95": 1.0} and latency["total"]["p95"] >= latency["wait"]["p50"]


def test_queues_stay_bounded_while_the_worker_is_busy_and_nobody_fetches(running):
    session, pipeline, outbox, _ = running
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)
    for number in range(1, 20_000):
        session.offer(CameraFrame(number, 0.0, Coding.JPEG, b"x" * 100))
    assert session.statistics.dropped == 19_998  # all but the first and the last
    assert outbox.overrun and len(outbox._waiting) <= 256


def test_statistics_use_bounded_memory(running):
    session, *_ = running
    for _ in range(5000):
        session.statistics.add({"render": 2.0}, 3.0)
    assert len(session.statistics._spent) <= 600 and session.statistics.summary()["frames"] == 5000


def test_a_slow_network_gets_fewer_images_but_all_answers(running):
    session, pipeline, outbox, _ = running
    for number in range(4):
        pipeline.go()
        session.offer(_tick(number))
        _wait(lambda: session.statistics.frames == number + 1)  # noqa: B023
    got = [Answer.unpack(outbox.take()[0]) for _ in range(4)]  # none was sent yet
    assert [a.coding for a in got] == [Coding.JPEG, Coding.NONE, Coding.NONE, Coding.NONE]
    assert [a.dropped for a in got] == [False, True, True, True]


def test_time_advances_whatever_the_page_sends(running):
    session, pipeline, *_ = running
    for count, captured in enumerate((5000.0, 4000.0, -1e300, 1e300, 6000.0, 6040.0), 1):
        pipeline.go()
        session.offer(CameraFrame(count, captured))
        _wait(lambda: session.statistics.frames == count)  # noqa: B023
    times = [seconds for _, seconds in pipeline.seen]
    assert times == sorted(set(times)) and times[0] == 5.0 and times[-1] < 15
    assert times[-1] - times[-2] == pytest.approx(0.04)


def test_time_goes_on_when_a_page_reloads(running):
    """Its clock starts at 0 again."""
    session, pipeline, *_ = running
    for count, captured in enumerate((20_000.0, 20_040.0, 10.0, 50.0, 90.0), 1):
        pipeline.go()
        session.offer(CameraFrame(count, captured))
        _wait(lambda: session.statistics.frames == count)  # noqa: B023
    times = [seconds for _, seconds in pipeline.seen]
    assert [round(b - a, 3) for a, b in pairwise(times)] == [0.04, 0.001, 0.04, 0.04]


def test_a_failed_frame_is_answered_and_the_session_continues(running):
    session, pipeline, outbox, events = running
    pipeline.fault = UserError("no light")
    pipeline.go()
    session.offer(_tick(1))
    _wait(lambda: session.statistics.dropped == 1)
    pipeline.fault = None
    pipeline.go()
    session.offer(_tick(2))
    _wait(lambda: session.statistics.frames == 1)
    assert [(a.number, a.dropped) for a in _answers(outbox)] == [(1, True), (2, False)]
    assert {"type": "trouble", "text": "no light"} in events


def test_a_damaged_image_is_answered(running):
    session, _, outbox, events = running
    session.offer(CameraFrame(1, 0.0, Coding.JPEG, b"no picture"))
    _wait(lambda: session.statistics.dropped == 1)
    assert _answers(outbox)[0].dropped and "JPEG" in events[-1]["text"]


@pytest.mark.parametrize("coding", [Coding.JPEG, Coding.H264_DELTA])
def test_no_number_of_bad_images_ends_the_session(running, coding):
    session, pipeline, outbox, events = running
    for number in range(40):
        session.offer(CameraFrame(number, 40.0 * number, coding, b"\xff\xd8 no picture"))
        _wait(lambda count=number + 1: session.statistics.dropped == count)
    assert all(answer.dropped for answer in _answers(outbox))
    told = [event for event in events if event["type"] == "trouble"]
    if coding == Coding.JPEG:
        assert 1 <= len(told) <= 4 and "skipped" in told[0]["text"]
    assert not [event for event in events if event["type"] == "failed"]
    pipeline.go()
    session.offer(_tick(50))
    _wait(lambda: session.statistics.frames == 1)


def test_too_many_faults_in_a_row_end_the_session():
    pipeline, events = Gated(), []
    pipeline.fault = RuntimeError("broken")
    session = Session(lambda: pipeline, events.append)
    session.start()
    pipeline.go(100)
    for number in range(30):
        session.offer(_tick(number))
        time.sleep(0.01)
        if events[-1]["type"] == "failed":
            break
    assert events[-1]["type"] == "failed" and "broken" in events[-1]["text"] and pipeline.closed
    assert session.close()


def test_an_avatar_that_fails_to_load_is_reported():
    events = []

    def refuse():
        raise UserError("avatar.json: damaged")

    session = Session(refuse, events.append)
    session.start()
    assert session.close() and events == [{"type": "failed", "text": "avatar.json: damaged"}]


def test_commands_run_before_the_next_frame(running):
    session, pipeline, _, _ = running
    order = []
    session.offer(_tick(0))
    assert pipeline.begun.acquire(timeout=20)
    session.offer(_tick(1))
    session.call(lambda p: order.append(len(p.seen)))
    pipeline.go(2)
    _wait(lambda: session.statistics.frames == 2)
    assert order == [1]
    pipeline.begun.acquire(timeout=20)
    session.offer(_tick(2))
    assert pipeline.begun.acquire(timeout=20)
    with pytest.raises(UserError, match="busy"):
        for _ in range(1000):
            session.call(lambda p: None)


def test_a_failing_sink_does_not_affect_the_others(running):
    session, pipeline, outbox, _ = running

    class Broken:
        def show(self, frame, shown):
            raise RuntimeError("gone")

        def drop(self, frame): ...

    view = Outbox(lambda: None)
    session.add(Broken())
    session.add(ViewSink(view, transparent=True))
    pipeline.go()
    session.offer(_tick(1))
    _wait(lambda: session.statistics.frames == 1)
    assert [a.number for a in _answers(outbox)] == [1]
    assert _answers(view)[0].opacity_below


@pytest.mark.parametrize("painting", [False, True])
def test_close_times_out(painting):
    """Whether the driver or the painter hangs."""
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
def busy_painter():
    """Return a function that makes a session whose first frame is being painted and whose second is offered."""
    sessions = []

    def make(side_by_side: bool):
        pipeline, outbox, events = Gated(side_by_side), Outbox(lambda: None), []
        session = Session(lambda: pipeline, events.append)
        sessions.append((session, pipeline))
        session.add(PageSink(outbox))
        session.start()
        pipeline.painting.clear()
        pipeline.go(100)
        session.offer(_tick(0))
        assert pipeline.paint_begun.acquire(timeout=20)
        session.offer(_tick(1))
        return session, pipeline, outbox, events

    yield make
    for session, pipeline in sessions:
        pipeline.painting.set()
        assert session.close()


def test_the_next_frame_is_driven_while_one_is_painted(busy_painter):
    session, pipeline, outbox, _ = busy_painter(True)
    _wait(lambda: len(pipeline.seen) == 2)
    assert session.statistics.frames == 0
    session.offer(_tick(2))
    session.offer(_tick(3))
    time.sleep(0.1)
    assert len(pipeline.seen) == 2  # the third has to wait for the painter
    pipeline.painting.set()
    _wait(lambda: session.statistics.frames == 3)
    assert [(a.number, a.dropped) for a in _answers(outbox) if a.number != 2] == [(0, False), (1, True), (3, True)]
    assert session.statistics.summary()["latency"]["wait"]["p95"] > 50  # milliseconds, mostly for the painter


def test_a_fast_driver_waits_for_the_painter(busy_painter):
    session, pipeline, *_ = busy_painter(False)
    time.sleep(0.1)
    assert len(pipeline.seen) == 1
    pipeline.painting.set()
    _wait(lambda: session.statistics.frames == 2)


def test_a_command_waits_for_the_painter(busy_painter):
    session, pipeline, *_ = busy_painter(True)
    painted = []
    _wait(lambda: len(pipeline.seen) == 2)
    session.call(lambda _: painted.append(session.statistics.frames))
    time.sleep(0.1)
    assert painted == []
    pipeline.painting.set()
    _wait(lambda: painted)
    assert painted == [2]


def test_a_painting_fault_is_reported_and_the_session_continues(busy_painter):
    session, pipeline, outbox, events = busy_painter(True)
    paint, pipeline.paint = pipeline.paint, lambda driven: 1 / 0
    _wait(lambda: len(pipeline.seen) == 2)
    pipeline.painting.set()  # the first frame is painted normally; the second fails
    _wait(lambda: "text" in events[-1])
    assert "ZeroDivisionError" in events[-1]["text"]
    pipeline.paint = paint
    session.offer(_tick(2))
    _wait(lambda: session.statistics.frames == 2)
    assert [a.number for a in _answers(outbox)] == [0, 1, 2]


def test_too_many_painting_faults_end_the_session(busy_painter):
    session, pipeline, _, events = busy_painter(True)
    pipeline.paint = lambda driven: 1 / 0
    pipeline.painting.set()
    for number in range(2, 100):
        session.offer(_tick(number))
        time.sleep(0.01)
        if events[-1]["type"] == "failed":
            break
    assert events[-1]["type"] == "failed" and pipeline.closed


# H.264: frames build on each other ---------------------------------------------------------------------------


def _h264(count: int) -> list[CameraFrame]:
    """Return frames of increasing brightness, each built on the previous one."""
    encode = ImageEncoder(h264=True)
    frames = []
    for number in range(count):
        coding, packed = encode(np.full((32, 32, 3), 20 + number, np.uint8))
        frames.append(CameraFrame(number, 40.0 * number, coding, packed))
    return frames


def _packed(count: int) -> list[CameraFrame]:
    """Return fake frames: a key frame and deltas."""
    return [CameraFrame(n, 40.0 * n, Coding.H264_DELTA if n else Coding.H264_KEY, b"x") for n in range(count)]


def test_dropped_h264_frames_are_still_decoded(running):
    session, pipeline, outbox, _ = running
    session.offer(_tick(100))
    assert pipeline.begun.acquire(timeout=20)
    for frame in _h264(8):
        session.offer(frame)
    pipeline.go(2)
    _wait(lambda: session.statistics.frames == 2)
    assert pipeline.seen[1][0].mean() == pytest.approx(20 + 7, abs=1.5)
    assert sum(a.dropped for a in _answers(outbox)) >= 7


def test_h264_too_far_behind_waits_for_a_key_frame():
    slot, frames = FrameSlot(), _packed(30)
    dropped = [each.number for frame in frames for each in slot.put(frame)]
    assert slot.broken and slot.take() is None and dropped == list(range(30))
    key = _h264(1)[0]
    assert slot.put(key) == [] and not slot.broken
    assert slot.take().frame is key


def test_a_page_is_asked_for_a_key_frame_when_its_h264_stream_is_lost(running):
    session, pipeline, _, events = running
    session.offer(_tick(100))
    assert pipeline.begun.acquire(timeout=20)
    for frame in _packed(30):
        session.offer(frame)
    assert {"type": "keyframe"} in events
