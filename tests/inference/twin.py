"""A slow, plain reference for the engine: whole condition maps and the training network, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.body.template import Posed
from ram_avatar.core.camera import Camera
from ram_avatar.core.images import to_array, to_tensor
from ram_avatar.motion.motion import Motion
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps
from ram_avatar.networks.opacity import shown_alpha
from ram_avatar.networks.painting import Painting, Rendering
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.framing import Square
from ram_avatar.rendering.resampling import weights


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


@dataclass
class Painted:
    """A frame as the training network paints it."""

    square: Square
    posed: Posed
    maps: ConditionMaps
    painting: Painting


def mapper_of(avatar: Avatar) -> ConditionMapper:
    """Return the plain mapper of an avatar's close-ups."""
    whole = Camera.default(avatar.size, avatar.size)
    return ConditionMapper(avatar.dressed, avatar.identity, whole, avatar.texture, avatar.filmed)


@torch.no_grad()
def paint(avatar: Avatar, motion: Motion) -> Iterator[Painted]:
    """Paint every frame of a motion."""
    mapper, before = mapper_of(avatar), motion[:1]
    for frame in motion.batches(1):
        square = avatar.framing.square(frame.root_translation[0].numpy())
        camera = square.camera(avatar.camera, avatar.size)
        maps = ConditionMaps(previous=mapper.positions(before, camera), **vars(mapper(frame, camera)))
        yield Painted(square, mapper.body.pose(*frame.parameters()), maps, avatar.network.paint(maps))
        before = frame


@torch.no_grad()
def close_up(avatar: Avatar, painted: Painted) -> Rendering:
    """Return the person at the network's size."""
    return _shown(avatar, avatar.network.compose(painted.painting, painted.maps.surface))


@torch.no_grad()
def renderings(avatar: Avatar, motion: Motion, background: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Render close-ups [S, S, 3] over the avatar's room, or over an image [H, W, 3] of the scene's size."""
    background = avatar.background if background is None else background
    for painted in paint(avatar, motion):
        yield to_array(close_up(avatar, painted).over(to_tensor(painted.square.cut(background, avatar.size))[None]))[0]


@torch.no_grad()
def persons(avatar: Avatar, motion: Motion, size: tuple[int, int], *, close_up: bool = False) -> Iterator[Rendering]:
    """Draw the person alone, into the scene at any size, or into a close-up larger than S."""
    mapper, (width, height) = mapper_of(avatar), size
    for painted in paint(avatar, motion):
        square = painted.square.times(width / avatar.camera.width)
        camera = avatar.camera.scaled(width, height)
        if close_up:
            square, camera = Square(0.0, 0.0, width), painted.square.camera(avatar.camera, width)
        step = avatar.size / square.side
        rows, columns = (
            weights(-start * step, step, count, avatar.size)
            for start, count in ((square.top, height), (square.left, width))
        )
        painting = Painting.of(rows @ painted.painting.stack() @ columns.T)
        person = avatar.network.compose(painting, mapper.surface(painted.posed, camera), enlarged=True)
        person = _shown(avatar, person)
        y, x = torch.arange(height), torch.arange(width)
        inside = ((y + 1 > square.top) & (y < square.top + square.side))[:, None]
        inside = inside & (x + 1 > square.left) & (x < square.left + square.side)
        yield Rendering(person.color, person.alpha * inside)


def _shown(avatar: Avatar, person: Rendering) -> Rendering:
    alpha = shown_alpha(person.alpha) if avatar.network.config.alpha else person.alpha
    return Rendering(person.color.clamp(-1, 1), alpha)
