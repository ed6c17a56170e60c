"""`ram-avatar animate`."""

from pathlib import Path

from tyro.conf import Positional

from ..animation.options import AnimateOptions
from ..options import AvatarOptions
from .arguments import Flat, Overwrite, lists_formats
from .terminal import TerminalProgress


@lists_formats
def animate(
    avatar: Positional[Path],
    driver: Positional[Path],
    out: Positional[Path],
    options: Flat[AnimateOptions] = AnimateOptions(),
    loading: Flat[AvatarOptions] = AvatarOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Drive an avatar with a motion, and write the video.

    A driver is a video, a capture folder, or a motion file: {formats}.
    """
    from ..animation.animate import animate as run
    from .loading import load_avatar

    with TerminalProgress() as progress:
        run(load_avatar(avatar, loading, progress), driver, out, options, overwrite=overwrite, progress=progress)
        progress.note(f"{out}: ready")
