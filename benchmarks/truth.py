"""Errors against the truth, on the built-in performer: `python benchmarks/truth.py --help`.

Without arguments: what tracking gets wrong. With an avatar and the truth capture it was trained on: how its
pictures fare on motions far from those that it was trained on, with perfect tracking.

    ram-avatar synth studio
    ram-avatar train studio/truth avatar
    python benchmarks/truth.py --avatar avatar --trained-on studio/truth [--motions dance.npz ...]
"""

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import tyro
from machine import describe, table
from scipy.stats import spearmanr
from tracking_error import TrackingError, compare_tracking

from ram_avatar.avatar import Avatar
from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import to_tensor
from ram_avatar.evaluation.metrics import StLpips, psnr, st_lpips_person
from ram_avatar.inference.render import render
from ram_avatar.synthetic.choreography import PERFORMANCES
from ram_avatar.synthetic.laboratory import VIDEO, nearest_pose, synthesize
from ram_avatar.synthetic.options import SynthOptions
from ram_avatar.tracking.offline.track import track


@dataclass
class Arguments:
    avatar: Path | None = None
    """An avatar that was trained on a truth capture; without it, tracking is judged."""
    trained_on: Path | None = None
    """That capture."""
    motions: tuple[str, ...] = ("driving",)
    """Performances, motion .npz files or captures to judge the avatar on."""
    frames: int = 120
    size: int = 512
    """Side of the tracked pictures; an avatar is judged at its capture's."""


def main(wanted: Arguments) -> None:
    if (wanted.avatar is None) != (wanted.trained_on is None):
        raise UserError("--avatar and --trained-on belong together")
    with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
        tables = (judge_avatar if wanted.avatar else judge_tracking)(wanted, Path(scratch), progress)
    print(f"{describe()}\n\n{tables}")


# Tracking -------------------------------------------------------------------------------------------------------


def judge_tracking(wanted: Arguments, scratch: Path, progress) -> str:
    template, errors = load_template(), []
    for name in PERFORMANCES:
        truth = synthesize(
            scratch / name, SynthOptions(motion=name, frames=wanted.frames, size=wanted.size), progress=progress
        )
        tracked = track(scratch / name / VIDEO, scratch / f"{name}-tracked", template=template, progress=progress)
        errors.append(compare_tracking(tracked, truth, template))
    rows = [
        (figure.metadata["label"], figure.metadata["unit"], *(f"{getattr(error, figure.name):.3g}" for error in errors))
        for figure in fields(TrackingError)
    ]
    title = f"Tracking against the truth, {wanted.frames} frames, {wanted.size} pixels"
    return f"{title}\n\n{table(rows, ('error', 'unit', *PERFORMANCES))}"


# Avatars --------------------------------------------------------------------------------------------------------


@dataclass
class Judged:
    """Figures of every frame of a motion, each [N]."""

    distance: np.ndarray  # degrees to the nearest training pose
    avatar: dict[str, np.ndarray]
    mesh: dict[str, np.ndarray]


FIGURES = {"psnr": "PSNR", "psnr_person": "PSNR person", "st_lpips_person": "ST-LPIPS person"}


def judge_avatar(wanted: Arguments, scratch: Path, progress) -> str:
    avatar, known = Avatar.load(wanted.avatar), Capture.load(wanted.trained_on)
    if not known.report.get("truth") or not torch.allclose(avatar.identity, known.identity, atol=1e-5):
        raise UserError(f"{wanted.trained_on}: not the truth that {wanted.avatar} was trained on")
    judge, rows, everything = StLpips(), [], []
    motions = {"held-out frames of the training": (known, slice(known.held_out[0], None))}
    for i, name in enumerate(wanted.motions):
        truth = synthesize(
            scratch / str(i),
            SynthOptions(
                motion=name, frames=wanted.frames, size=known.camera.width, seed=known.report["performer_seed"]
            ),
            progress=progress,
        )
        motions[Path(name).stem] = (truth, slice(None))
    for name, (truth, chosen) in motions.items():
        judged = judge_frames(avatar, truth, chosen, known, judge, progress)
        everything.append(judged)
        means = (f"{of[key].mean():.4g}" for key in FIGURES for of in (judged.avatar, judged.mesh))
        rows.append((name, str(len(judged.distance)), f"{judged.distance.mean():.1f}", *means))
    headings = ("motion", "frames", "degrees from training")
    headings += tuple(f"{label}{way}" for label in FIGURES.values() for way in ("", " (mesh)"))
    distance = np.concatenate([judged.distance for judged in everything])
    related = [
        (label, *(f"{_correlation(distance, everything, way, key):+.2f}" for way in ("avatar", "mesh")))
        for key, label in FIGURES.items()
    ]
    return (
        f"{wanted.avatar.name}, trained on {len(known.train_frames)} frames of the truth\n\n{table(rows, headings)}\n\n"
        f"Rank correlation (Spearman) with the distance from the training poses, over all {len(distance)} frames\n\n"
        f"{table(related, ('figure', 'avatar', 'textured mesh'))}"
    )


@torch.no_grad()
def judge_frames(avatar: Avatar, truth: Capture, chosen: slice, known: Capture, judge: StLpips, progress) -> Judged:
    data = CaptureDataset(truth, avatar.template, avatar.texture, avatar.size, avatar.device, progress)
    figures = {way: {key: [] for key in FIGURES} for way in ("avatar", "mesh")}
    frames = range(len(data))[chosen]
    for index, rendered in zip(frames, render(avatar, truth.motion[chosen], close_up=True), strict=True):
        maps, plate = data.maps(torch.tensor([index]), neighbors=False), data.plates(torch.tensor([index]))
        covered = maps.position[:, 3:]
        shown = {
            "avatar": to_tensor(rendered)[None],
            "mesh": (maps.color * covered + plate * (1 - covered)).cpu(),
        }
        true, mask = to_tensor(data.frames[index])[None], data.masks[index][None].float() / 255
        for way, picture in shown.items():
            figures[way]["psnr"].append(float(psnr(picture, true)))
            figures[way]["psnr_person"].append(float(psnr(picture, true, mask)))
            figures[way]["st_lpips_person"].append(float(st_lpips_person(judge, picture, true, mask)))
        progress.step(f"Judging: {truth.report['motion']}", index - frames[0] + 1, len(frames))
    distance, _ = nearest_pose(truth.motion[chosen], known.train_motion, avatar.template)
    arrays = {way: {key: np.array(values) for key, values in of.items()} for way, of in figures.items()}
    return Judged(distance.numpy(), **arrays)


def _correlation(distance: np.ndarray, everything: list[Judged], way: str, key: str) -> float:
    return float(spearmanr(distance, np.concatenate([getattr(judged, way)[key] for judged in everything])).statistic)


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
