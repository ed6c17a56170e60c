"""The frames that an avatar is trained on and judged by."""

from dataclasses import replace

import torch

from ..avatar import Avatar
from ..capture.capture import Capture
from ..capture.dataset import CaptureDataset
from ..core.progress import SILENT, Progress


def avatar_data(
    avatar: Avatar,
    capture: Capture,
    device: torch.device | None = None,
    progress: Progress = SILENT,
    *,
    size: int | None = None,
    large: int = 0,
) -> CaptureDataset:
    """Return a capture's frames as an avatar's network sees them.

    Args:
        device: where batches are placed; None for the avatar's.
        size: side of the close-ups; None for that of the network.
        large: see `CaptureDataset`; for training.
    """
    device = device or avatar.device
    here = replace(capture, identity=capture.identity.to(device))
    filmed = None if avatar.filmed is None else avatar.filmed.to(device)
    texture, template = avatar.texture.to(device), avatar.dressed.to(device)
    return CaptureDataset(here, template, texture, size or avatar.size, device, progress, filmed, large)
