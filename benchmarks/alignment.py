"""Motion distribution alignment, judged: `python benchmarks/alignment.py bandai_namco.zip --captures CAPTURE ...`

How far a driver's motion is outside of what a capture's training frames show, with alignment and without, and what
alignment does to it. Drivers are clips of the Bandai-Namco Research Motiondataset (BVH, in a .zip), kicks, runs,
slashes and dances, and the capture's own held-out frames. With --avatar and --truth, the built-in performer does the
drivers' motions as they are and as they are aligned, and the avatar's pictures are judged against these true ones.

    ram-avatar synth studio
    ram-avatar train studio/truth avatar
    python benchmarks/alignment.py bandai_namco.zip --captures studio/truth --avatar avatar --truth studio/truth
"""

import math
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from machine import describe, table
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation
from truth import judge_frames

from ram_avatar.avatar import Avatar
from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.evaluation.metrics import StLpips
from ram_avatar.motion.alignment.aligner import (
    Aligner,
    Alignment,
    Score,
    between,
)
from ram_avatar.motion.alignment.fitting import OUTSIDE, fit_alignment
from ram_avatar.motion.alignment.posture import Posture
from ram_avatar.motion.alignment.prior_file import load_prior
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.pose_features import (
    PoseFeatures,
    angles_between,
    split_heading,
    to_features,
)
from ram_avatar.synthetic.laboratory import synthesize
from ram_avatar.synthetic.options import SynthOptions

KINDS = {"kicks": "kick", "runs": "run", "slashes": "slash", "dances": "dance"}
ENDS = {"wrists": ("wrist.L", "wrist.R"), "ankles": ("foot.L", "foot.R")}
FIGURES = {
    "outside": "outside, %",
    "turned outside": "by joints' turns, %",
    "change": "change, degrees",
    "wrists": "wrists",
    "ankles": "ankles",
    "wrists from the pelvis": "wrists from the pelvis",
    "ankles from the pelvis": "ankles from the pelvis",
    "acceleration": "acceleration",
}
_COMPARED_AT_ONCE = 64


@dataclass
class Arguments:
    motions: tyro.conf.Positional[Path]
    """The .zip of Bandai-Namco clips."""
    captures: tuple[Path, ...] = ()
    """Whose motion is the own."""
    avatar: Path | None = None
    """An avatar of the built-in performer, trained on --truth."""
    truth: Path | None = None
    """Its capture, that `ram-avatar synth` left."""
    frames: int = 40
    """From the middle of a clip of each kind, for the pictures."""


def main(wanted: Arguments) -> None:
    if (wanted.avatar is None) != (wanted.truth is None):
        raise UserError("--avatar and --truth belong together")
    template = load_template()
    with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
        drivers = read_drivers(wanted.motions, template, Path(scratch))
        tables = [judge_motions(Capture.load(path), drivers, template) for path in wanted.captures]
        if wanted.avatar:
            tables.append(judge_pictures(wanted, drivers, Path(scratch), progress))
    print(f"{describe()}\n", *tables, sep="\n")


def read_drivers(archive: Path, template: BodyTemplate, scratch: Path) -> dict[str, list[Motion]]:
    """The archive's clips of every kind, of the first of its two data sets."""
    with zipfile.ZipFile(archive) as clips:
        names = [name for name in clips.namelist() if "dataset-1" in name]
        chosen = {kind: [name for name in names if f"_{word}" in name] for kind, word in KINDS.items()}
        paths = {kind: [clips.extract(name, scratch) for name in of_kind] for kind, of_kind in chosen.items()}
    return {kind: [read_motion(path, template) for path in of_kind] for kind, of_kind in paths.items()}


# Motions --------------------------------------------------------------------------------------------------------


@dataclass
class Poses:
    """A motion as what it is judged by."""

    rotations: np.ndarray  # [N, K, 3, 3]
    features: np.ndarray  # [N, W]
    markers: np.ndarray  # [N, M, 3] from the pelvis, without the heading
    paths: np.ndarray  # [N, M, 3] in the world


class Judge:
    """One capture's distribution, by two measures that know nothing of each other.

    The aligner's own score measures postures in space, the other one joints: the mean angle between their turns and
    those of the nearest training frame. Both have the threshold that `OUTSIDE` of the held-out frames pass.
    """

    def __init__(self, capture: Capture, template: BodyTemplate):
        self.features = PoseFeatures(template)
        self.posture = Posture(template, self.features)
        motions = capture.train_motion, capture.held_out_motion
        self.known, self.held_out = map(self.poses, motions)
        prior, _ = load_prior(None, template.name, self.features.names)
        self.alignment: Alignment = fit_alignment(*motions, template, prior, Silent())
        self.score = Score(self.alignment, self.posture)
        self.most_turned = np.quantile(self.turned(self.held_out), 1 - OUTSIDE)

    def poses(self, motion: Motion) -> Poses:
        root, pose = motion.root_rotation.double().numpy(), motion.pose.double().numpy()
        return self.placed(self.features.rotations(root, pose), motion)

    def placed(self, rotations: np.ndarray, motion: Motion) -> Poses:
        """Poses where a motion has its root."""
        markers = self.posture.markers(rotations)
        heading = Rotation.from_rotvec(split_heading(motion.root_rotation.double().numpy())[1]).as_matrix()
        paths = markers @ heading.swapaxes(1, 2) + motion.root_translation.double().numpy()[:, None]
        return Poses(rotations, to_features(rotations), markers, paths)

    def turned(self, poses: Poses) -> np.ndarray:
        """[N] degrees, mean over the joints, from the nearest training frame."""
        known = self.known.rotations.reshape(*self.known.rotations.shape[:2], 9)
        nearest = []
        for part in np.array_split(poses.rotations, -(-len(poses.rotations) // _COMPARED_AT_ONCE)):
            cosine = (np.einsum("nkc,mkc->nmk", part.reshape(*part.shape[:2], 9), known) - 1) / 2
            nearest.append(np.degrees(np.arccos(cosine.clip(-1, 1))).mean(-1).min(1))
        return np.concatenate(nearest)

    def figures(self, poses: Poses, given: Poses) -> dict[str, float]:
        """What alignment, or something in its place, made of a driver's poses."""
        told = {
            "outside": 100 * (self.score(poses.rotations) > 1).mean(),
            "turned outside": 100 * (self.turned(poses) > self.most_turned).mean(),
            "change": angles_between(poses.features, given.features).mean(),
            "acceleration": _acceleration(poses) / _acceleration(given),
        }
        for name, ends in ENDS.items():
            columns = [self.posture.names.index(end) for end in ends]
            for suffix, of in (("", "paths"), (" from the pelvis", "markers")):
                told[name + suffix] = np.mean(
                    [_correlation(getattr(poses, of)[:, c], getattr(given, of)[:, c]) for c in columns]
                )
        return told


def judge_motions(capture: Capture, drivers: dict[str, list[Motion]], template: BodyTemplate) -> str:
    judge = Judge(capture, template)
    own = capture.held_out_motion
    rows, spent, frames = [], 0.0, 0
    for kind, motions in (drivers | {"its own held-out frames": [own]}).items():
        figures: dict[str, list[tuple[dict[str, float], int]]] = {}
        for motion in motions:
            started = time.process_time()
            moved = align(motion, judge.alignment, template)
            spent, frames = spent + time.process_time() - started, frames + len(motion)
            given, aligned = judge.poses(motion), judge.poses(moved)
            change = angles_between(aligned.features, given.features).mean()
            ways = {"as it is": given, "aligned": aligned}
            if motion is not own:
                nearest = judge.known.rotations[_nearest(given, judge.known)]
                mean = np.broadcast_to(_mean_rotations(judge.known), given.rotations.shape)
                ways["towards the nearest training pose"] = _as_far(given, nearest, change, judge, motion)
                ways["towards the training mean"] = _as_far(given, mean, change, judge, motion)
            for way, poses in ways.items():
                figures.setdefault(way, []).append((judge.figures(poses, given), len(motion)))
        for way, of in figures.items():
            weights = [count for _, count in of]
            means = {name: np.average([figure[name] for figure, _ in of], weights=weights) for name in FIGURES}
            rows.append((kind, way, *(f"{means[name]:.{0 if 'outside' in name else 2}f}" for name in FIGURES)))
    return (
        f"Own motion: {capture.source}, {len(capture.train_frames)} training frames; outside is farther than "
        f"{1000 * judge.alignment.outside:.0f} mm from all of them, or turned by more than {judge.most_turned:.1f} "
        f"degrees; {1000 * spent / frames:.2f} ms a frame\n\n"
        + table(rows, ("driver", "way", *FIGURES.values()))
        + "\n"
    )


def align(motion: Motion, alignment: Alignment, template: BodyTemplate) -> Motion:
    aligner = Aligner(alignment, template, motion.fps, max_turn=math.inf)  # what it would do, given its way
    return Motion.of_frames(motion.template, motion.fps, map(aligner, motion.frames()))


def _as_far(given: Poses, targets: np.ndarray, change: float, judge: Judge, motion: Motion) -> Poses:
    """The poses led towards targets by the share that changes them by `change` degrees in the mean."""
    turned: Callable[[float], np.ndarray] = lambda share: between(given.rotations, targets, share)
    missing = lambda s: angles_between(to_features(turned(s)), given.features).mean() - change
    share = 1.0 if missing(1.0) <= 0 else brentq(missing, 0.0, 1.0, xtol=1e-3)
    return judge.placed(turned(share), motion)


def _nearest(poses: Poses, known: Poses) -> np.ndarray:
    """[N] the training frame whose features are nearest."""
    squares = np.square(known.features).sum(1) - 2 * poses.features @ known.features.T
    return squares.argmin(1)


def _mean_rotations(poses: Poses) -> np.ndarray:
    """[K, 3, 3]: the chordal mean of every joint."""
    u, _, v = np.linalg.svd(poses.rotations.mean(0))
    u[..., -1] *= np.linalg.det(u @ v)[:, None]
    return u @ v


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two paths [N, 3], over their three coordinates at once."""
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))


def _acceleration(poses: Poses) -> float:
    return float(np.linalg.norm(np.diff(poses.paths, 2, axis=0), axis=-1).mean())


# Pictures -------------------------------------------------------------------------------------------------------


def judge_pictures(wanted: Arguments, drivers: dict[str, list[Motion]], scratch: Path, progress) -> str:
    avatar, known = Avatar.load(wanted.avatar), Capture.load(wanted.truth)
    if not known.report.get("truth") or not torch.allclose(avatar.identity, known.identity, atol=1e-5):
        raise UserError(f"{wanted.truth}: not the truth that {wanted.avatar} was trained on")
    if not avatar.alignment:
        raise UserError(f"{wanted.avatar}: has no alignment; `ram-avatar train` adds it")
    judge, rows = StLpips(), []
    for kind, motions in drivers.items():
        aligned = align(motions[0], avatar.alignment, avatar.template)
        start = max(0, (len(aligned) - wanted.frames) // 2)
        middle = slice(start, start + wanted.frames)
        ways, errors = {"as it is": motions[0][middle], "aligned": aligned[middle]}, {}
        for way, shown in ways.items():
            path = scratch / f"{kind} {way}.npz"
            shown.save(path)
            size, seed = known.camera.width, known.report["performer_seed"]
            truth = synthesize(
                scratch / f"{kind} {way}", SynthOptions(motion=str(path), size=size, seed=seed), progress=progress
            )
            errors[way] = judge_frames(avatar, truth, slice(None), known, judge, progress).avatar["st_lpips_person"]
        rows.append((kind, str(len(aligned[middle])), *(f"{errors[way].mean():.4f}" for way in ways)))
    return (
        f"Person ST-LPIPS of {avatar.name} against the performer's true pictures of the same motion, "
        f"close-ups of {avatar.size} pixels\n\n" + table(rows, ("driver", "frames", "as it is", "aligned"))
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
