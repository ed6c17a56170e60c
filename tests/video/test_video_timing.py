"""Frame rates, time stamps and ranges of frames; raw streams."""

import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_clips import chart, elementary, encode, number, numbered, write

from ram_avatar.video import probe, rate_note, read_frames


def nearest(times: list[int], tick: Fraction, rate: Fraction, count: int) -> list[int]:
    """Plain twin of the resampling: the input nearest to each output time, the earlier one on a tie."""
    distance = [[abs((t - times[0]) * tick - k / rate) for t in times] for k in range(count)]
    return [row.index(min(row)) for row in distance]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_variable_frame_rate_gives_the_nearest_frames(tmp_path: Path, suffix: str, seed: int) -> None:
    steps = np.random.default_rng(seed).choice([17, 33, 34, 50, 120], 59)
    times = [700, *(700 + np.cumsum(steps)).tolist()]
    tick = Fraction(1, 1000)
    path = encode(tmp_path / f"vfr{suffix}", [numbered(i) for i in range(60)], times=times, tick=tick)
    info = probe(path)
    assert info.fps == pytest.approx(59 / (steps.sum() / 1000), rel=0.02)
    assert info.frames == pytest.approx(60, abs=1)
    shown = [number(frame) for frame in read_frames(path)]
    assert shown == nearest(times, tick, info.rate, info.frames)
    assert len(set(shown)) < 60  # the clip is uneven enough for frames to be dropped


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24), Fraction(60)])
def test_constant_rate_gives_every_frame_once(tmp_path: Path, rate: Fraction) -> None:
    # Matroska rounds time stamps to milliseconds.
    for suffix in (".mp4", ".mkv"):
        path = encode(tmp_path / f"cfr{suffix}", map(numbered, range(100)), rate=rate, tick=1 / rate)
        info = probe(path)
        assert (info.rate, info.frames) == (rate, 100)
        assert info.duration == pytest.approx(float(100 / rate))
        assert [number(frame) for frame in read_frames(path)] == list(range(100))


def test_wrong_rate_in_the_header(tmp_path: Path) -> None:
    # Browsers record WebM with 1000 frames per second in the header.
    times = [40 * i for i in range(50)]
    path = encode(tmp_path / "browser.mkv", map(numbered, range(50)), rate=1000, times=times, tick=Fraction(1, 1000))
    assert probe(path).rate == 25
    assert [number(frame) for frame in read_frames(path)] == list(range(50))


def test_ranges(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", map(numbered, range(30)))
    assert [number(f) for f in read_frames(path, start=7, stop=12)] == [7, 8, 9, 10, 11]
    assert [number(f) for f in read_frames(path, start=28)] == [28, 29]
    assert [number(f) for f in read_frames(path, start=3, stop=20, step=6)] == [3, 9, 15]
    assert list(read_frames(path, start=30)) == []
    assert list(read_frames(path, start=4, stop=2)) == []
    assert len(list(read_frames(path, stop=1000))) == 30


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", map(numbered, range(100)))
    alive = []
    for frame in read_frames(path):
        alive.append(weakref.ref(frame))
        assert sum(reference() is not None for reference in alive) <= 2


def test_one_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "one.mp4", [chart()])
    assert probe(path).frames == 1
    assert len(list(read_frames(path))) == 1


def test_reference_clips(shared: Path) -> None:
    dance, stage = (probe(shared / "videos" / f"{name}_dance.mp4") for name in ("bedroom", "stage"))
    assert (dance.fps, dance.frames, dance.has_audio) == (16, 150, False)
    assert (stage.fps, stage.frames, stage.has_audio) == (24, 288, True)
    frame = next(read_frames(stage.path, start=287))
    assert frame.shape == (stage.height, stage.width, 3)


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265")])
def test_raw_streams_are_read_in_order_at_their_stated_rate(tmp_path: Path, name: str, codec: str) -> None:
    path = elementary(tmp_path / name, codec, 20, {"x265-params": "log-level=none"} if codec == "libx265" else None)
    info = probe(path)
    assert (info.rate, info.frames, info.rate_is_guess) == (12, 20, False)
    assert rate_note(info) is None
    assert [number(frame) for frame in read_frames(path)] == list(range(20))
    assert [number(frame) for frame in read_frames(path, start=7, stop=9)] == [7, 8]


def test_the_rate_of_a_raw_stream_without_one_is_a_guess(tmp_path: Path) -> None:
    path = elementary(tmp_path / "a.hevc", "libx265", 8, {"x265-params": "vui-timing-info=0:log-level=none"})
    info = probe(path)
    assert (info.rate, info.frames, info.rate_is_guess) == (25, 8, True)
    assert "states no frame rate: 25 frames a second" in rate_note(info)
    assert [number(frame) for frame in read_frames(path)] == list(range(8))


def test_names_with_a_meaning_to_ffmpeg(tmp_path: Path) -> None:
    for name in ("http:a.mp4", "pipe:0%03d.mp4", "-y.mp4", "é ü.mp4"):
        path = write(tmp_path / name, map(numbered, range(5)))
        assert [number(frame) for frame in read_frames(path)] == list(range(5))
