"""`ram-avatar train`."""

from pathlib import Path

from tyro.conf import Positional

from ..creation.options import TrainOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def train(
    capture: Positional[Path],
    avatar: Positional[Path],
    options: Flat[TrainOptions] = TrainOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Learn an avatar from a capture. To resume an interrupted run, run the same command again."""
    from ..creation.train import train as run
    from .metrics import note_metrics

    with TerminalProgress() as progress:
        run(capture, avatar, options, overwrite=overwrite, progress=progress)
        note_metrics(avatar, progress)
