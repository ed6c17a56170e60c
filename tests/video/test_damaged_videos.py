"""Missing, damaged and foreign files: refused in one line."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from video_clips import chart, elementary, encode, tone, write

from ram_avatar.core.errors import UserError
from ram_avatar.video import probe, read_frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole MP4 of 3 seconds of noise, with its index in front."""
    frames = np.random.default_rng(0).integers(0, 256, (90, 64, 64, 3), np.uint8)
    return write(tmp_path_factory.mktemp("whole") / "clip.mp4", frames).read_bytes()


def message(path: Path) -> str:
    """Return the error of `probe` and of `read_frames`, raised at once: one line that names the file."""
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
def test_image(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo.png"
    av.VideoFrame.from_ndarray(chart(), format="rgb24").save(str(tmp_path / Path(name).with_suffix(".png")))
    path.rename(tmp_path / name)
    assert "image" in message(tmp_path / name)


def test_sound_without_video(tmp_path: Path) -> None:
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
        os.seteuid(65534)  # root may read any file
    try:
        assert "permission denied" in message(path)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", ["a.h264", "a.hevc"])
def test_damaged_raw_streams_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
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


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat"])
def test_a_playlist_cannot_name_another_file(tmp_path: Path, clip: bytes, name: str) -> None:
    (tmp_path / "secret.mp4").write_bytes(clip)
    lines = ["ffconcat version 1.0", "file secret.mp4"]
    if name.endswith("m3u8"):
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "secret.mp4", "#EXT-X-ENDLIST"]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert "not a video that can be read" in message(tmp_path / name)
