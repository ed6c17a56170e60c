"""Motion distribution alignment: `python benchmarks/alignment.py bandai_namco.zip --captures CAPTURE ...`

Measures how far a driver's motion lies outside the motion of a capture's training frames, with and without alignment,
and how alignment changes it. Drivers are clips of the Bandai-Namco Research Motiondataset (BVH, in a .zip) with
kicks, runs, slashes and dances, and the capture's own held-out frames. With --avatar and --truth, the built-in
performer performs the drivers' motions, unaligned and aligned, and the avatar's frames are compared with these true
ones.

    ram-avatar synth studio
    ram-avatar train studio/truth avatar
    python benchmarks/alignment.py bandai_namco.zip --captures studio/truth --avatar avatar --truth studio/truth
"""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from measures.bandai_namco import extract_kinds
from measures.results import describe_setup, markdown_table
from measures.true_frames import compare_frames, load_pair
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from ram_avatar.avatar import Avatar
from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Progress, Silent
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
from ram_avatar.synthetic.laboratory import like, synthesize

ENDS = {"wrists": ("wrist.L", "wrist.R"), "ankles": ("foot.L", "foot.R")}
METRICS = {
    "outside": "outside, %",
    "rotated outside": "by joint rotations, %",
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
    """Captures whose training motion is the reference."""
    avatar: Path | None = None
    """An avatar of the built-in performer, trained on --truth."""
    truth: Path | None = None
    """Its capture, from `ram-avatar synth`."""
    frames: int = 40
    """Frames from the middle of one clip of each kind, for the comparison of frames."""


def main(arguments: Arguments) -> None:
    if (arguments.avatar is None) != (arguments.truth is None):
        raise UserError("--avatar and --truth belong together")
    template = load_template()
    with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
        drivers = read_drivers(arguments.motions, template, Path(scratch))
        tables = [motion_table(Capture.load(path), drivers, template) for path in arguments.captures]
        if arguments.avatar and arguments.truth:
            pair = load_pair(arguments.avatar, arguments.truth)
            tables.append(frame_table(*pair, drivers, arguments.frames, Path(scratch), progress))
    print(f"{describe_setup()}\n", *tables, sep="\n")


def read_drivers(archive: Path, template: BodyTemplate, scratch: Path) -> dict[str, list[Motion]]:
    """Read the clips of every kind from the first of the archive's two data sets."""
    paths = extract_kinds(archive, scratch)
    return {kind: [read_motion(path, template) for path in of_kind] for kind, of_kind in paths.items()}


# Motions --------------------------------------------------------------------------------------------------------


@dataclass
class Poses:
    """A motion in the representations that are compared."""

    rotations: np.ndarray  # [N, K, 3, 3]
    features: np.ndarray  # [N, W]
    markers: np.ndarray  # [N, M, 3] relative to the pelvis, without heading
    paths: np.ndarray  # [N, M, 3] in the world


class Distribution:
    """The motion distribution of one capture, by two independent measures.

    The aligner's own score compares postures in space. The other one compares joints: the mean angle between their
    rotations and those of the nearest training frame. The threshold of both is exceeded by the share `OUTSIDE` of
    the held-out frames.
    """

    def __init__(self, capture: Capture, template: BodyTemplate):
        self.features = PoseFeatures(template)
        self.posture = Posture(template, self.features)
        motions = capture.train_motion, capture.held_out_motion
        self.known, self.held_out = map(self.poses, motions)
        prior, _ = load_prior(None, template.name, self.features.names)
        self.alignment: Alignment = fit_alignment(*motions, template, prior, Silent())
        self.score = Score(self.alignment, self.posture)
        self.max_rotated = np.quantile(self.rotated(self.held_out), 1 - OUTSIDE)

    def poses(self, motion: Motion) -> Poses:
        """Convert a motion."""
        root, pose = motion.root_rotation.double().numpy(), motion.pose.double().numpy()
        return self.placed(self.features.rotations(root, pose), motion)

    def placed(self, rotations: np.ndarray, motion: Motion) -> Poses:
        """Return poses [N, K, 3, 3] placed at the root of a motion."""
        markers = self.posture.markers(rotations)
        heading = Rotation.from_rotvec(split_heading(motion.root_rotation.double().numpy())[1]).as_matrix()
        paths = markers @ heading.swapaxes(1, 2) + motion.root_translation.double().numpy()[:, None]
        return Poses(rotations, to_features(rotations), markers, paths)

    def rotated(self, poses: Poses) -> np.ndarray:
        """Return the distance [N] to the nearest training frame: degrees, mean over the joints."""
        known = self.known.rotations.reshape(*self.known.rotations.shape[:2], 9)
        nearest = []
        for part in np.array_split(poses.rotations, -(-len(poses.rotations) // _COMPARED_AT_ONCE)):
            cosine = (np.einsum("nkc,mkc->nmk", part.reshape(*part.shape[:2], 9), known) - 1) / 2
            nearest.append(np.degrees(np.arccos(cosine.clip(-1, 1))).mean(-1).min(1))
        return np.concatenate(nearest)

    def measure(self, poses: Poses, given: Poses) -> dict[str, float]:
        """Measure what alignment, or an alternative to it, made of a driver's poses."""
        values = {
            "outside": 100 * (self.score(poses.rotations) > 1).mean(),
            "rotated outside": 100 * (self.rotated(poses) > self.max_rotated).mean(),
            "change": angles_between(poses.features, given.features).mean(),
            "acceleration": _acceleration(poses) / _acceleration(given),
        }
        for name, ends in ENDS.items():
            columns = [self.posture.names.index(end) for end in ends]
            for suffix, of in (("", "paths"), (" from the pelvis", "markers")):
                values[name + suffix] = np.mean(
                    [_correlation(getattr(poses, of)[:, c], getattr(given, of)[:, c]) for c in columns]
                )
        return values


def motion_table(capture: Capture, drivers: dict[str, list[Motion]], template: BodyTemplate) -> str:
    """Compare aligned drivers with unaligned ones and with two simpler alternatives."""
    distribution = Distribution(capture, template)
    own = capture.held_out_motion
    rows, spent, frames = [], 0.0, 0
    for kind, motions in (drivers | {"its own held-out frames": [own]}).items():
        measured: dict[str, list[tuple[dict[str, float], int]]] = {}
        for motion in motions:
            started = time.process_time()
            moved = align(motion, distribution.alignment, template)
            spent, frames = spent + time.process_time() - started, frames + len(motion)
            given, aligned = distribution.poses(motion), distribution.poses(moved)
            change = angles_between(aligned.features, given.features).mean()
            methods = {"as it is": given, "aligned": aligned}
            if motion is not own:
                nearest = distribution.known.rotations[_nearest(given, distribution.known)]
                mean = np.broadcast_to(_mean_rotations(distribution.known), given.rotations.shape)
                methods["towards the nearest training pose"] = _as_far(given, nearest, change, distribution, motion)
                methods["towards the training mean"] = _as_far(given, mean, change, distribution, motion)
            for method, poses in methods.items():
                measured.setdefault(method, []).append((distribution.measure(poses, given), len(motion)))
        for method, of in measured.items():
            weights = [count for _, count in of]
            means = {name: np.average([values[name] for values, _ in of], weights=weights) for name in METRICS}
            rows.append((kind, method, *(f"{means[name]:.{0 if 'outside' in name else 2}f}" for name in METRICS)))
    return (
        f"Reference motion: {capture.source}, {len(capture.train_frames)} training frames; outside means farther than "
        f"{1000 * distribution.alignment.outside:.0f} mm from all of them, or rotated by more than "
        f"{distribution.max_rotated:.1f} degrees; {1000 * spent / frames:.2f} ms per frame\n\n"
        + markdown_table(rows, ("driver", "method", *METRICS.values()))
        + "\n"
    )


def align(motion: Motion, alignment: Alignment, template: BodyTemplate) -> Motion:
    """Align a motion without the bound on its change."""
    aligner = Aligner(alignment, template, motion.fps, max_turn=math.inf)
    return Motion.of_frames(motion.template, motion.fps, map(aligner, motion.frames()))


def _as_far(given: Poses, targets: np.ndarray, change: float, distribution: Distribution, motion: Motion) -> Poses:
    """Move poses towards targets by the share that changes them by `change` degrees on average."""

    def excess(share: float) -> float:
        moved = to_features(between(given.rotations, targets, share))
        return angles_between(moved, given.features).mean() - change

    share = 1.0 if excess(1.0) <= 0 else brentq(excess, 0.0, 1.0, xtol=1e-3)
    return distribution.placed(between(given.rotations, targets, share), motion)


def _nearest(poses: Poses, known: Poses) -> np.ndarray:
    """Return [N] the index of the training frame with the nearest features."""
    squares = np.square(known.features).sum(1) - 2 * poses.features @ known.features.T
    return squares.argmin(1)


def _mean_rotations(poses: Poses) -> np.ndarray:
    """Return the chordal mean [K, 3, 3] of every joint."""
    u, _, v = np.linalg.svd(poses.rotations.mean(0))
    u[..., -1] *= np.linalg.det(u @ v)[:, None]
    return u @ v


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two paths [N, 3], over their three coordinates at once."""
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))


def _acceleration(poses: Poses) -> float:
    return float(np.linalg.norm(np.diff(poses.paths, 2, axis=0), axis=-1).mean())


# Frames ---------------------------------------------------------------------------------------------------------


def frame_table(
    avatar: Avatar,
    known: Capture,
    drivers: dict[str, list[Motion]],
    count: int,
    scratch: Path,
    progress: Progress,
) -> str:
    """Compare the avatar's frames of unaligned and aligned drivers with the performer's."""
    if not avatar.alignment:
        raise UserError(f"{avatar.name}: has no alignment; run `ram-avatar train` again to add it")
    st_lpips, rows = StLpips(), []
    for kind, motions in drivers.items():
        aligned = align(motions[0], avatar.alignment, avatar.template)
        start = max(0, (len(aligned) - count) // 2)
        middle = slice(start, start + count)
        methods, errors = {"as it is": motions[0][middle], "aligned": aligned[middle]}, {}
        for method, shown in methods.items():
            path = scratch / f"{kind} {method}.npz"
            shown.save(path)
            options = like(known, str(path), len(shown))
            truth = synthesize(scratch / f"{kind} {method}", options, progress=progress)
            compared = compare_frames(avatar, truth, slice(None), known, st_lpips, progress)
            errors[method] = compared.avatar["st_lpips_person"]
        rows.append((kind, str(len(aligned[middle])), *(f"{errors[method].mean():.4f}" for method in methods)))
    return (
        f"Person ST-LPIPS of {avatar.name} against the performer's true frames of the same motion, "
        f"close-ups of {avatar.size} pixels\n\n" + markdown_table(rows, ("driver", "frames", "as it is", "aligned"))
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
