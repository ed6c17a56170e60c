"""Loads the avatar that a command works on."""

from pathlib import Path

from ..avatar import Avatar
from ..core.device import choose_device
from ..core.progress import Progress
from ..options import AvatarOptions


def load_avatar(folder: Path, options: AvatarOptions, progress: Progress) -> Avatar:
    """Load an avatar to the device that the options name."""
    device = choose_device(options.accelerator)
    return Avatar.load(folder, device=device, smplx_model=options.smplx_model, progress=progress)
