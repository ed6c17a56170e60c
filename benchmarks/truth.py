"""Errors against the truth, on the built-in performer: `python benchmarks/truth.py --help`.

Without arguments: the errors of tracking. With an avatar and the true capture it was trained on: the errors of its
frames in motions far from the training motion, with perfect tracking.

    ram-avatar synth studio
    ram-avatar train studio/truth avatar
    python benchmarks/truth.py --avatar avatar --trained-on studio/truth [--motions dance.npz ...]
"""

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import tyro
from measures.results import describe_setup, markdown_table
from measures.tracking_error import TrackingError, compare_tracking
from measures.true_frames import METRICS, FrameErrors, compare_frames, load_pair
from scipy.stats import spearmanr

from ram_avatar.body import load_template
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Progress
from ram_avatar.evaluation.metrics import StLpips
from ram_avatar.synthetic.choreography import PERFORMANCES
from ram_avatar.synthetic.laboratory import VIDEO, like, synthesize
from ram_avatar.synthetic.options import SynthOptions
from ram_avatar.tracking.offline.track import track


@dataclass
class Arguments:
    avatar: Path | None = None
    """An avatar trained on a true capture; without it, tracking is evaluated."""
    trained_on: Path | None = None
    """That capture."""
    motions: tuple[str, ...] = ("driving",)
    """Performances, motion .npz files or captures to evaluate the avatar on."""
    frames: int = 120
    size: int = 512
    """Side of the tracked frames in pixels; an avatar is evaluated at the size of its capture."""


def main(arguments: Arguments) -> None:
    with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
        if arguments.avatar and arguments.trained_on:
            text = avatar_tables(arguments, arguments.avatar, arguments.trained_on, Path(scratch), progress)
        elif arguments.avatar or arguments.trained_on:
            raise UserError("--avatar and --trained-on belong together")
        else:
            text = tracking_table(arguments, Path(scratch), progress)
    print(f"{describe_setup()}\n\n{text}")


def tracking_table(arguments: Arguments, scratch: Path, progress: Progress) -> str:
    """Track every performance and compare it with the truth."""
    template, errors = load_template(), []
    for name in PERFORMANCES:
        options = SynthOptions(motion=name, frames=arguments.frames, size=arguments.size)
        truth = synthesize(scratch / name, options, progress=progress)
        tracked = track(scratch / name / VIDEO, scratch / f"{name}-tracked", template=template, progress=progress)
        errors.append(compare_tracking(tracked, truth, template))
    rows = [
        (metric.metadata["label"], metric.metadata["unit"], *(f"{getattr(error, metric.name):.3g}" for error in errors))
        for metric in fields(TrackingError)
    ]
    title = f"Tracking against the truth, {arguments.frames} frames, {arguments.size} pixels"
    return f"{title}\n\n{markdown_table(rows, ('error', 'unit', *PERFORMANCES))}"


def avatar_tables(arguments: Arguments, avatar_folder: Path, truth: Path, scratch: Path, progress: Progress) -> str:
    """Compare the avatar's frames with the true ones, and correlate the errors with the distance from training."""
    avatar, known = load_pair(avatar_folder, truth)
    st_lpips, rows, everything = StLpips(), [], []
    motions = {"held-out frames of the training": (known, slice(known.held_out[0], None))}
    for i, name in enumerate(arguments.motions):
        shown = synthesize(scratch / str(i), like(known, name, arguments.frames), progress=progress)
        motions[Path(name).stem] = (shown, slice(None))
    for name, (shown, chosen) in motions.items():
        errors = compare_frames(avatar, shown, chosen, known, st_lpips, progress)
        everything.append(errors)
        means = (f"{of[key].mean():.4g}" for key in METRICS for of in (errors.avatar, errors.mesh))
        rows.append((name, str(len(errors.distance)), f"{errors.distance.mean():.1f}", *means))
    headings: tuple[str, ...] = ("motion", "frames", "degrees from training")
    headings += tuple(f"{label}{method}" for label in METRICS.values() for method in ("", " (mesh)"))
    correlations = [
        (label, *(f"{_correlation(everything, method, key):+.2f}" for method in ("avatar", "mesh")))
        for key, label in METRICS.items()
    ]
    return (
        f"{avatar.name}, trained on {len(known.train_frames)} frames of the truth\n\n"
        f"{markdown_table(rows, headings)}\n\n"
        f"Rank correlation (Spearman) with the distance from the training poses, over all "
        f"{sum(len(errors.distance) for errors in everything)} frames\n\n"
        f"{markdown_table(correlations, ('metric', 'avatar', 'textured mesh'))}"
    )


def _correlation(everything: list[FrameErrors], method: str, key: str) -> float:
    distance = np.concatenate([errors.distance for errors in everything])
    return float(spearmanr(distance, np.concatenate([getattr(e, method)[key] for e in everything])).statistic)


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
