import re
import subprocess
import sys
from pathlib import Path

import pytest

from ram_avatar.cli.main import main
from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats import FORMATS, SUFFIXES, WRITTEN_SUFFIXES, describe, describe_written, registry
from ram_avatar.motion.formats.registry import BODY_SUFFIXES, MotionFormat, find_format

DOCS = Path(__file__).parents[3] / "docs"


def test_every_format_has_a_module_that_does_what_the_registry_says():
    for each in FORMATS:
        module = each.load()
        assert callable(module.read), each
        assert callable(getattr(module, "write", None)) == bool(each.writes), each
        assert callable(getattr(module, "sniff", None)) == each.sniffed, each
        assert set(each.options) <= {"joint_names", "up", "fps"}, each


def test_suffixes_and_help_texts_follow_the_registry():
    assert SUFFIXES == (".npz", ".bvh", ".amc", ".csv")
    assert WRITTEN_SUFFIXES == (".npz", ".bvh", ".csv")
    assert BODY_SUFFIXES == (".npz", ".bvh", ".amc")
    assert all(each.help in describe() for each in FORMATS)
    assert describe_written() == ".npz (everything), .bvh (the body) or .csv (the face)"


def test_documentation_lists_every_format():
    lines = (DOCS / "formats.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `.")]
    rows = [row for row in table if row[0].strip("`") in SUFFIXES]
    assert len(rows) == len(FORMATS)
    for each in FORMATS:
        (row,) = (row for row in rows if row[0] == f"`{each.suffix}`" and row[1].startswith(each.title))
        assert (row[3] != "no") == bool(each.writes), each


def test_help_texts_do_not_load_torch():
    code = "import sys, ram_avatar.motion.formats as f; f.describe(); f.ReadOptions(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_format_is_added_by_one_entry(monkeypatch, tmp_path):
    """Formats that share a suffix are told apart by `sniff`; the last one takes the rest."""
    odd = MotionFormat("native", ".csv", "odd", "odd .csv", sniffed=True)
    monkeypatch.setattr(registry, "FORMATS", (odd, *FORMATS))
    (tmp_path / "a.csv").write_text("a,b")
    monkeypatch.setattr("ram_avatar.motion.formats.native.sniff", lambda path: "a,b" in path.read_text())
    assert find_format(tmp_path / "a.csv") is odd
    (tmp_path / "a.csv").write_text("b,c")
    assert find_format(tmp_path / "a.csv").module == "arkit"
    assert "odd .csv" in describe()
    with pytest.raises(UserError, match=r"a\.fbx: not a known kind of motion file"):
        find_format(tmp_path / "a.fbx")


@pytest.mark.parametrize("command", [["animate"], ["motion", "convert"]])
def test_help_of_commands_lists_the_formats(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert describe() in shown
