"""Renders an avatar frame by frame, as fast as the machine can."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..avatar import Avatar
from ..core.camera import Camera
from ..core.errors import UserError
from ..core.images import fill
from ..motion.motion import Frame
from ..rendering.frame_maps import FrameMapper
from ..rendering.inlay import Inlay
from .recorded import RecordedRenderer
from .shot import Renderer, Shot
from .windowed import WindowedRenderer


class Engine:
    """Renders one avatar frame by frame; every frame attends to the previous one.

    Args:
        avatar: a snapshot is taken; later training has no effect.
        background: see `set_background`.
        size: width and height of the images, of the scene's aspect, or square for close-ups; default: the scene's
            size, or that of the network. The surface is drawn at this size, and what the network adds is enlarged.
        close_up: return the square that follows the person instead of the scene.
        exact: let the network compute the whole close-up in float32, within 1 of 255 of the trained one at every pixel.
            Otherwise compute only the surroundings of the person (on a CPU), and in bf16 if that is faster here (on a
            CPU measured at the first frame, and cached); the two differ by less than -45 dB.

    Attributes:
        renderer: what renders; its kind depends on the avatar's device.
        square: the part of the scene in the last close-up.

    Raises:
        UserError: see `set_background`.
    """

    @torch.no_grad()
    def __init__(
        self,
        avatar: Avatar,
        *,
        background: np.ndarray | str | None = None,
        size: tuple[int, int] | None = None,
        close_up: bool = False,
        exact: bool = True,
    ):
        self.avatar, self.close_up = avatar, close_up
        self.side = avatar.size
        scene = (avatar.camera.width, avatar.camera.height)
        self.size = size or ((self.side, self.side) if close_up else scene)
        self.mapper = frame_mapper(avatar)
        kind = WindowedRenderer if avatar.device.type == "cpu" else RecordedRenderer
        self.renderer: Renderer = kind(avatar, self.mapper, exact)
        self.square = avatar.framing.square(avatar.placement.hips)
        self._previous: Frame | None = None
        self.set_background(background)

    def reset(self) -> None:
        """Start a new clip: the next frame has no previous one."""
        self._previous = None

    def set_background(self, background: np.ndarray | str | None) -> None:
        """Set the background of the next frames.

        Args:
            background: None for the avatar's own room, "transparent" for RGBA with straight alpha, or an image
                [H, W, 3] uint8, cropped about its middle to fill the frame.

        Raises:
            UserError: transparency requested, but the avatar has no alpha.
        """
        scene = (self.avatar.camera.width, self.avatar.camera.height)
        self._follows = self.close_up  # the background, too, is seen through the square
        if isinstance(background, str):
            if background != "transparent":
                raise ValueError(f"background must be an image, None or 'transparent', not '{background}'")
            if not self.avatar.network.config.alpha:
                raise UserError("this avatar has no alpha: it was trained together with its background")
            self._plate, self._follows = np.zeros((*self.size[::-1], 4), np.uint8), False
        elif background is None:
            background = self.avatar.background
            self._plate = background if self.close_up else fill(background, *self.size)
        else:
            self._plate = fill(background, *(scene if self.close_up else self.size))

    def render(self, frame: Frame) -> np.ndarray:
        """Render one frame of a motion at the avatar's scale and place (`motion.retargeting.retarget`).

        Returns:
            [H, W, 3] uint8 RGB, or [H, W, 4] with a transparent background.
        """
        self.renderer.submit(self._shot(frame))
        return self.renderer.collect()

    def render_all(self, frames: Iterable[Frame]) -> Iterator[np.ndarray]:
        """Render frames in order, the next one while a picture is finished; see `shot.Renderer`."""
        ahead = 0
        for frame in frames:
            self.renderer.submit(self._shot(frame))
            ahead += 1
            if ahead > self.renderer.ahead:
                yield self.renderer.collect()
                ahead -= 1
        for _ in range(ahead):
            yield self.renderer.collect()

    @property
    def timings(self) -> dict[str, float]:
        """Duration of each stage of the last frame, seconds; empty before the first."""
        return self.renderer.timings

    def _shot(self, frame: Frame) -> Shot:
        self.square = self.avatar.framing.square(frame.root_translation)
        behind = self.square.cut(self._plate, self.size[0]) if self._follows else self._plate
        shot = Shot(frame, self._previous, self._close_up_camera, self._inlay(), behind)
        self._previous = frame
        return shot

    def _inlay(self) -> Inlay:
        """Return where the close-up that the network paints lies in the picture."""
        if self.close_up:
            return Inlay(self.size[0] / self.side, 0.0, 0.0)
        square = self.square.times(self.size[0] / self.avatar.camera.width)
        return Inlay(square.side / self.side, square.left, square.top)

    @property
    def _close_up_camera(self) -> Camera:
        """The camera that sees the square as the network paints it."""
        return self.square.camera(self.avatar.camera, self.side)


def frame_mapper(avatar: Avatar) -> FrameMapper:
    """Return the mapper of an avatar's close-ups; every frame has a camera of its own.

    Without a warm start, the network neither gets nor adds to the surface's colours: it has none.
    """
    whole = Camera.default(avatar.size, avatar.size)
    texture = avatar.texture if avatar.network.config.warm_start else None
    return FrameMapper(avatar.dressed, avatar.identity, whole, texture, avatar.filmed)
