import subprocess
import sys
from pathlib import Path

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.creation.create import create
from ram_avatar.creation.train import train
from ram_avatar.tracking.offline.track import track

_MAKE = """
import sys
from ram_avatar.core.sole_writer import sole_writer
with sole_writer(sys.argv[1]):
    print("making", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("command", "made"), [(create, "ada"), (create, "ada-capture"), (train, "ada"), (track, "ada-capture")]
)
def test_a_second_run_is_refused_before_any_work(tmp_path: Path, film: Path, command, made: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _MAKE, str(tmp_path / made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == b"making\n"
        with pytest.raises(UserError, match=rf"{made} is being made by another process \(id {first.pid}\)"):
            command(film, tmp_path / (made if command is track else "ada"))
        assert [path.name for path in tmp_path.iterdir()] == [f".{made}.lock"]
        first.communicate()
    assert not list(tmp_path.iterdir())
