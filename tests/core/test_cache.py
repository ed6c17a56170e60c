import hashlib
import os
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ram_avatar.core.cache import cache_folder, discard_damaged, download, library_cache
from ram_avatar.core.errors import UserError

CONTENT = b"a model" * 1000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture()
def server(tmp_path, monkeypatch):
    """The URL of a file on a real local server; the cache is empty."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "model.task").write_bytes(CONTENT)
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path / "cache"))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/model.task"
    running.shutdown()


def test_downloaded_once(server, tmp_path):
    path = download(server, CHECKSUM, len(CONTENT))
    assert path.read_bytes() == CONTENT and path.parent == tmp_path / "cache"
    (tmp_path / "www" / "model.task").unlink()
    assert download(server, CHECKSUM, len(CONTENT)) == path  # from the cache


@pytest.mark.parametrize(("checksum", "limit"), [("0" * 64, len(CONTENT)), (CHECKSUM, 100)])
def test_an_unexpected_file_is_not_kept(server, tmp_path, checksum, limit):
    with pytest.raises(UserError, match="not the expected file"):
        download(server, checksum, limit)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_copy_is_downloaded_again(server, tmp_path):
    download(server, CHECKSUM, len(CONTENT)).write_bytes(b"spoiled")
    assert download(server, CHECKSUM, len(CONTENT)).read_bytes() == CONTENT


def test_an_unreachable_server_is_reported(server, tmp_path):
    with pytest.raises(UserError, match="cannot be downloaded"):
        download(server.replace("model.task", "absent.task"), CHECKSUM, len(CONTENT))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_is_replaced_for_this_run(tmp_path, monkeypatch, listener):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path / "file" / "cache"))
    folder = cache_folder(listener)
    (folder / "kept").write_text("for now")
    assert cache_folder(listener) == folder  # and the processes started from here use the same
    [note] = listener.notes
    assert str(tmp_path / "file" / "cache") in note and "RAM_AVATAR_CACHE" in note


def test_what_a_read_only_cache_holds_is_used(tmp_path, monkeypatch, listener):
    kept = tmp_path / "cache"
    kept.mkdir()
    (kept / "template").write_text("built")
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(kept))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != kept)  # root may write everywhere
    folder = cache_folder(listener)
    assert folder != kept and (folder / "template").read_text() == "built"
    discard_damaged(folder / "template")
    assert (kept / "template").read_text() == "built"


def test_nowhere_to_keep_anything(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(UserError, match="RAM_AVATAR_CACHE"):
        cache_folder()


def test_libraries_keep_their_files_where_they_can(tmp_path, monkeypatch):
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path / "ours"))
    (tmp_path / "file").touch()
    assert library_cache("warp", tmp_path / "usual") == tmp_path / "usual"
    assert library_cache("warp", tmp_path / "file" / "warp") == tmp_path / "ours" / "warp"


def test_anything_in_the_place_of_a_file_is_discarded(tmp_path, listener):
    for name in ("file", "folder", "missing"):
        (tmp_path / "folder" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "file").touch()
        discard_damaged(tmp_path / name, listener)
        assert not (tmp_path / name).exists()
    assert [note.split()[0] for note in listener.notes] == [str(tmp_path / "file"), str(tmp_path / "folder")]
