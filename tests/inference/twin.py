"""The slow, plain twin of the engine: whole condition maps and the training network, frame by frame."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ram_avatar.avatar import Avatar
from ram_avatar.motion.motion import Motion
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps
from ram_avatar.pictures import to_array, to_tensor
from ram_avatar.rendering.condition_maps import ConditionMapper


@torch.no_grad()
def shake(network: AvatarNetwork, seed: int = 0) -> AvatarNetwork:
    """Move every parameter at random: a new network's last layers are zero, and hide all before them; so do the gains
    of its attention, and its texture is faint."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 0)
    network.neural_texture.planes *= 5
    network.mark_trained(range(len(network.styles.codes)))
    return network.eval()


@torch.no_grad()
def renderings(avatar: Avatar, motion: Motion, plate: Tensor | None = None) -> Iterator[np.ndarray]:
    """Pictures [S, S, 3] over the avatar's room, or over a plate [1, 3, S, S] in [-1, 1]."""
    mapper = ConditionMapper(avatar.template, avatar.identity, avatar.camera, avatar.texture)
    plate = to_tensor(avatar.background)[None] if plate is None else plate
    previous = None
    for frame in motion.batches(1):
        maps = mapper(frame)
        previous = maps.position if previous is None else previous
        yield to_array(avatar.network(ConditionMaps(previous=previous, **vars(maps))).over(plate))[0]
        previous = maps.position
