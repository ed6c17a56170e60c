"""Arguments that several commands share."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from tyro.conf import arg

from ..motion.formats import describe, describe_written

T = TypeVar("T")

Flat = Annotated[T, arg(name="")]
"""A dataclass of options, whose flags get no prefix."""

Overwrite = Annotated[bool, arg(help="replace an output that exists")]

Command = TypeVar("Command", bound=Callable[..., None])


def lists_formats(command: Command) -> Command:
    """Decorate a command: fill the formats of motion files into `{formats}` and `{written}` in its help."""
    text = command.__doc__ or ""
    command.__doc__ = text.replace("{formats}", describe()).replace("{written}", describe_written())
    return command
