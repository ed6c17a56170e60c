"""`ram-avatar demo`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..options import DemoOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def demo(
    out: Annotated[Path, arg(help="folder for everything the demo makes")] = Path("demo"),
    options: Flat[DemoOptions] = DemoOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Run every step on a built-in performer: film, track, train, drive, and show the result."""
    from ..demo import run_demo

    with TerminalProgress() as progress:
        run_demo(out, options, overwrite=overwrite, progress=progress)
