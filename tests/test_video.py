import os
import weakref
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace, ColorTrc

from ram_avatar.core.errors import UserError
from ram_avatar.video import (
    VideoWriter,
    probe,
    rate_note,
    read_frames,
)

resource = pytest.importorskip("resource", reason="file size limits are a POSIX matter")

CHART = np.array(
    [
        [(255, 255, 255), (200, 200, 200), (128, 128, 128), (64, 64, 64), (0, 0, 0), (224, 172, 150)],
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)],
        [(180, 60, 60), (60, 180, 60), (60, 60, 180), (120, 90, 40), (90, 60, 120), (20, 120, 110)],
    ],
    np.uint8,
)
BLOCK = 16


def chart() -> np.ndarray:
    """(48, 96, 3): 18 smooth patches; no two of its turned or mirrored versions are alike."""
    return CHART.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)


def error(result: np.ndarray, expected: np.ndarray) -> float:
    """Mean absolute error in levels; shapes must agree."""
    assert result.shape == expected.shape
    assert result.dtype == np.uint8
    return float(np.abs(result.astype(int) - expected).mean())


def patches(image: np.ndarray) -> np.ndarray:
    """(3, 6, 3): mean colour inside each patch of a chart, away from its edges."""
    blocks = image.reshape(3, BLOCK, 6, BLOCK, 3)[:, 4:-4, :, 4:-4]
    return blocks.mean(axis=(1, 3))


def numbered(index: int, size: int = 32) -> np.ndarray:
    """A frame that says its own number, up to 255, in eight black or white stripes."""
    bits = (index >> np.arange(8)) & 1
    stripes = (255 * bits).astype(np.uint8).repeat(size // 8)
    return np.broadcast_to(stripes[None, :, None], (size, size, 3)).copy()


def number(frame: np.ndarray) -> int:
    stripes = frame.reshape(len(frame), 8, -1).mean(axis=(0, 2)) > 128
    return int((stripes << np.arange(8)).sum())


def encode(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Iterable[int] | None = None,
    tick: Fraction = Fraction(1, 30),
    **settings: object,
) -> Path:
    """A clip straight from PyAV. `times` are in units of `tick`; `settings` go to the stream."""
    matrix, tagged = settings.pop("matrix", Colorspace.ITU709), settings.pop("tagged", True)
    full, turn = settings.pop("full_range", False), settings.pop("turn", None)
    options = {"crf": "10"}
    if codec == "libx265":  # its time stamps of reordered frames are not reliable in clips this short
        options["x265-params"] = "bframes=0:log-level=none"
    images = list(images)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=settings.pop("rate", 30), options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = tick
        if tagged:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        if turn:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for image, time in zip(images, times or range(len(images)), strict=True):
            source = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            frame = source.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=2 if full else 1)
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write(path: Path, frames: Iterable[np.ndarray], fps: float = 30, **options: object) -> Path:
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, fps, **options) as video:
        for frame in frames:
            video.write(frame)
    return path


def tone(path: Path, *, begins: int, ends: int, pictures_at: float | None = None) -> Path:
    """Sound of `ends` milliseconds, silent before `begins`; pictures, if any, start at `pictures_at` s."""
    rate = 44100
    samples = np.zeros((1, rate * ends // 1000), np.float32)
    first = rate * begins // 1000
    samples[0, first:] = 0.5 * np.sin(np.arange(samples.shape[1] - first) * 2 * np.pi * 440 / rate)
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac" if path.suffix != ".wav" else "pcm_s16le", rate=rate)
        if pictures_at is not None:
            video = container.add_stream("libx264", rate=25)
            video.width = video.height = 32
            for index in range(5):
                picture = av.VideoFrame.from_ndarray(numbered(index), format="rgb24")
                picture.pts = index + round(pictures_at * 25)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def waveform(path: Path) -> tuple[np.ndarray, int]:
    """Samples of the first channel, and their rate."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=48000)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), 48000


# ------------------------------------------------------------------------------------------------ colour


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_colours_survive_a_round_trip(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"chart{suffix}", [chart()] * 4)
    frames = list(read_frames(path))
    assert len(frames) == 4
    for frame in frames:
        assert np.abs(patches(frame) - CHART).max() < 3
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        codes = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
    assert codes == (1, 1, 1, 1)  # BT.709, limited range, as H.273 numbers them


def test_matroska_is_lossless(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 47, 95, 3), np.uint8)
    path = write(tmp_path / "noise.mkv", frames)
    for result, expected in zip(read_frames(path), frames, strict=True):
        np.testing.assert_array_equal(result, expected)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (0, 2)  # RGB, full range


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".mp4", "libx264", "yuv420p10le"),
        (".mp4", "libx265", "yuv420p10le"),
        (".mp4", "libx264", "yuv444p"),
        (".mkv", "ffv1", "yuv422p10le"),
        (".mkv", "ffv1", "yuv444p16le"),
        (".mov", "qtrle", "rgb24"),
    ],
)
def test_pixel_formats(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", [chart()] * 3, codec=codec, pix_fmt=pix_fmt)
    frame = next(read_frames(path))
    assert np.abs(patches(frame) - CHART).max() < 4


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    levels = [np.full((32, 32, 3), level, np.uint8) for level in (0, 100, 255)]
    path = encode(tmp_path / "grey.mkv", levels, codec="ffv1", pix_fmt="gray")
    for frame, level in zip(read_frames(path), levels, strict=True):
        assert error(frame, level) <= 1


def test_full_range(tmp_path: Path) -> None:
    path = encode(tmp_path / "full.mp4", [chart()] * 3, full_range=True)
    assert np.abs(patches(next(read_frames(path))) - CHART).max() < 4


@pytest.mark.parametrize(("scale", "matrix"), [(1, Colorspace.ITU601), (15, Colorspace.ITU709)])
def test_untagged_colours_go_by_size(tmp_path: Path, scale: int, matrix: Colorspace) -> None:
    image = chart().repeat(scale, axis=0).repeat(scale, axis=1)  # 96 x 48, or 1440 x 720
    path = encode(tmp_path / "untagged.mp4", [image], tagged=False, matrix=matrix)
    assert np.abs(patches(next(read_frames(path))[::scale, ::scale]) - CHART).max() < 4


def test_reference_white_of_hlg_is_white(tmp_path: Path) -> None:
    # ITU-R BT.2408: the signal of reference white is 75 % in HLG.
    white, black = np.full((32, 32, 3), 191, np.uint8), np.zeros((32, 32, 3), np.uint8)
    path = encode(
        tmp_path / "hlg.mp4",
        [white, black],
        pix_fmt="yuv420p10le",
        matrix=Colorspace.BT2020,
        tagged=False,
        colorspace=9,
        color_range=1,
        color_primaries=9,
        color_trc=ColorTrc.ARIB_STD_B67,
    )
    first, second = read_frames(path)
    assert first.min() > 245
    assert second.max() < 8


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [(".mov", "prores_ks", "yuva444p10le"), (".webm", "libvpx-vp9", "yuva420p")],
)
def test_transparency_is_over_black(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    alpha = np.zeros((48, 96, 1), np.uint8)
    alpha[:, :32], alpha[:, 32:64] = 255, 128
    path = encode(tmp_path / f"alpha{suffix}", [np.dstack([chart(), alpha])] * 3, codec=codec, pix_fmt=pix_fmt)
    expected = CHART * np.array([1, 1, 128 / 255, 128 / 255, 0, 0])[:, None]
    assert np.abs(patches(next(read_frames(path))) - expected).max() < 4


# ---------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    path = encode(tmp_path / "phone.mp4", [chart()] * 2, turn=(degrees, mirrored))
    expected = np.rot90(chart(), degrees // 90)  # counter-clockwise, as in the display matrix
    if mirrored:
        expected = expected[:, ::-1]
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    for frame in read_frames(path):
        assert error(frame, expected) < 8  # smeared edges; a wrong turn gives over 80


def test_pixels_become_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", [chart()] * 2, sample_aspect_ratio=Fraction(4, 3))
    info = probe(path)
    assert (info.width, info.height) == (128, 48)
    assert next(read_frames(path)).shape == (48, 128, 3)


def test_odd_sizes_are_read_as_they_are(tmp_path: Path) -> None:
    image = chart()[:47, :95]
    path = encode(tmp_path / "odd.mkv", [image] * 2, codec="ffv1", pix_fmt="yuv420p")
    assert error(next(read_frames(path)), image) < 8
    assert (probe(path).width, probe(path).height) == (95, 47)


def test_odd_sizes_are_written_one_larger(tmp_path: Path) -> None:
    image = chart()[:47, :95]
    frame = next(read_frames(write(tmp_path / "odd.mp4", [image] * 2)))
    assert frame.shape == (48, 96, 3)
    assert error(frame[:47, :95], image) < 8
    assert error(frame[47:, :95], image[-1:]) < 8  # the last row again, not black


# -------------------------------------------------------------------------------------------------- time


def nearest(times: list[int], tick: Fraction, rate: Fraction, count: int) -> list[int]:
    """Plain twin of the resampling: for every output time the input nearest to it, the earlier on a tie."""
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
    assert len(set(shown)) < 60  # the clip is uneven enough to have frames dropped


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


# --------------------------------------------------------------------------------------------- bad input


def elementary(path: Path, codec: str, count: int, params: dict[str, str] | None = None) -> Path:
    """A raw stream: packets without a container, and so without time stamps. B-frames are left at their default."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12, options={"crf": "10", **(params or {})})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265")])
def test_raw_streams_are_read_in_order_at_the_rate_they_state(tmp_path: Path, name: str, codec: str) -> None:
    path = elementary(tmp_path / name, codec, 20, {"x265-params": "log-level=none"} if codec == "libx265" else None)
    info = probe(path)
    assert (info.rate, info.frames, info.rate_is_guess) == (12, 20, False)
    assert rate_note(info) is None
    assert [number(frame) for frame in read_frames(path)] == list(range(20))
    assert [number(frame) for frame in read_frames(path, start=7, stop=9)] == [7, 8]


def test_a_raw_stream_without_a_rate_says_that_it_is_a_guess(tmp_path: Path) -> None:
    path = elementary(tmp_path / "a.hevc", "libx265", 8, {"x265-params": "vui-timing-info=0:log-level=none"})
    info = probe(path)
    assert (info.rate, info.frames, info.rate_is_guess) == (25, 8, True)
    assert "states no frame rate: 25 frames a second" in rate_note(info)
    assert [number(frame) for frame in read_frames(path)] == list(range(8))


@pytest.mark.parametrize("name", ["a.h264", "a.hevc"])
def test_spoilt_raw_streams_are_told_in_a_line(tmp_path: Path, name: str) -> None:
    codec = "libx264" if name.endswith("h264") else "libx265"
    whole = elementary(tmp_path / name, codec, 8, {"x265-params": "log-level=none"} if codec == "libx265" else None)
    content, spoilt = whole.read_bytes(), tmp_path / f"spoilt{whole.suffix}"
    for seed in range(50):
        random = np.random.default_rng(seed)
        changed = bytearray(content)
        for place in random.integers(0, len(content) if seed % 2 else 200, 30):
            changed[place] = random.integers(256)
        spoilt.write_bytes(bytes(changed[: random.integers(1, len(content))]) if seed % 3 == 0 else bytes(changed))
        try:
            assert sum(1 for _ in read_frames(spoilt)) >= 1
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_are_turned_clockwise_on_demand(tmp_path: Path, degrees: int) -> None:
    path = write(tmp_path / "chart.mp4", [chart()] * 2)
    info = probe(path, degrees)
    (first, _) = read_frames(path, rotate=degrees)
    assert (info.height, info.width) == first.shape[:2]
    assert np.array_equal(first, np.rot90(next(read_frames(path)), -degrees // 90))
    assert error(first, np.rot90(chart(), -degrees // 90)) < 8  # a wrong turn is off by more than 60


def test_a_rotation_adds_to_the_files_own(tmp_path: Path) -> None:
    path = encode(tmp_path / "turned.mp4", [chart()] * 3, turn=(90, False))
    tagged, turned = next(read_frames(path)), next(read_frames(path, rotate=90))
    assert np.array_equal(turned, np.rot90(tagged, -1))


def test_other_angles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="90, 180 or 270"):
        probe(write(tmp_path / "a.mp4", [chart()]), 45)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole MP4 of 3 seconds of noise, its index in front."""
    frames = np.random.default_rng(0).integers(0, 256, (90, 64, 64, 3), np.uint8)
    return write(tmp_path_factory.mktemp("whole") / "clip.mp4", frames).read_bytes()


def message(path: Path) -> str:
    """The error of probe and of read_frames, which comes at once: one line that names the file."""
    with pytest.raises(UserError) as first:
        probe(path)
    with pytest.raises(UserError) as second:
        read_frames(path)
    text = str(first.value)
    assert text == str(second.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "missing.mp4")
    assert "folder" in message(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "empty" in message(tmp_path / "empty.mp4")


@pytest.mark.parametrize("content", [b"Hello, I am a text.\n" * 50, bytes(range(256)) * 20, b"\0" * 4096, b"x"])
@pytest.mark.parametrize("name", ["notes.txt", "fake.mp4", "noise.bin"])
def test_not_a_video(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "not a video" in message(path)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.mp4"])
def test_picture(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo.png"
    av.VideoFrame.from_ndarray(chart(), format="rgb24").save(str(tmp_path / Path(name).with_suffix(".png")))
    path.rename(tmp_path / name)
    assert "picture" in message(tmp_path / name)


def test_sound_without_pictures(tmp_path: Path) -> None:
    assert "sound but no video" in message(tone(tmp_path / "song.m4a", begins=0, ends=500))


def test_index_never_written(tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "recording.mp4"
    path.write_bytes(clip[:500])
    assert "index is missing" in message(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_short(tmp_path: Path, clip: bytes, share: float) -> None:
    path = tmp_path / "download.mp4"
    path.write_bytes(clip[: int(share * len(clip))])
    text = message(path)
    assert "cut short" in text
    assert float(text.split("after ")[1].split(" s")[0]) == pytest.approx(3 * share, abs=0.3)


def test_cut_short_matroska(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    content = encode(tmp_path / "whole.mkv", frames).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(content[: len(content) // 2])
    text = message(path)
    assert "cut short" in text
    assert "of the 2.0 s" in text


def test_hole_in_the_middle(tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "hole.mp4"
    middle, hole = len(clip) // 2, len(clip) // 10
    path.write_bytes(clip[:middle] + bytes(hole) + clip[middle + hole :])
    with pytest.raises(UserError, match=r"hole\.mp4 is damaged after 1\.\d s"):
        list(read_frames(path))


def test_permission(tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "private.mp4"
    path.write_bytes(clip)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        assert "permission denied" in message(path)
    finally:
        os.seteuid(user)


def test_names_that_mean_something_to_ffmpeg(tmp_path: Path) -> None:
    for name in ("http:a.mp4", "pipe:0%03d.mp4", "-y.mp4", "é ü.mp4"):
        path = write(tmp_path / name, map(numbered, range(5)))
        assert [number(frame) for frame in read_frames(path)] == list(range(5))


# --------------------------------------------------------------------------------------------- the writer


def test_fourth_channel_survives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    alpha = rng.integers(0, 256, (3, 6), np.uint8)[..., None].repeat(BLOCK, 0).repeat(BLOCK, 1)
    frame = np.dstack([chart(), alpha])
    for name, decoder in (("a.mov", "prores"), ("a.webm", "libvpx-vp9")):
        path = write(tmp_path / name, [frame] * 3, alpha=True)
        context = av.CodecContext.create(decoder, "r")
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context.extradata = stream.codec_context.extradata
            context.codec_tag = stream.codec_context.codec_tag
            frames = [f for packet in container.demux(stream) for f in context.decode(packet)]
        result = frames[0].to_ndarray(format="rgba")
        assert np.abs(patches(result[..., 3:].repeat(3, 2)) - alpha[8::BLOCK, 8::BLOCK]).max() < 4
        assert np.abs(patches(result[..., :3]) - CHART).max() < 4


@pytest.mark.parametrize(
    ("name", "alpha", "hint"),
    [("a.mp4", True, ".mov or .webm"), ("a.gif", False, ".mp4"), ("a", False, ".mp4")],
)
def test_suffixes(tmp_path: Path, name: str, alpha: bool, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        VideoWriter(tmp_path / name, 32, 32, 30, alpha=alpha)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        VideoWriter(tmp_path / "missing" / "a.mp4", 32, 32, 30)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_nothing_half_written_stays(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("the old file")
    with pytest.raises(failure), VideoWriter(path, 64, 64, 30) as video:
        for index in range(40):
            video.write(numbered(index, 64))
        assert len(list(tmp_path.iterdir())) == 2  # it did write beside it
        raise failure
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_text() == "the old file"


def test_wrong_frames(tmp_path: Path) -> None:
    for frame in (np.zeros((32, 31, 3), np.uint8), np.zeros((32, 32, 3)), np.zeros((32, 32, 4), np.uint8)):
        with pytest.raises(ValueError, match="expected"):
            write(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8), frame])
    with pytest.raises(ValueError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 32, 32, 30):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm", "a.mkv"])
def test_no_room_for_the_file(tmp_path: Path, name: str) -> None:
    """Wherever in the file the room ends, the error says so and nothing stays."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    whole = write(tmp_path / name, frames).stat().st_size
    (tmp_path / name).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in [0, 1, *range(100, whole, whole // 9), whole - 100, whole - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(UserError, match=f"{name}: the file is larger than"):
                write(tmp_path / name, frames)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []


def test_rate_and_metadata(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [numbered(0)] * 3, fps=30000 / 1001, metadata={"title": "Waltz"})
    assert probe(path).rate == Fraction(30000, 1001)
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "Waltz"
        assert container.metadata["comment"] == "Generated by RAM-Avatar"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads


# ------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("source", ["sound.m4a", "sound.wav", "film.mp4", "late_film.mp4"])
def test_sound_goes_along(tmp_path: Path, suffix: str, source: str) -> None:
    pictures_at = {"film.mp4": 0.0, "late_film.mp4": 0.4}.get(source)
    audio = tone(tmp_path / source, begins=900, ends=3000, pictures_at=pictures_at)
    path = write(tmp_path / f"out{suffix}", [numbered(0)] * 50, fps=25, audio_from=audio)
    assert probe(path).has_audio
    samples, rate = waveform(path)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.03)  # cut to the 50 pictures
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    # Frame 0 is the source's first picture, wherever the container's clock stood then.
    assert loud[0] / rate == pytest.approx(0.9 - (pictures_at or 0), abs=0.03)
    assert np.sqrt(np.mean(samples[loud[0] :] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_sound_shorter_than_the_pictures(tmp_path: Path) -> None:
    audio = tone(tmp_path / "short.wav", begins=0, ends=500)
    path = write(tmp_path / "out.mp4", [numbered(0)] * 50, fps=25, audio_from=audio)
    assert probe(path).frames == 50
    assert len(waveform(path)[0]) / 48000 == pytest.approx(0.5, abs=0.05)


def test_no_sound_to_go_along(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.mp4", [numbered(0)] * 5)
    assert not probe(write(tmp_path / "out.mp4", [numbered(0)] * 5, audio_from=silent)).has_audio
    with pytest.raises(UserError, match="no such file"):
        VideoWriter(tmp_path / "a.mp4", 32, 32, 30, audio_from=tmp_path / "missing.mp4")
