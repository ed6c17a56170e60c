"""Evaluates an avatar by several drivers: each in its own folder, and all in one table."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..avatar import Avatar
from ..capture.capture import Capture, is_capture
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.progress import SILENT, Progress
from ..core.text import printable
from .document import FLOOR, RESIZED, Evaluation, method_label
from .evaluate import REPORT_FILE, evaluate_into, shows_avatar
from .figures import COLUMNS, column_values
from .following_table import format_figure
from .page import write_page

DRIVERS_FILE = "drivers.json"
FORMAT_VERSION = 1
TABLE_METHODS = ("avatar", RESIZED, FLOOR)


@dataclass(frozen=True)
class DriverResult:
    """How an avatar follows one driver."""

    name: str
    """Of the capture, and of the folder with its evaluation."""
    evaluation: Evaluation

    def values(self, method: str) -> dict[str, float | None]:
        """Return one value for each of `COLUMNS`."""
        return column_values(self.evaluation.figures[method])

    @property
    def obedience(self) -> float:
        """The share of the bones that follow, of arms or legs, whichever is lower; infinite if neither is seen."""
        figures = self.evaluation.figures["avatar"]
        shares = [figures[f"{limb}_followed"].value for limb in ("arms", "legs")]
        return min((share for share in shares if share is not None), default=float("inf"))


def find_captures(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the captures among some folders, by name: they themselves, or those that they directly hold.

    Raises:
        UserError: a folder neither is a capture nor holds one, or two captures have the same name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        captures = [path] if is_capture(path) else [each for each in _folders(path) if is_capture(each)]
        if not captures:
            raise UserError(f"{path}: neither a capture nor a folder of captures")
        for capture in captures:
            if (name := folder_name(capture)) in found:
                raise UserError(f"two captures are called '{name}'; their evaluations need different names")
            found[name] = capture
    return found


def folder_name(path: Path) -> str:
    """Return the name of a folder, also of one that is given as `.` or `..`."""
    return os.path.basename(os.path.abspath(path))


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir()) if path.is_dir() else []


def evaluate_drivers(
    avatar: Avatar,
    captures: Mapping[str, Path],
    out: str | Path,
    *,
    size: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[DriverResult]:
    """Evaluate an avatar by each of several other people; write `drivers.json` and `report.html` into the folder `out`.

    The evaluation of each driver is in a folder of its own therein, see `evaluate`. Captures of the avatar's own person
    are noted and left out.

    Args:
        captures: by name, see `find_captures`.
        size: see `evaluate`.

    Returns:
        The results, worst first.

    Raises:
        UserError: `out` exists, a capture is damaged or was tracked with another template, or all show the avatar's own
            person.
    """
    drivers = {name: Capture.load(path) for name, path in captures.items()}
    for name, capture in list(drivers.items()):
        capture.check_template(avatar.template)
        if shows_avatar(capture, avatar):
            progress.note(f"{name}: left out, as it shows the avatar's own person")
            del drivers[name]
    if not drivers:
        raise UserError("no capture shows another person; evaluate the avatar's own by itself")
    with atomic_folder(out, overwrite, marker=DRIVERS_FILE) as folder:
        results = []
        for number, (name, capture) in enumerate(drivers.items(), 1):
            progress.note(f"Driver {number} of {len(drivers)}: {name}")
            (folder / name).mkdir()
            results.append(DriverResult(name, evaluate_into(folder / name, avatar, capture, progress, size)))
        results.sort(key=lambda result: result.obedience)
        document = to_document(avatar.name, results)
        (folder / DRIVERS_FILE).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        _write_table(folder / REPORT_FILE, avatar.name, results)
    return results


def _write_table(path: Path, avatar: str, results: Sequence[DriverResult]) -> None:
    rows = [
        (printable(result.name), {method_label(method): formatted(result.values(method)) for method in TABLE_METHODS})
        for result in results
    ]
    write_page(path, "drivers.html", avatar=avatar, columns=COLUMNS, report=REPORT_FILE, rows=rows)


def to_document(avatar: str, results: Sequence[DriverResult]) -> dict[str, Any]:
    """Return the contents of `drivers.json`."""
    return {
        "format_version": FORMAT_VERSION,
        "avatar": avatar,
        "drivers": [
            {
                "folder": printable(result.name),
                "driver": result.evaluation.driver,
                "frames": len(result.evaluation),
                "figures": {method: result.values(method) for method in result.evaluation.figures},
            }
            for result in results
        ],
    }


def formatted(values: Mapping[str, float | None]) -> list[str]:
    """Return the cells of a row of the table."""
    return [format_figure(COLUMNS[name].figures[0], value) for name, value in values.items()]
