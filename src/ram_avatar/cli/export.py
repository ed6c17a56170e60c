"""`ram-avatar export`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..options import SmplxOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def export(
    avatar: Positional[Path],
    out: Positional[Path],
    motion: Annotated[
        Path | None, arg(help="a motion .npz, whose condition maps are written beside OUT, as .npz")
    ] = None,
    options: Flat[SmplxOptions] = SmplxOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Write an avatar's network as one ONNX graph, for programs without torch: condition maps to RGBA.

    The file's metadata and docs/export.md describe inputs, outputs and units.
    """
    from ..avatar import Avatar
    from ..inference.export import export as run
    from ..motion.motion import Motion

    with TerminalProgress() as progress:
        loaded = Avatar.load(avatar, smplx_model=options.smplx_model, progress=progress)
        with progress.wait("Writing the graph"):
            run(loaded, out, motion=Motion.load(motion) if motion else None, overwrite=overwrite)
        progress.note(f"{out}: ready")
