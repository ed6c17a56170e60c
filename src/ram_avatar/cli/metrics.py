"""The metrics of a new avatar, as a table on the terminal."""

import json
from pathlib import Path

from ..core.progress import Progress
from ..creation.outcome import METRICS, METRICS_FILE
from ..evaluation.metric_catalog import format_value


def note_metrics(avatar: Path, progress: Progress) -> None:
    """Note an avatar's metrics beside those of its baselines; nothing if it is not trained to its end."""
    path = avatar / METRICS_FILE
    if not path.is_file():
        return
    metrics = json.loads(path.read_text())
    progress.note(f"On {metrics['frames']} held-out frames    PSNR   person   ST-LPIPS of the person (lower is better)")
    for name, row in (
        ("this avatar", metrics),
        ("textured mesh", metrics["textured_mesh"]),
        ("nearest training frame", metrics["nearest_frame"]),
    ):
        psnr, person, lpips = (
            format_value(METRICS[key][1], row[key]) for key in ("psnr", "psnr_person", "st_lpips_person")
        )
        progress.note(f"  {name:24s} {psnr:>7} {person:>8} {lpips:>8}")
    progress.note(f"{avatar}: ready; look at {avatar / 'preview.mp4'}")
