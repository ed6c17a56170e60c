"""The order of the rooms, which pyproject.toml writes down for import-linter."""

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
