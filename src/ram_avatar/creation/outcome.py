"""What a trained avatar came to: its figures on held-out frames, a preview, and its model card."""

import json
from pathlib import Path

import numpy as np

from ..avatar import Avatar, generated_by
from ..capture.capture import Capture, preview_size
from ..capture.dataset import CaptureDataset
from ..core.files import disk_errors
from ..core.progress import Progress, follow
from ..evaluation.evaluate import Truth, judge_pictures, render_frames, render_ways
from ..evaluation.metrics import StLpips
from ..evaluation.similarity import Judges
from ..video import VideoWriter
from .model_card import model_card

METRICS_FILE = "metrics.json"
METRICS = {
    "psnr": ("full", "psnr"),
    "psnr_person": ("person", "psnr"),
    "psnr_inside": ("inside", "psnr"),
    "ssim": ("full", "ssim"),
    "st_lpips_person": ("person", "st_lpips"),
}
"""Figures of metrics.json: region and metric of each (see `evaluation.similarity`)."""


def judge(avatar: Avatar, data: CaptureDataset, folder: Path, progress: Progress) -> None:
    """Judge a trained avatar on the held-out frames; write metrics.json, preview.mp4 and its model card."""
    numbers = data.capture.held_out
    frames, truth = render_ways(avatar, data, numbers, progress), Truth.of(data, numbers)
    judged = judge_pictures(frames, truth, Judges(StLpips(), flip=None, lpips=None), progress)
    told = {
        way: {name: _mean(groups[group][figure]) for name, (group, figure) in METRICS.items()}
        for way, groups in judged.items()
    }
    figures = {"frames": len(truth.frames)} | told.pop("avatar")
    figures |= {"train_seconds": avatar.training["seconds"], "size": avatar.size} | told
    with disk_errors(folder):
        (folder / METRICS_FILE).write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        (folder / "README.md").write_text(model_card(avatar, figures))
    write_preview(avatar, data.capture, folder, progress)


def _mean(values: np.ndarray) -> float | None:
    """Of the frames that have the figure; None where none has."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else None


def write_preview(avatar: Avatar, capture: Capture, folder: Path, progress: Progress) -> None:
    """Write held-out frames, as the scene's camera would have seen them, beside what the avatar makes of them."""
    numbers, size = capture.held_out, preview_size(*capture.scene_size)
    wanted = set(numbers)
    frames = (
        capture.footage.in_scene(index, frame, size)
        for index, (frame, _) in enumerate(capture.frames())
        if index in wanted
    )
    shown = render_frames(avatar, capture.motion, numbers, size=size)
    with VideoWriter(folder / "preview.mp4", 2 * size[0], size[1], avatar.fps, metadata=generated_by(avatar)) as video:
        for pair in follow(zip(frames, shown, strict=True), progress, "Preview", len(numbers)):
            video.write(np.concatenate(pair, 1))
