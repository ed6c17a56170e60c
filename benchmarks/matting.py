"""Accuracy of mattes on the built-in performer, whose true alpha is known: `python benchmarks/matting.py --help`.

The performances are rendered at 720 x 1280, compressed, and run through the real detector; the mesh is the fit to its
landmarks, the plate is made by `BackgroundPlate`. The error is the mean absolute difference to the true alpha within
some pixels of the true outline. Methods other than the detector's mask start from the outline that `find_outline`
derives from mask, mesh and plate, unless their row says otherwise. Methods of pymatting are included if it is
installed.
"""

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
import tyro
from measures.results import describe_setup, markdown_table

from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.progress import follow
from ram_avatar.rendering.compositing import BackgroundPlate
from ram_avatar.rendering.shading import shaded
from ram_avatar.synthetic.choreography import PERFORMANCES
from ram_avatar.synthetic.performances import performance
from ram_avatar.synthetic.performer import Performer
from ram_avatar.tracking.detection.mediapipe import HolisticDetector
from ram_avatar.tracking.matting.mattes import (
    LARGE,
    SMALL,
    Matting,
    View,
    box_of,
    find_outline,
)
from ram_avatar.tracking.observations import observe
from ram_avatar.tracking.offline.fitting import fit
from ram_avatar.video import VideoWriter, read_frames

SIZE = (720, 1280)
FPS = 12.5
BANDS = 5, 20  # pixels from the true outline
NEIGHBORHOOD = 9  # pixels on both sides of the mask's outline that a trimap of the mask alone leaves unknown
Method = Callable[["Seen"], np.ndarray]


@dataclass
class Arguments:
    frames: int = 60
    """Frames of each performance."""
    every: int = 3
    """Evaluate every n-th frame."""


@dataclass
class Seen:
    """One frame and what tracking knows about it."""

    frame: np.ndarray  # [H, W, 3] uint8
    mask: np.ndarray  # [H, W] uint8
    mesh: np.ndarray  # [H, W] bool
    plate: np.ndarray  # [H, W, 3] uint8
    known: np.ndarray  # [H, W] bool
    truth: np.ndarray  # [H, W] uint8


def main(arguments: Arguments) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    template = load_template()
    with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
        seen = [
            one
            for name in PERFORMANCES
            for one in film(name, template, Path(scratch) / f"{name}.mp4", arguments, progress)
        ]
        rows: list[tuple[str, ...]] = []
        baseline: np.ndarray | None = None
        for label, method in methods().items():
            method(seen[0])  # exclude compilation on first use
            errors, time_spent = measure(method, seen, partial(progress.step, label))
            baseline = errors if baseline is None else baseline
            relative = errors[:, 0].mean() / baseline[:, 0].mean()
            means = (f"{errors[:, k].mean():.4f}" for k in range(len(BANDS)))
            rows.append(
                (
                    label,
                    *means,
                    f"{relative:.2f}",
                    f"{errors[:, 0].max():.3f}",
                    time_spent,
                )
            )
    headings = (
        "method",
        *(f"error within {band} px" for band in BANDS),
        "relative to the mask",
        "worst frame",
        "ms, one core",
    )
    print(
        f"Mattes of {len(seen)} frames of the performer, {SIZE[0]} x {SIZE[1]}\n{describe_setup()}\n\n"
        f"{markdown_table(rows, headings)}"
    )


def film(
    name: str, template: BodyTemplate, path: Path, arguments: Arguments, progress: TerminalProgress
) -> Iterator[Seen]:
    """Render a performance, track it, and yield every n-th frame."""
    performer = Performer(template)
    width, height = SIZE
    truths = []
    with VideoWriter(path, width, height, FPS) as video:
        motion = performance(name, template, arguments.frames, FPS)
        rendered = performer.render_with_masks(motion, SIZE)
        for frame, truth in follow(rendered, progress, f"Rendering: {name}", len(motion)):
            video.write(frame)
            truths.append(truth)
    with closing(HolisticDetector()) as detector:
        landmarks = [detector.detect(frame) for frame in read_frames(path)]
    observations = observe(landmarks, width, height, FPS)
    fitted = fit(template, observations, None, progress=progress)
    masks = [cv2.resize(mask, SIZE) for mask in observations.masks]
    plate = BackgroundPlate(arguments.frames)
    for frame, mask in zip(read_frames(path), masks, strict=True):
        plate.add(frame, mask)
    background, _ = plate.make()
    meshes = shaded(template, fitted.identity, fitted.motion, fitted.camera)
    for k, (frame, (_, mesh)) in enumerate(zip(read_frames(path), meshes, strict=True)):
        if k % arguments.every == 0:
            yield Seen(frame, masks[k], mesh, background, plate.known, truths[k])


def measure(method: Method, seen: list[Seen], step: Callable[[int, int], None]) -> tuple[np.ndarray, str]:
    """Return the errors [N, bands] and the processor time in milliseconds per frame."""
    errors, spent = [], 0.0
    for k, one in enumerate(seen):
        start = time.process_time()
        matte = method(one)
        spent += time.process_time() - start
        difference = np.abs(matte.astype(np.float32) - one.truth) / 255
        errors.append([difference[near_outline(one.truth, band)].mean() for band in BANDS])
        step(k + 1, len(seen))
    return np.array(errors), f"{1000 * spent / len(seen):.0f}"


def near_outline(truth: np.ndarray, band: int) -> np.ndarray:
    """Return [H, W] bool: pixels within `band` of the outline, and all partly transparent ones."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside = (truth > 127).view(np.uint8)
    return (cv2.dilate(inside, kernel) > cv2.erode(inside, kernel)) | ((truth > 0) & (truth < 255))


# Methods -----------------------------------------------------------------------------------------------------------


def methods() -> dict[str, Method]:
    """Return all methods by the label of their row."""
    found: dict[str, Method] = {
        "the detector's mask": lambda seen: seen.mask,
        "guided filter on the mask": lambda seen: guided(seen.frame, seen.mask / np.float32(255), 8),
    }
    try:
        pymatting = importlib.import_module("pymatting")
    except ImportError:
        pymatting = None
    estimators = {
        "closed-form": "estimate_alpha_cf",
        "KNN": "estimate_alpha_knn",
        "large kernel": "estimate_alpha_lkm",
        "learning-based": "estimate_alpha_lbdm",
    }
    for label, name in estimators.items() if pymatting else ():
        solve = partial(solved, getattr(pymatting, name))
        found[f"{label}, trimap of the mask alone"] = partial(estimated, solve, trimap_of_mask)
        found[label] = partial(estimated, solve, trimap_of_outline)
    found["guided filter on the outline"] = partial(estimated, filtered, trimap_of_outline)
    found["projection on plate and nearest person"] = partial(estimated, projected, trimap_of_outline)
    found["`Matting`, mask alone"] = lambda seen: Matting()(seen.frame, seen.mask)
    found["`Matting`, mask and mesh"] = lambda seen: Matting()(seen.frame, seen.mask, seen.mesh)
    found["`Matting`, mask and plate"] = lambda seen: Matting(seen.plate, seen.known)(seen.frame, seen.mask)
    found["`Matting`"] = lambda seen: Matting(seen.plate, seen.known)(seen.frame, seen.mask, seen.mesh)
    return found


def guided(frame: np.ndarray, alpha: np.ndarray, radius: int) -> np.ndarray:
    """Filter alpha, guided by the frame; returns uint8."""
    filtered = cv2.ximgproc.guidedFilter(frame, alpha.astype(np.float32), radius, 6.5)
    return np.rint(255 * filtered.clip(0, 1)).astype(np.uint8)


def estimated(
    estimate: Callable[[View, np.ndarray], np.ndarray], trimap: Callable[[View], np.ndarray], seen: Seen
) -> np.ndarray:
    """Return a matte by an estimator, given a trimap: 0, 1, and unknown between."""
    box = box_of(seen.mask, seen.mesh)
    view = View(*(part[box] for part in (seen.frame, seen.mask, seen.mesh, seen.plate, seen.known)))
    large = view.fit(LARGE)
    alpha = estimate(large, cv2.resize(trimap(view), large.mask.shape[::-1], interpolation=cv2.INTER_NEAREST))
    matte = np.zeros_like(seen.mask)
    matte[box] = np.rint(255 * cv2.resize(alpha.astype(np.float32), view.mask.shape[::-1]).clip(0, 1))
    return matte


def trimap_of_mask(view: View) -> np.ndarray:
    """Return a trimap from the mask alone."""
    inside, outside = (
        cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, 5) for part in (view.mask > 127, view.mask <= 127)
    )
    return np.where(inside > NEIGHBORHOOD, 1, np.where(outside > NEIGHBORHOOD, 0, 0.5)).astype(np.float32)


def trimap_of_outline(view: View) -> np.ndarray:
    """Return a trimap from the outline of mask, mesh and plate."""
    outline = find_outline(view.fit(SMALL))
    person, background = outline.trimap()
    return np.where(person, 1, np.where(background, 0, outline.prior.clip(0.01, 0.99))).astype(np.float32)


def solved(solver: Callable[[np.ndarray, np.ndarray], np.ndarray], view: View, trimap: np.ndarray) -> np.ndarray:
    """Return alpha by a solver of pymatting."""
    ternary = np.where((trimap > 0) & (trimap < 1), 0.5, trimap).astype(np.float64)
    return solver(view.frame / 255.0, ternary)


def filtered(view: View, trimap: np.ndarray) -> np.ndarray:
    """Return alpha by a guided filter of the trimap."""
    return guided(view.frame, trimap, 4) / np.float32(255)


def projected(view: View, trimap: np.ndarray, regularization: float = 300.0) -> np.ndarray:
    """Return alpha = (I - B)(F - B) / |F - B|^2, pulled to the trimap where F and B are similar, guided-filtered."""
    frame, person = view.frame.astype(np.float32), trimap == 1
    _, label = cv2.distanceTransformWithLabels((~person).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colors = np.zeros((label.max() + 1, 3), np.float32)
    colors[label[person]] = frame[person]
    contrast = colors[label] - view.plate
    projection = ((frame - view.plate) * contrast).sum(2) + regularization * trimap
    alpha = (projection / ((contrast**2).sum(2) + regularization)).clip(0, 1)
    alpha = np.where(view.known, alpha, trimap)
    return guided(view.frame, np.where((trimap > 0) & (trimap < 1), alpha, trimap), 2) / np.float32(255)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
