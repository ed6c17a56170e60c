"""What measured clothes bring: `python benchmarks/clothing.py CAPTURE...`

The textured mesh, naked and dressed, on every second held-out frame of captures; nothing is trained.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measures.results import describe_setup, markdown_table

from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.config import load_preset
from ram_avatar.core.progress import Progress
from ram_avatar.evaluation.baselines import textured_mesh
from ram_avatar.evaluation.evaluate import GroundTruth, measure_images
from ram_avatar.evaluation.metrics import StLpips
from ram_avatar.evaluation.similarity import ImageMetrics
from ram_avatar.training.avatar_data import avatar_data
from ram_avatar.training.first_avatar import first_avatar


def main() -> None:
    captures = [Capture.load(path) for path in sys.argv[1:]]
    with TerminalProgress() as progress:
        rows = [row for capture in captures for row in compare(capture, progress)]
    headings = ("clip", "mesh", "IoU with the matte", "person PSNR", "person ST-LPIPS")
    print(f"{describe_setup()}\n\n{markdown_table(rows, headings)}")


def compare(capture: Capture, progress: Progress) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a capture."""
    lite, metrics = load_preset("lite"), ImageMetrics(StLpips(), flip=None, lpips=None)
    for label, clothing in (("naked", False), ("dressed", True)):
        preset = replace(lite, training=replace(lite.training, clothing=clothing))
        avatar = first_avatar(capture, load_template(), preset, progress)
        data = avatar_data(avatar, capture, progress=progress)
        numbers = capture.held_out[::2]
        truth = GroundTruth.of(data, numbers)
        frames = {"textured_mesh": np.stack(list(textured_mesh(avatar, capture.motion[numbers], data.size)))}
        person = measure_images(frames, truth, metrics, progress)["textured_mesh"]["person"]
        psnr, st_lpips = (np.nanmean(person[name]) for name in ("psnr", "st_lpips"))
        yield Path(capture.source).stem, label, f"{overlap(data, numbers):.3f}", f"{psnr:.1f}", f"{st_lpips:.4f}"


def overlap(data: CaptureDataset, numbers: list[int]) -> float:
    """Return the mean intersection over union of the mesh's outline and the matte in some frames."""
    found = []
    for number in numbers:
        index = torch.tensor([number])
        drawn = (data.maps(index, neighbors=False).mask > 0.5) & data.inside[index]
        matte = data.masks[index] > 127
        found.append(float((drawn & matte).sum() / (drawn | matte).sum()))
    return float(np.mean(found))


if __name__ == "__main__":
    main()
