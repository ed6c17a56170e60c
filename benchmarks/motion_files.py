"""Speed and accuracy of converting skeletons to the template: `python benchmarks/motion_files.py`.

Measures the processor time of reading and transferring each clip on one thread, and the angles between the source's
and the template's trunk, upper arms, forearms, thighs and shins.
"""

import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from measures.results import describe_setup
from torch import Tensor

from ram_avatar.body import load_template
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.motion.conversion.calibration import Reference
from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton
from ram_avatar.motion.conversion.transfer import to_template
from ram_avatar.motion.formats.amc import read_amc
from ram_avatar.motion.formats.bvh import read_bvh
from ram_avatar.motion.formats.rates import at_usual_rate
from ram_avatar.motion.joint_map import JointMap
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.skeleton import SkeletalClip

READERS = {".bvh": read_bvh, ".amc": read_amc}
BONES = [
    (f"{start}.{side}", f"{end}.{side}")
    for side in "LR"
    for start, end in (("upper_arm", "forearm"), ("forearm", "hand"), ("thigh", "shin"), ("shin", "foot"))
]


@dataclass
class Arguments:
    motions: tuple[Path, ...] = (
        Path("../shared/motions/bandai_namco_subset.zip"),
        Path("../shared/motions/cmu_asf_amc_subset.tgz"),
    )
    """Folders or archives of .bvh and .amc files, one row each."""


@dataclass
class Clip:
    """Measurements of one clip."""

    frames: int
    seconds: float
    errors: Tensor  # [N, 9] degrees, by frame and bone


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    reference, rows = Reference(load_template()), []
    for source in arguments.motions:
        with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
            folder = source if source.is_dir() else Path(scratch)
            if not source.is_dir():
                shutil.unpack_archive(source, folder, filter=None if source.suffix == ".zip" else "data")
            files = sorted(path for path in folder.rglob("*") if path.suffix in READERS)
            if not files:
                raise UserError(f"{source}: contains no {' or '.join(READERS)} files")
            measure(files[0], reference)  # warm up
            clips = []
            for path in files:
                clips.append(measure(path, reference))
                progress.step(source.name, len(clips), len(files))
        rows.append(row(source.stem, clips))
    headings = ("motions", "clips", "frames", "slowest, s", "median, s", "directions: mean, degrees", "max")
    lines = [headings, ("---",) * len(headings), *rows]
    print(describe_setup(), *(f"| {' | '.join(line)} |" for line in lines), sep="\n")


def measure(path: Path, reference: Reference) -> Clip:
    """Read and transfer one file."""
    start = time.process_time()
    clip = at_usual_rate(READERS[path.suffix](path))
    mapping = JointMap.find(clip.names)
    motion = to_template(clip, mapping, reference)
    seconds = time.process_time() - start
    return Clip(len(clip), seconds, direction_errors(clip, mapping, motion, reference))


def direction_errors(clip: SkeletalClip, mapping: JointMap, motion: Motion, reference: Reference) -> Tensor:
    """Return the angles [N, 9] in degrees between the bones of the source and of the template."""
    skeleton = TemplateSkeleton(reference)
    theirs, ours = clip.forward()[1], skeleton.clip(motion).forward()[1]
    source = lambda part: theirs[:, clip.joint(mapping[part])]
    target = lambda role: ours[:, skeleton.joint_of(role)]
    pairs = [(source(end) - source(start), target(end) - target(start)) for start, end in BONES]
    hips = lambda at: 0.5 * (at("thigh.L") + at("thigh.R"))
    pairs.append((source("neck") - hips(source), target("neck1") - hips(target)))
    cosines = [torch.cosine_similarity(a.double(), b.double(), dim=-1) for a, b in pairs]
    return torch.rad2deg(torch.acos(torch.stack(cosines, 1).clamp(-1, 1)))


def row(name: str, clips: list[Clip]) -> tuple[str, ...]:
    """Return the row of one source."""
    errors = torch.cat([clip.errors for clip in clips])
    seconds = [clip.seconds for clip in clips]
    return (
        name,
        str(len(clips)),
        f"{sum(clip.frames for clip in clips):,}",
        f"{max(seconds):.3f}",
        f"{statistics.median(seconds):.3f}",
        f"{errors.mean():.3f}",
        f"{errors.max():.2f}",
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
