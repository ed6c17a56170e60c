"""A slow, plain reference for the engine: whole condition maps and the training network, frame by frame."""

from collections.abc import Iterator

import numpy as np
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.core.camera import Camera
from ram_avatar.core.images import to_array, to_tensor
from ram_avatar.motion.motion import Motion
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps
from ram_avatar.networks.opacity import shown_alpha
from ram_avatar.rendering.condition_maps import ConditionMapper


@torch.no_grad()
def shake(network: AvatarNetwork, seed: int = 0) -> AvatarNetwork:
    """Perturb every parameter, so that all of them matter.

    In a new network the last layers and the attention gains are zero and hide everything before them, and the texture
    is faint.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 0)
    network.neural_texture.planes *= 5
    network.mark_trained(range(len(network.styles.codes)))
    return network.eval()


@torch.no_grad()
def renderings(avatar: Avatar, motion: Motion, background: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Render close-ups [S, S, 3] over the avatar's room, or over an image [H, W, 3] of the scene's size."""
    size = avatar.size
    mapper = ConditionMapper(avatar.dressed, avatar.identity, Camera.default(size, size), avatar.texture, avatar.filmed)
    background = avatar.background if background is None else background
    before = None
    for frame in motion.batches(1):
        square = avatar.framing.square(frame.root_translation[0].numpy())
        camera = square.camera(avatar.camera, size)
        maps = mapper(frame, camera)
        previous = mapper.positions(frame if before is None else before, camera)
        rendering = avatar.network(ConditionMaps(previous=previous, **vars(maps)))
        alpha = shown_alpha(rendering.alpha) if avatar.network.config.alpha else rendering.alpha
        plate = to_tensor(square.cut(background, size))[None]
        yield to_array(plate + alpha * (rendering.color.clamp(-1, 1) - plate))[0]
        before = frame
