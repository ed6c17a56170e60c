"""What a trained avatar came to: metrics on its held-out frames, and a preview of them."""

import json
from pathlib import Path

import numpy as np

from ..avatar import Avatar, generated_by
from ..capture.capture import Capture, preview_size
from ..core.files import disk_errors
from ..core.progress import Progress, follow
from ..evaluation.evaluate import GroundTruth, measure_images, render_methods
from ..evaluation.frames import render_frames, shown_size
from ..evaluation.metrics import StLpips
from ..evaluation.similarity import ImageMetrics
from ..training.avatar_data import avatar_data
from ..video import VideoWriter

METRICS_FILE = "metrics.json"
METRICS = {
    "psnr": ("full", "psnr"),
    "psnr_person": ("person", "psnr"),
    "psnr_inside": ("inside", "psnr"),
    "ssim": ("full", "ssim"),
    "st_lpips_person": ("person", "st_lpips"),
}
"""Region and metric (see `evaluation.similarity`) behind each name in metrics.json."""


def judge(avatar: Avatar, capture: Capture, folder: Path, progress: Progress) -> dict:
    """Measure a trained avatar, and baselines, on the held-out frames; write metrics.json and return its content."""
    numbers = capture.held_out
    data = avatar_data(avatar, capture, size=shown_size(avatar), progress=progress)
    frames, truth = render_methods(avatar, data, numbers, progress), GroundTruth.of(data, numbers)
    judged = measure_images(frames, truth, ImageMetrics(StLpips(), flip=None, lpips=None), progress)
    means = {
        way: {name: _mean(groups[group][figure]) for name, (group, figure) in METRICS.items()}
        for way, groups in judged.items()
    }
    metrics = {"frames": len(truth.frames)} | means.pop("avatar")
    metrics |= {"train_seconds": avatar.training["seconds"], "size": data.size} | means
    with disk_errors(folder):
        (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    return metrics


def _mean(values: np.ndarray) -> float | None:
    """Return the mean over the frames that have a finite value; None if none has."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else None


def write_preview(avatar: Avatar, capture: Capture, folder: Path, progress: Progress) -> None:
    """Write preview.mp4: held-out frames, as the scene's camera would have seen them, beside the avatar's."""
    numbers, size = capture.held_out, preview_size(*capture.scene_size)
    wanted = set(numbers)
    frames = (
        capture.footage.in_scene(index, frame, size)
        for index, (frame, _) in enumerate(capture.frames())
        if index in wanted
    )
    rendered = render_frames(avatar, capture.motion, numbers, size=size)
    pairs = follow(zip(frames, rendered, strict=True), progress, "Preview", len(numbers))
    with VideoWriter(folder / "preview.mp4", 2 * size[0], size[1], avatar.fps, metadata=generated_by(avatar)) as video:
        video.write_all(np.concatenate(pair, 1) for pair in pairs)
