"""`ram-avatar track`."""

from pathlib import Path

from tyro.conf import Positional

from ..tracking.offline.options import TrackOptions
from .arguments import Flat, Overwrite
from .terminal import TerminalProgress


def track(
    video: Positional[Path],
    capture: Positional[Path],
    options: Flat[TrackOptions] = TrackOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Track the person in a video: makes a capture folder with motion, identity, masks and background."""
    from ..tracking.offline.track import track as run

    with TerminalProgress() as progress:
        made = run(video, capture, options, overwrite=overwrite, progress=progress)
        detected = made.report["detection_rates"].items()
        rates = ", ".join(f"{part.replace('_', ' ')} {rate:.0%}" for part, rate in detected)
        progress.note(
            f"{capture}: {len(made)} frames; detected: {rates}; face read from {made.report['face_read_from']}"
        )
