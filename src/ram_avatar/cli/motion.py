"""`ram-avatar motion`: convert, show, prior."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from tyro.conf import Positional, arg, subcommand

from ..core.errors import UserError
from ..motion.formats import ReadOptions
from ..options import TemplateOptions
from .arguments import Flat, Overwrite, lists_formats
from .terminal import TerminalProgress


@lists_formats
def convert(
    source: Positional[Path],
    out: Positional[Path],
    template: Flat[TemplateOptions] = TemplateOptions(),
    options: Flat[ReadOptions] = ReadOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Write a motion in another format.

    A source is a capture folder or a motion file: {formats}. OUT is {written}.
    """
    from ..motion_files import convert as run

    with TerminalProgress() as progress:
        made = run(source, out, template=template, options=options, overwrite=overwrite, progress=progress)
        progress.note(f"{out}: {len(made)} frames at {made.fps:g} a second")


def show(
    source: Positional[Path],
    out: Positional[Path],
    size: Annotated[int, arg(help="side of the square frames, pixels")] = 512,
    template: Flat[TemplateOptions] = TemplateOptions(),
    options: Flat[ReadOptions] = ReadOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Draw any motion as a shaded body on a floor: OUT is .mp4, .mov or .webm. For sources see `convert`."""
    from ..motion_files import show as run

    with TerminalProgress() as progress:
        run(source, out, size=size, template=template, options=options, overwrite=overwrite, progress=progress)
        progress.note(f"{out}: ready")


def prior(
    paths: Annotated[
        Positional[list[Path]],
        arg(metavar="MOTIONS... PRIOR", help="motions to learn from, and the .safetensors file to make"),
    ],
    epochs: Annotated[int, arg(help="passes over all poses")] = 50,
    seed: Annotated[int, arg(help="seed of everything random")] = 0,
    licence: Annotated[str, arg(help="licence of the motions, for the prior's card")] = "unknown: that of the motions",
    overwrite: Overwrite = False,
) -> None:
    """Fit a motion prior, which tells alignment what poses are plausible: from files, folders, .zip of .bvh."""
    from ..body import load_template
    from ..motion.alignment.prior_training import PriorTraining, fit_prior

    # One list of paths: a positional list of motions would leave nothing for a path after it.
    if len(paths) < 2:
        raise UserError("ram-avatar motion prior MOTIONS... PRIOR: name at least one motion and the file to make")
    *motions, out = paths
    with TerminalProgress() as progress:
        card = fit_prior(
            motions,
            out,
            template=load_template(progress=progress),
            training=PriorTraining(epochs=epochs, seed=seed),
            licence=licence,
            command=shlex.join(["ram-avatar", *sys.argv[1:]]),
            overwrite=overwrite,
            progress=progress,
        )
        progress.note(
            f"{out}: {card['poses']} poses from {card['files']} motions; held-out poses are reconstructed within "
            f"{card['held_out_error_degrees']:.1f} degrees per joint"
        )


MOTION_COMMANDS = {"convert": convert, "show": show, "prior": prior}
if TYPE_CHECKING:
    _Command = Any
else:
    _Command = Union[tuple(Annotated[Any, subcommand(name, constructor=run)] for name, run in MOTION_COMMANDS.items())]  # noqa: UP007


def motion(command: Annotated[_Command, arg(name="")]) -> None:
    """Work with motion files: convert them, view them, learn from them."""
