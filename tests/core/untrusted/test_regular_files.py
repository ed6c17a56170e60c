import os

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.files import check_regular, open_regular, read_bytes, read_text


def test_a_regular_file_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfHelmut K\xc3\xb6hl\n")
    assert read_text(path, 100) == "Helmut Köhl\n"
    assert read_bytes(path, 100) == path.read_bytes()
    assert check_regular(path, 100) == len(path.read_bytes())


@pytest.mark.parametrize("name", ["pipe", "folder", "/dev/zero", "absent"])
def test_anything_else_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"not a regular file|a folder, not a file|no such file"):
        open_regular(tmp_path / name, 100)


def test_a_socket_is_refused(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(UserError, match="not a regular file"):
            open_regular(tmp_path / "socket", 100)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no space on disk
    with pytest.raises(UserError, match="larger than 1 MB, too large for a motion"):
        read_bytes(path, 1 << 20, "a motion")


def test_a_file_whose_size_is_not_stated_is_bounded_as_well():
    with pytest.raises(UserError, match="larger than 2 bytes"):
        read_bytes("/proc/self/status", 2)


def test_a_text_must_be_utf8(tmp_path):
    (tmp_path / "latin").write_bytes(b"K\xf6hl")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        read_text(tmp_path / "latin", 100)
