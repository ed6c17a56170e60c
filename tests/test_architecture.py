"""The order of the rooms, which pyproject.toml writes down for import-linter, and what the live server loads."""

import ast
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


# Files of strangers ----------------------------------------------------------------------------------------------

READERS = {
    "yaml": ["core.untrusted.documents"],
    "json.load": [],
    "json.loads": ["core.untrusted.documents", "live.protocol", "body.anny", "video.sandbox"],
    "zipfile": ["core.untrusted.arrays"],
    "numpy.load": [],
    "numpy.loadtxt": [],
    "numpy.genfromtxt": [],
    "safetensors.safe_open": ["core.untrusted.tensors", "body.anny"],
    "safetensors.torch.load": [],
    "safetensors.torch.load_file": [],
    "torch.load": ["networks.pretrained", "body.anny"],
    "PIL.Image.open": ["core.untrusted.pictures", "capture.large_frames"],
    "cv2.imread": [],
    "cv2.imdecode": [],
    "pickle": [],
}
"""Who may use what reads files, or parses them: `core.untrusted`, which bounds them first. Others read what is not a
stranger's: `body.anny` and `networks.pretrained` the files of installed packages, `body.anny` also this package's own
cache; `capture.large_frames` what it packed itself; `live.protocol` messages of bounded length; `video.sandbox` what
its parent says."""


def test_strangers_files_are_read_in_one_place():
    found: dict[str, list[str]] = {reader: [] for reader in READERS}
    for path in sorted((ROOT / "src" / "ram_avatar").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "src" / "ram_avatar").with_suffix("").parts)
        for reader in _used(ast.parse(path.read_text())) & READERS.keys():
            found[reader].append(module)
    assert {reader: sorted(modules) for reader, modules in found.items()} == {
        reader: sorted(modules) for reader, modules in READERS.items()
    }


def test_ways_of_reading_are_noticed():
    source = """
import numpy as np, cv2, torch.nn
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file as load
Image.open("x"), np.load("x"), cv2.imread("x"), torch.load("x"), torch.save("x")
"""
    assert _used(ast.parse(source)) & READERS.keys() == {
        "PIL.Image.open",
        "numpy.load",
        "cv2.imread",
        "torch.load",
        "safetensors.safe_open",
        "safetensors.torch.load_file",
    }


def _used(tree: ast.AST) -> set[str]:
    """Return what a module imports, and the attributes of it that it uses, with their modules' full names."""
    names, used = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
                used |= {alias.name, top}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            used |= {node.module, node.module.partition(".")[0]}
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                used.add(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            used.add(f"{names[node.value.id]}.{node.attr}")
    return used
