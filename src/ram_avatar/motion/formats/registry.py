"""The registry of motion file formats.

To add a format, write a module in this folder and list it in `FORMATS`; every command, help text and error message
follows. The module has

    read(path, template, identity, options, progress) -> Motion

and, where the format is written or shares its suffix with another one,

    write(path, motion, template, identity, progress) -> None
    sniff(path) -> bool

Modules are imported on first use, so that the command line can print its help without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ...core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ...body.template import BodyTemplate
    from ...core.progress import Progress
    from ..motion import Motion
    from .options import ReadOptions


class FormatModule(Protocol):
    """A module that reads one format. `write` and `sniff` are needed only where `MotionFormat` says so."""

    def read(
        self,
        path: Path,
        template: BodyTemplate,
        identity: Tensor | None,
        options: ReadOptions,
        progress: Progress,
    ) -> Motion: ...

    def write(
        self,
        path: Path,
        motion: Motion,
        template: BodyTemplate,
        identity: Tensor | None,
        progress: Progress,
    ) -> None: ...

    def sniff(self, path: Path) -> bool: ...


@dataclass(frozen=True)
class MotionFormat:
    """One format of motion files."""

    module: str
    """Name of its module in this folder."""
    suffix: str
    """In lower case."""
    title: str
    """What the format is called, as in the table of docs/formats.md."""
    help: str
    """How help texts list it."""
    options: tuple[str, ...] = ("fps",)
    """The fields of `ReadOptions` that it uses."""
    sniffed: bool = False
    """Whether it has `sniff`. Of formats that share a suffix, the last one takes what no other one recognizes."""
    writes: str = ""
    """What of a motion the format holds when written; empty where it is not written."""
    moves_body: bool = True
    """Whether it holds more than the face."""

    def load(self) -> FormatModule:
        """Import the format's module."""
        return cast(FormatModule, import_module(f".{self.module}", __package__))


_SKELETON = ("joint_names", "up", "fps")

FORMATS = (
    MotionFormat("native", ".npz", "our own", "our own .npz", sniffed=True, writes="everything"),
    MotionFormat("amass", ".npz", "AMASS and SMPL", ".npz of AMASS, SMPL or SMPL-X", _SKELETON),
    MotionFormat("bvh", ".bvh", "Biovision", ".bvh", _SKELETON, writes="the body"),
    MotionFormat("amc", ".amc", "Acclaim", ".amc with its .asf", _SKELETON),
    MotionFormat(
        "arkit",
        ".csv",
        "Live Link Face and Audio2Face",
        ".csv of Live Link Face or Audio2Face",
        writes="the face",
        moves_body=False,
    ),
)
SUFFIXES = tuple(dict.fromkeys(each.suffix for each in FORMATS))
"""Suffixes of motion files."""
BODY_SUFFIXES = tuple(dict.fromkeys(each.suffix for each in FORMATS if each.moves_body))
"""Suffixes of motion files that move more than the face."""
WRITTEN_SUFFIXES = tuple(dict.fromkeys(each.suffix for each in FORMATS if each.writes))
"""Suffixes that a motion can be written to."""


def describe() -> str:
    """Return the list of formats that are read, for help texts."""
    return ", ".join(each.help for each in FORMATS)


def describe_written() -> str:
    """Return the list of formats that are written, for help texts."""
    *others, last = (f"{each.suffix} ({each.writes})" for each in FORMATS if each.writes)
    return f"{', '.join(others)} or {last}"


def is_motion_file(path: str | Path) -> bool:
    """Return whether a path has the suffix of a motion file. The file need not exist."""
    return Path(path).suffix.lower() in SUFFIXES


def find_format(path: Path) -> MotionFormat:
    """Return the format of a motion file, from its suffix and, where several share one, its content.

    Raises:
        UserError: the suffix is unknown, there is no such file, or it is damaged.
    """
    candidates = [each for each in FORMATS if each.suffix == path.suffix.lower()]
    if not candidates:
        raise UserError(f"{path}: not a known kind of motion file; there are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    sniffed = (each for each in candidates if each.sniffed and each.load().sniff(path))
    return next(sniffed, candidates[-1])


def find_written_format(path: Path) -> MotionFormat:
    """Return the format in which a motion is written to a path.

    Raises:
        UserError: no format that is written has this suffix.
    """
    for each in FORMATS:
        if each.writes and each.suffix == path.suffix.lower():
            return each
    raise UserError(f"{path}: a motion is written as one of {', '.join(WRITTEN_SUFFIXES)}")
