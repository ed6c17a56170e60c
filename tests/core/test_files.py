import errno
import os
from pathlib import Path

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.files import (
    atomic_file,
    atomic_folder,
    check_output,
    disk_errors,
)


def tree(folder: Path) -> dict[str, str]:
    """Return the text of every file under a folder, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def make(path: Path, text: str, **options: object) -> None:
    with atomic_folder(path, **options) as folder:
        (folder / "avatar.json").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_text(text)


def test_a_folder_appears_once_complete(tmp_path: Path) -> None:
    path = tmp_path / "avatar"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("1")
        assert not path.exists()
        assert folder.parent.parent == tmp_path  # on the same disk
    assert tree(tmp_path) == {"avatar/a": "1"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("overwrite", [False, True])
def test_failures_leave_nothing_half_written(tmp_path: Path, failure: type[BaseException], overwrite: bool) -> None:
    path = tmp_path / "avatar"
    if overwrite:
        make(path, "old")
    before = tree(tmp_path)
    with pytest.raises(failure), atomic_folder(path, overwrite) as folder:
        (folder / "avatar.json").write_text("new")
        raise failure
    assert tree(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == int(overwrite)


def test_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "avatar"
    make(path, "old")
    (path / "extra").write_text("old")
    with pytest.raises(UserError, match=r"avatar exists.*--overwrite"):
        make(path, "new")
    make(path, "new", overwrite=True)
    assert tree(tmp_path) == {"avatar/avatar.json": "new", "avatar/deep/weights": "new"}


def test_only_folders_with_the_marker_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    path.mkdir()
    make(path, "1", overwrite=True, marker="avatar.json")  # empty
    make(path, "2", overwrite=True, marker="avatar.json")  # one of ours
    (path / "avatar.json").unlink()
    with pytest.raises(UserError, match=r"photos holds other files and no avatar\.json"):
        make(path, "3", overwrite=True, marker="avatar.json")
    assert tree(path) == {"deep/weights": "2"}
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="file is a file"):
        make(tmp_path / "file", "3", overwrite=True)
    assert tree(tmp_path) == {"photos/deep/weights": "2", "file": "a file"}


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "avatar"
    with pytest.raises(UserError, match="exists"), atomic_folder(path) as folder:
        (folder / "a").write_text("ours")
        path.mkdir()
        (path / "a").write_text("theirs")
    assert tree(tmp_path) == {"avatar/a": "theirs"}


def test_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    make(tmp_path / "target", "old")
    (tmp_path / "link").symlink_to("target")
    make(tmp_path / "link", "new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target" / "avatar.json").read_text() == "new"


def test_a_file_is_complete_or_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.parent.parent == tmp_path
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as temporary:
        temporary.write_text("tw")
        raise KeyboardInterrupt
    assert tree(tmp_path) == {"out.txt": "one"}
    with pytest.raises(UserError, match="nowhere"), atomic_file(tmp_path / "nowhere" / "a") as temporary:
        temporary.write_text("one")


def test_check_output(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    assert check_output(str(path)) == path
    path.touch()
    with pytest.raises(UserError, match=r"out\.mp4 exists.*--overwrite"):
        check_output(path)
    assert check_output(path, overwrite=True) == path
    with pytest.raises(UserError, match="no folder"):
        check_output(tmp_path / "missing" / "out.mp4")
    with pytest.raises(UserError, match=r"no folder .*out\.mp4"):
        check_output(path / "out.mp4")
    check_output(tmp_path / ("x" * 240))
    for characters in (241, 300):  # those of the temporary name count, too
        with pytest.raises(UserError, match="too long: 240 bytes at most"):
            check_output(tmp_path / ("x" * characters))
    with pytest.raises(UserError, match=r"lat\\xfcn/x\.npz cannot be written: .* not UTF-8"):
        check_output(tmp_path / os.fsdecode(b"lat\xfcn") / "x.npz")


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = check_output(tmp_path / ("x" * 240))
    with atomic_file(path) as temporary:
        temporary.write_text("one")
    path.unlink()
    make(path, "two")
    make(path, "three", overwrite=True)
    assert (path / "avatar.json").read_text() == "three" and len(list(tmp_path.iterdir())) == 1


def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    folder.chmod(0o500)
    user = os.geteuid()
    if user == 0:
        tmp_path.chmod(0o755)
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(UserError, match=r"not writable|permission denied"):
            check_output(folder / "out.mp4")
    finally:
        os.seteuid(user)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "avatar"
    with pytest.raises(UserError, match="avatar: the disk is full"), atomic_folder(path) as folder:
        (folder / "a").write_text("this fits")
        with open("/dev/full", "w") as file:
            file.write("this does not")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
    ],
)
def test_causes_are_named(code: int, cause: str) -> None:
    with pytest.raises(UserError, match=rf"^out\.mp4: .*{cause}") as raised, disk_errors("out.mp4"):
        raise OSError(code, os.strerror(code))
    assert "\n" not in str(raised.value)


def test_a_missing_input_is_named_itself(tmp_path: Path) -> None:
    missing = tmp_path / "input.json"
    with pytest.raises(UserError, match=r"input\.json: there is no such file"), disk_errors("out.mp4"):
        missing.read_text()


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad address"), disk_errors("out.mp4"):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    with pytest.raises(KeyError), disk_errors("out.mp4"):
        raise KeyError("a bug of ours")
