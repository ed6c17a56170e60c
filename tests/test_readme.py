"""The README keeps its word: commands exist, the Python example runs. `test_docs` follows its references."""

import re
from pathlib import Path

import pytest

from ram_avatar.cli.main import COMMANDS, main
from ram_avatar.cli.motion import MOTION_COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINES = re.findall(r"^ram-avatar (\w+) ([^#\n]*)", README, re.M)


def test_there_are_three_commands_for_a_users_own_video():
    assert len(LINES) == 3 and {command for command, _ in LINES} == {"create", "animate"}


@pytest.mark.parametrize(("command", "rest"), LINES)
def test_commands_and_their_options_exist(command, rest, capsys):
    assert command in COMMANDS
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    for option in re.findall(r"--[\w-]+", rest):
        assert option in said


def test_every_command_is_in_the_table():
    rows = re.findall(r"^\| `ram-avatar (\w+)( [a-z]\w+)?", README, re.M)
    assert {command for command, _ in rows} == set(COMMANDS)
    assert {nested.strip() for command, nested in rows if command == "motion"} == set(MOTION_COMMANDS)


def test_the_python_example_runs(avatar_folder, capture, monkeypatch, tmp_path):
    """The example as printed, except that `create` is replaced by loading its result."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "Avatar" in block)
    code = code.replace('create("me.mp4", "me")', 'Avatar.load("me")')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").symlink_to(avatar_folder)
    (tmp_path / "me-capture").symlink_to(capture.folder)
    scope: dict = {}
    exec(code, scope)
    assert scope["frame"].shape == (256, 256, 3)
