"""Written videos: content, failures, metadata."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_clips import BLOCK, CHART, chart, error, numbered, patches, write

from ram_avatar.core.errors import UserError
from ram_avatar.video import GENERATED, VideoWriter, probe, read_frames

resource = pytest.importorskip("resource", reason="file size limits are a POSIX matter")


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


def test_odd_sizes_are_written_one_larger(tmp_path: Path) -> None:
    image = chart()[:47, :95]
    frame = next(read_frames(write(tmp_path / "odd.mp4", [image] * 2)))
    assert frame.shape == (48, 96, 3)
    assert error(frame[:47, :95], image) < 8
    assert error(frame[47:, :95], image[-1:]) < 8  # the last row repeated, not black


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
def test_failed_writes_leave_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("the old file")
    with pytest.raises(failure), VideoWriter(path, 64, 64, 30) as video:
        for index in range(40):
            video.write(numbered(index, 64))
        assert len(list(tmp_path.iterdir())) == 2  # a temporary file beside it
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
def test_full_disk(tmp_path: Path, name: str) -> None:
    """Wherever in the file space runs out, the error says so and nothing is left."""
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


def test_metadata_can_be_printed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [numbered(0)] * 3, metadata={"title": "\x1b[31m\nWaltz \udcff"})
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "?[31m Waltz ?"


def test_rate_and_metadata(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [numbered(0)] * 3, fps=30000 / 1001, metadata={"title": "Waltz"})
    assert probe(path).rate == Fraction(30000, 1001)
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "Waltz"
        assert "comment" not in container.metadata  # it may be a recording
    path = write(tmp_path / "b.mp4", [numbered(0)] * 3, metadata=GENERATED)
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "Generated by RAM-Avatar"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # can be played while downloading


def test_frames_written_ahead_are_those_written_one_by_one(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (7, 48, 96, 3), np.uint8)
    with VideoWriter(tmp_path / "ahead.mkv", 96, 48, 25) as video:
        video.write_all(frame.copy() for frame in frames)
    result = np.stack(list(read_frames(tmp_path / "ahead.mkv")))
    np.testing.assert_array_equal(result, frames)


@pytest.mark.parametrize("broken", [2, 6])  # the last one is still pending when the frames end
def test_an_error_while_writing_ahead_leaves_no_file(tmp_path: Path, broken: int) -> None:
    sizes = (48 if number != broken else 50 for number in range(7))
    with pytest.raises(ValueError, match="expected a"), VideoWriter(tmp_path / "out.mkv", 96, 48, 25) as video:
        video.write_all(np.zeros((height, 96, 3), np.uint8) for height in sizes)
    assert list(tmp_path.iterdir()) == []
