"""Renders an avatar in a motion."""

from collections.abc import Iterator

import numpy as np

from ..avatar import Avatar
from ..core.errors import UserError
from ..motion.motion import Motion
from .engine import Engine


def render(
    avatar: Avatar,
    motion: Motion,
    *,
    background: np.ndarray | str | None = None,
    size: tuple[int, int] | None = None,
    close_up: bool = False,
) -> Iterator[np.ndarray]:
    """Render an avatar in a motion of its own template, one image per frame.

    Args:
        motion: at the avatar's scale and place, as `retarget` returns it.
        background: None for the avatar's own room, "transparent" for RGBA with straight alpha, or an image
            [H, W, 3] uint8, cropped about its middle to fill the frame.
        size: width and height of the images, of the scene's aspect ratio; default: the scene's size.
        close_up: show the square that follows the person, as the network paints it, instead of the scene.

    Yields:
        [H, W, 3] uint8 RGB, or [H, W, 4] with "transparent".

    Raises:
        UserError: a motion of another template, or transparency requested of an avatar without alpha.
    """
    if motion.template != avatar.template.name:
        raise UserError(f"a motion of template '{motion.template}' cannot drive '{avatar.template.name}'")
    engine = Engine(avatar, background=background, size=size, close_up=close_up)
    yield from engine.render_all(motion.frames())
