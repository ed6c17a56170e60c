"""The order of the rooms, which pyproject.toml writes down for import-linter, and what the live server loads."""

import subprocess
import sys
from pathlib import Path

from importlinter.application.use_cases import FAILURE, SUCCESS, lint_imports
from importlinter.configuration import configure

ROOT = Path(__file__).parents[1]
UPWARD = """
[tool.importlinter]
root_package = "ram_avatar"
[[tool.importlinter.contracts]]
name = "upside down"
type = "layers"
containers = ["ram_avatar"]
layers = ["core", "config"]
"""


def test_imports_point_down():
    configure()
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None) == SUCCESS


def test_an_upward_import_is_noticed(tmp_path):
    configure()
    (tmp_path / "pyproject.toml").write_text(UPWARD)
    assert lint_imports(config_filename=str(tmp_path / "pyproject.toml"), cache_dir=None) == FAILURE


def test_the_live_server_loads_no_training():
    """An avatar that is shown live needs nothing of training, evaluation or creation."""
    script = """
import importlib, pkgutil, sys
import ram_avatar.live

for module in pkgutil.walk_packages(ram_avatar.live.__path__, "ram_avatar.live."):
    importlib.import_module(module.name)
print(*(name for name in sys.modules if name.startswith("ram_avatar.")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    rooms = {name.split(".")[1] for name in names}
    assert {"live", "drivers", "avatar"} <= rooms
    assert not rooms & {"training", "evaluation", "creation", "demo", "cli", "synthetic"}
    assert len([name for name in names if name.startswith("ram_avatar.live.")]) > 10
