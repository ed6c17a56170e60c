"""An avatar that draws a textured mesh: its network has not been trained."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.body import BodyTemplate
from ram_avatar.config import NetworkConfig
from ram_avatar.core.camera import Camera
from ram_avatar.motion.retargeting.retarget import Placement
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.rendering.filmed_poses import SHAPE as FILMED_SHAPE
from ram_avatar.rendering.framing import Framing

SIZE = 128


def save_untrained(folder: Path, template: BodyTemplate, network: NetworkConfig, tone: float = 0.6) -> None:
    """Save an untrained avatar of `SIZE` pixels a side.

    Args:
        tone: mean of the texture, -1 to 1.
    """
    torch.manual_seed(0)
    folder.mkdir()
    Avatar(
        name=folder.name,
        preset="tiny",
        framing=Framing.of(Camera.default(SIZE, SIZE), template, template.default_identity()),
        identity=template.default_identity(),
        template=template,
        network=AvatarNetwork(dataclasses.replace(network, image_size=SIZE)),
        texture=tone + 0.3 * torch.rand(3, 64, 64) - 0.15,
        background=np.full((SIZE, SIZE, 3), 40, np.uint8),
        placement=Placement(x=0.0, y=3.2, floor=-0.85, leg_length=0.8),
        fps=25.0,
        filmed=torch.zeros(1, *FILMED_SHAPE) if network.novelty else None,
        training={"step": 0, "steps": 0, "seconds": 0.0},
    ).save(folder)
