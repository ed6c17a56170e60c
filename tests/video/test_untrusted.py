import gc
import os
import signal
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from stepped_film import number_of, write_steps

from ram_avatar.core.errors import UserError
from ram_avatar.video import VideoWriter, probe, read_frames, untrusted
from ram_avatar.video.untrusted import Decoder, read_untrusted_picture


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_steps(tmp_path_factory.mktemp("film") / "steps.mp4")


def test_images_come_with_their_times(film):
    decoder = Decoder("film", film, "steps.mp4")
    got = []
    while (each := decoder.next()) is not None:
        got.append(each)
    decoder.close()
    assert [number_of(picture) for _, picture in got] == list(range(10))
    assert [seconds for seconds, _ in got] == pytest.approx([k / 10 for k in range(10)])
    assert got[0][1].shape == (48, 64, 3)


def test_a_film_can_be_rotated(film):
    decoder = Decoder("film", film, "steps.mp4", rotate=90)
    _, picture = decoder.next()
    decoder.close()
    assert picture.shape == (64, 48, 3)


def test_closing_a_decoder_ends_its_process(film):
    decoder = Decoder("film", film, "steps.mp4")
    decoder.next()
    decoder.close()
    with pytest.raises(ProcessLookupError):
        os.kill(decoder._process.pid, 0)


def test_an_image(tmp_path):
    scene = np.zeros((40, 60, 3), np.uint8)
    scene[:20, :, 0] = 200
    cv2.imwrite(str(tmp_path / "p.png"), scene[..., ::-1])
    assert np.array_equal(read_untrusted_picture(tmp_path / "p.png", "p.png"), scene)


def _bomb(path, side: int) -> None:
    """Write a small PNG file of side x side pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path):
    _bomb(tmp_path / "bomb.png", 30_000)  # 2.7 GB when decoded
    assert (tmp_path / "bomb.png").stat().st_size < 1 << 20
    with pytest.raises(UserError, match=r"holiday\.png.*too large"):
        read_untrusted_picture(tmp_path / "bomb.png", "holiday.png")


@pytest.mark.parametrize("kind", ["film", "picture"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"#EXTM3U\n/etc/passwd\n", b"hello"])
def test_errors_use_the_users_name_for_the_file(tmp_path, kind, content):
    path = tmp_path / "4f2a.upload"
    path.write_bytes(content)
    decoder = Decoder(kind, path, "mine.mp4")
    with pytest.raises(UserError, match=r"mine\.mp4") as raised:
        decoder.next()
    decoder.close()
    assert "4f2a" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_film_that_is_too_large_is_refused(tmp_path):
    with VideoWriter(tmp_path / "wide.mp4", 4112, 32, 10) as video:
        video.write(np.zeros((32, 4112, 3), np.uint8))
    decoder = Decoder("film", tmp_path / "wide.mp4", "wide.mp4")
    with pytest.raises(UserError, match="4112 x 32"):
        decoder.next()
    decoder.close()


def test_decoding_that_hangs_times_out(film, monkeypatch):
    """A stopped process stands in for a file that takes forever to decode."""
    decoder = Decoder("film", film, "steps.mp4")
    os.kill(decoder._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(untrusted, "_PATIENCE", 1.0)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"steps\.mp4.*too long"):
        decoder.next()
    assert time.monotonic() - started < 15
    decoder.close()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "endless")
    with pytest.raises(UserError, match="not a regular file"):
        read_untrusted_picture(tmp_path / "endless", "endless")
    with pytest.raises(UserError, match="not a regular file"):
        probe(tmp_path / "endless")


def test_an_unread_iterator_leaves_no_process(film):
    frames = read_frames(film)
    pid = frames.gi_frame.f_locals["decoder"]._process.pid
    del frames
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_is_imported_from_the_current_folder(film, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert probe(film).frames == 10


def test_a_fast_film_is_thinned_out_and_small(tmp_path):
    with VideoWriter(tmp_path / "fast.mp4", 1280, 720, 60) as video:
        for level in range(0, 240, 10):
            video.write(np.full((720, 1280, 3), level, np.uint8))
    decoder = Decoder("film", tmp_path / "fast.mp4", "fast.mp4")
    got = []
    while (each := decoder.next()) is not None:
        got.append(each)
    decoder.close()
    assert [round(60 * seconds) for seconds, _ in got] == list(range(0, 24, 2))
    assert got[0][1].shape == (360, 640, 3)
    assert [float(image.mean()) for _, image in got] == pytest.approx(list(range(0, 240, 20)), abs=2)


def _confined(code: str) -> subprocess.CompletedProcess:
    script = f"from ram_avatar.video.sandbox import confine\nconfine('picture')\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def test_the_decoding_process_cannot_write_files(tmp_path):
    done = _confined(f"with open({str(tmp_path / 'x')!r}, 'w') as file: file.write('x' * 100)")
    assert done.returncode == 1 and "File too large" in done.stderr and not (tmp_path / "x").read_text()


def test_the_decoding_process_cannot_take_all_memory():
    done = _confined("x = bytearray(6 << 30)")
    assert done.returncode == 1 and "MemoryError" in done.stderr


def test_the_decoding_process_cannot_compute_forever():
    limits = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n"
    assert _confined(limits + "while True: pass").returncode < 0
    told = _confined("import resource\nprint(resource.getrlimit(resource.RLIMIT_CPU))")
    assert told.stdout.strip() == "(20, 20)"
