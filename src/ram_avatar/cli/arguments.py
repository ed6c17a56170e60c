"""Arguments that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from tyro.conf import arg

from ..motion.formats import describe, describe_written

T = TypeVar("T")

Flat = Annotated[T, arg(name="")]
"""A dataclass of options, whose flags get no prefix."""

Overwrite = Annotated[bool, arg(help="replace an output that exists")]
VisibleMark = Annotated[bool, arg(help="mark every frame, in a corner, as generated")]
JointNames = Annotated[Path | None, arg(help="a .yaml that names the joints of an unknown skeleton")]
Up = Annotated[
    Literal["x", "y", "z", "-x", "-y", "-z"] | None,
    arg(help="up axis of a motion file (--up=-y for a negative one); if omitted, found from the motion"),
]
Rate = Annotated[
    float | None,
    arg(help="frame rate of a motion file that states none; a file that states one is resampled to it"),
]

Command = TypeVar("Command", bound=Callable[..., None])


def lists_formats(command: Command) -> Command:
    """Decorate a command: fill the formats of motion files into `{formats}` and `{written}` in its help."""
    text = command.__doc__ or ""
    command.__doc__ = text.replace("{formats}", describe()).replace("{written}", describe_written())
    return command
