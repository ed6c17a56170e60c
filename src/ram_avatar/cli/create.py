"""`ram-avatar create`."""

from pathlib import Path

from tyro.conf import Positional

from ..creation.options import CreateOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def create(
    video: Positional[Path],
    avatar: Positional[Path],
    options: Flat[CreateOptions] = CreateOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Track a video of one person and learn an avatar from it.

    The capture is kept beside the avatar, in AVATAR-capture. To resume an interrupted run, run the same command again.
    """
    from ..creation.create import create as run
    from .metrics import note_metrics

    with TerminalProgress() as progress:
        run(video, avatar, options, overwrite=overwrite, progress=progress)
        note_metrics(avatar, progress)
