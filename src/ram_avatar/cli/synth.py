"""`ram-avatar synth`."""

from pathlib import Path

from tyro.conf import Positional

from ..synthetic.options import SynthOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def synth(
    out: Positional[Path],
    options: Flat[SynthOptions] = SynthOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Film the built-in performer in any motion, with ground truth: OUT/video.mp4, and OUT/truth, a capture.

    `ram-avatar track OUT/video.mp4` can be compared with the truth; `ram-avatar train OUT/truth AVATAR` learns
    from perfect tracking.
    """
    from ..synthetic.laboratory import synthesize

    with TerminalProgress() as progress:
        synthesize(out, options, overwrite=overwrite, progress=progress)
        progress.note(f"{out}: ready")
