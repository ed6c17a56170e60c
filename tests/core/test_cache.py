import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ram_avatar.core.cache import cache_folder, download
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


def test_a_cache_folder_that_cannot_be_made_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="RAM_AVATAR_CACHE"):
        cache_folder()
