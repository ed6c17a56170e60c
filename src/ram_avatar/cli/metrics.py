"""The metrics of a new avatar, as a table on the terminal."""

from pathlib import Path

from ..core.progress import Progress
from ..core.untrusted.documents import read_json
from ..core.untrusted.records import Description
from ..creation.outcome import METRICS, METRICS_FILE
from ..evaluation.metric_catalog import format_value


def note_metrics(avatar: Path, progress: Progress) -> None:
    """Note an avatar's metrics beside those of its baselines; nothing if it is not trained to its end."""
    path = avatar / METRICS_FILE
    if not path.is_file():
        return
    metrics = Description(read_json(path, "an avatar's metrics"), path)
    frames = metrics.take("frames", int)
    progress.note(f"On {frames} held-out frames    PSNR   person   ST-LPIPS of the person (lower is better)")
    rows = {"this avatar": metrics}
    for name, key in (("textured mesh", "textured_mesh"), ("nearest training frame", "nearest_frame")):
        rows[name] = Description(metrics.take(key, dict), path)
    for name, row in rows.items():
        psnr, person, lpips = (
            format_value(METRICS[key][1], row.take(key, float | None))
            for key in ("psnr", "psnr_person", "st_lpips_person")
        )
        progress.note(f"  {name:24s} {psnr:>7} {person:>8} {lpips:>8}")
    progress.note(f"{avatar}: ready; look at {avatar / 'preview.mp4'}")
