import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ram_avatar.core.files import atomic_file, atomic_folder
from ram_avatar.core.temporaries import scratch_folder, temporary_beside

_WRITE = """
import os, sys, time
from pathlib import Path
from ram_avatar.core.files import atomic_folder
with atomic_folder(sys.argv[1], overwrite=True) as folder:
    (folder / "picture").write_text("of a person")
    {then}
    print("writing", flush=True)
    time.sleep(60)
"""
_REPLACING = "os.rename(sys.argv[1], folder.parent / (folder.name + '~'))"  # and killed before it moves the new one


@pytest.fixture()
def writer(tmp_path: Path):
    """Starts a process that is in the middle of writing the folder `capture`."""
    started = []

    def start(then: str = "pass") -> subprocess.Popen:
        command = [sys.executable, "-c", _WRITE.format(then=then), str(tmp_path / "capture")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("write", ["file", "folder", "scratch"])
def test_what_a_killed_process_left_is_removed_by_the_next_one_beside_it(tmp_path: Path, writer, write: str) -> None:
    kill(writer())
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".capture.") and any(left.rglob("picture"))
    if write == "file":
        with atomic_file(tmp_path / "other") as path:
            path.touch()
    elif write == "folder":
        with atomic_folder(tmp_path / "capture"):
            pass
    else:
        with scratch_folder(tmp_path):
            pass
    assert not left.exists() and not list(tmp_path.glob(".*"))


def test_what_a_living_process_writes_is_kept(tmp_path: Path, writer) -> None:
    writer()
    [theirs] = tmp_path.iterdir()
    with temporary_beside(tmp_path / "other") as ours, atomic_file(tmp_path / "third") as path:
        ours.mkdir()
        path.touch()
    assert theirs.is_dir() and any(theirs.rglob("picture")) and not ours.exists()


def test_a_folder_that_a_killed_process_was_replacing_comes_back(tmp_path: Path, writer) -> None:
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "precious").touch()
    kill(writer(_REPLACING))
    assert not (tmp_path / "capture").exists()
    with atomic_file(tmp_path / "other") as path:
        path.touch()
    assert (tmp_path / "capture" / "precious").exists() and not list(tmp_path.glob(".*"))


def test_other_hidden_things_are_kept(tmp_path: Path) -> None:
    names = [".film.part", ".a.0123abcd.part.d", ".git", "a.0123abcd.part", ".a.0123ABCD.part"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".file.0123abcd.part").touch()
    (tmp_path / ".link.0123abcd.part").symlink_to(".git")
    with atomic_file(tmp_path / "a") as path:
        path.touch()
    assert all((tmp_path / name).exists() for name in (*names, ".file.0123abcd.part", ".link.0123abcd.part"))


def test_nobody_else_looks_into_it(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "a") as path:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_without_locks_nothing_counts_as_left_behind(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ram_avatar.core.lock.fcntl", None)  # as on Windows
    (tmp_path / ".a.0123abcd.part").mkdir()
    with atomic_file(tmp_path / "b") as path:
        path.write_text("works")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".a.0123abcd.part", "b"]
