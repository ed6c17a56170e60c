import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.sole_writer import sole_writer

_HOLD = """
import sys
from ram_avatar.core.sole_writer import sole_writer
with sole_writer(sys.argv[1]):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture()
def holder(tmp_path: Path):
    """A process that makes `avatar`."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "avatar")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"holding\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_at_once(tmp_path: Path, holder: subprocess.Popen) -> None:
    (tmp_path / "link").symlink_to("avatar")
    for name in ("avatar", "link"):
        refusal = rf"{name} is being made by another process \(id {holder.pid}\)"
        with pytest.raises(UserError, match=refusal), sole_writer(tmp_path / name):
            pass
    with sole_writer(tmp_path / "other"):
        pass
    holder.communicate()  # it ends
    with sole_writer(tmp_path / "avatar"):
        assert not (tmp_path / "avatar").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_killed_process_locks_nothing(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    assert (tmp_path / ".avatar.lock").exists()
    with sole_writer(tmp_path / "avatar"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_thread_may_enter_again_but_no_other(tmp_path: Path) -> None:
    refused: list[UserError] = []

    def enter() -> None:
        try:
            with sole_writer(tmp_path / "avatar"):
                pass
        except UserError as error:
            refused.append(error)

    with sole_writer(tmp_path / "avatar"):
        enter()
        assert not refused
        other = threading.Thread(target=enter)
        other.start()
        other.join()
        assert len(refused) == 1 and list(tmp_path.iterdir())


def test_many_at_once_enter_one_after_the_other(tmp_path: Path) -> None:
    """Files that are removed while others wait for them must not let two in."""
    inside, most, entered = [0], [0], [0]

    def enter() -> None:
        while entered[0] < 200:
            try:
                with sole_writer(tmp_path / "avatar"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    entered[0] += 1
                    inside[0] -= 1
            except UserError:
                pass

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and not list(tmp_path.iterdir())


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    (tmp_path / ".avatar.lock").symlink_to("mine")
    with pytest.raises(UserError, match=r"\.avatar\.lock"), sole_writer(tmp_path / "avatar"):
        pass
    assert (tmp_path / "mine").read_text() == "text"


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"), sole_writer(tmp_path / "missing" / "avatar"):
        pass


def test_without_locks_everything_works(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ram_avatar.core.lock.fcntl", None)  # as on Windows
    with sole_writer(tmp_path / "avatar"), sole_writer(tmp_path / "avatar"):
        assert not list(tmp_path.iterdir())
