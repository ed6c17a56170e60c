"""Painted small, shown large: `python benchmarks/sizes.py AVATAR CAPTURE [--sizes 512 1024] [--every 1]`.

Compares held-out frames of an avatar's own capture with the video at several sizes of the close-up. Rows: the avatar as
it is shown (its surface drawn at that size), what the network paints enlarged as a picture, and the textured mesh.
Columns:

* person PSNR and ST-LPIPS, face ST-LPIPS: see `evaluation.similarity`
* sharpness of face and body: energy of the Laplacian inside the matte, relative to the video's
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from measures.results import describe_setup, markdown_table
from tyro.conf import Positional, arg

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.images import resize
from ram_avatar.core.progress import Progress
from ram_avatar.evaluation.baselines import textured_mesh
from ram_avatar.evaluation.evaluate import GroundTruth, measure_images
from ram_avatar.evaluation.frames import render_frames
from ram_avatar.evaluation.metrics import StLpips
from ram_avatar.evaluation.similarity import ImageMetrics
from ram_avatar.training.avatar_data import avatar_data

COLUMNS = ("size", "", "person PSNR", "person ST-LPIPS", "face ST-LPIPS", "sharpness: face", "body")
_OFF_EDGES = 1 / 64  # of the image: the matte is eroded by this much, as outlines are not surfaces


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    avatar: Positional[Path]
    capture: Positional[Path]
    sizes: Annotated[tuple[int, ...], arg(help="sides of the close-ups, pixels")] = (512, 1024)
    every: Annotated[int, arg(help="compare every n-th held-out frame")] = 1


def main() -> None:
    """Print the table."""
    options = tyro.cli(Options, description=__doc__)
    avatar, capture = Avatar.load(options.avatar), Capture.load(options.capture)
    with TerminalProgress() as progress:
        rows = [
            row
            for size in options.sizes
            for row in compare(avatar, capture, size, capture.held_out[:: options.every], progress)
        ]
    print(f"{describe_setup()}\n\n{markdown_table(rows, COLUMNS)}")


def compare(
    avatar: Avatar, capture: Capture, size: int, numbers: list[int], progress: Progress
) -> Iterator[tuple[str, ...]]:
    """Yield the rows of one size."""
    truth = GroundTruth.of(avatar_data(avatar, capture, size=size, progress=progress), numbers)
    motion = capture.motion
    small = (resize(frame, size) for frame in render_frames(avatar, motion, numbers, avatar.size))
    frames = {
        "shown": np.stack(list(render_frames(avatar, motion, numbers, size))),
        "enlarged": np.stack(list(small)),
        "textured_mesh": np.stack(list(textured_mesh(avatar, motion[numbers], size))),
    }
    measured = measure_images(frames, truth, ImageMetrics(StLpips(), flip=None, lpips=None), progress)
    for name, images in frames.items():
        person, face = measured[name]["person"], measured[name]["face"]["st_lpips"]
        sharp = np.nanmean([sharpness(shown, truth, n) for n, shown in enumerate(images)], 0)
        figures = (
            f"{np.nanmean(person['psnr']):.2f}",
            f"{np.nanmean(person['st_lpips']):.4f}",
            f"{np.nanmean(face):.4f}",
        )
        yield str(size), name.replace("_", " "), *figures, *(f"{value:.2f}" for value in sharp)


def sharpness(shown: np.ndarray, truth: GroundTruth, number: int) -> tuple[float, float]:
    """Return the energy of an image's Laplacian in the face and in the rest of the body, relative to the video's."""
    width = max(3, round(_OFF_EDGES * len(shown)))
    inner = cv2.erode((truth.regions.masks[number] > 200).astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    inner &= truth.regions.inside[number]
    left, top, side = truth.regions.boxes["face"][number].round().astype(int)
    face = np.zeros_like(inner)
    face[max(0, top) : top + side, max(0, left) : left + side] = True
    energies = [
        cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F) ** 2
        for image in (shown, truth.frames[number])
    ]
    ratio = lambda where: float(energies[0][where].sum() / energies[1][where].sum()) if where.any() else np.nan
    return ratio(inner & face), ratio(inner & ~face)


if __name__ == "__main__":
    main()
