"""Renders an avatar frame by frame, as fast as the machine can."""

import math
import time
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..body.template import Posed
from ..core.camera import Camera
from ..core.device import multiplies_bf16
from ..core.errors import UserError
from ..core.images import fill
from ..motion.motion import Frame, Motion
from ..networks.hand_detail import DRAWING
from ..networks.opacity import CLEAR, OPAQUE, soft_outline
from ..networks.painting import Painting, compose_alpha
from ..rendering.condition_maps import MeshMaps
from ..rendering.frame_maps import FrameMapper, Places
from ..rendering.inlay import Inlay, averaged, composite
from ..rendering.rectangles import Window, apart, crop
from .autotune import fastest
from .cuda_graph import CudaGraphNetwork
from .folding import PART_REACH, FoldedNetwork, Windows

OUTLINE = 1 / 12
"""How far beyond the template's outline the person is painted unless `exact`, as a share of the close-up's side.

Farther out there is only background."""

_BAND = 64  # rows of the picture that are composited at once: what they need stays in the processor's cache
_MOST_TIMES = 16  # a person is drawn larger and then shrunk, if they are painted with more pixels than are shown
_SAME = 1e-6  # the size that a close-up is painted and shown at, up to rounding
_ROOM = 2  # margin about the part that is shown, pixels of the close-up


@dataclass(frozen=True)
class Timings:
    """Duration of each stage of a frame, seconds."""

    maps: float
    network: float
    compositing: float


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
        timings: of the last frame; None before the first.
        square: the part of the scene in the last close-up.
        window: the part of the last close-up that was computed.

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
        self.avatar, self.exact, self.close_up = avatar, exact, close_up
        self.side = avatar.size
        scene = (avatar.camera.width, avatar.camera.height)
        self.size = size or ((self.side, self.side) if close_up else scene)
        self.mapper = frame_mapper(avatar)
        self._untuned: FoldedNetwork | None = FoldedNetwork(avatar.network).to(avatar.device)
        self._network: FoldedNetwork | CudaGraphNetwork = self._untuned  # replaced at the first frame
        self._belief = self._untuned.belief
        self.timings: Timings | None = None
        self.window, self.square = Window.whole(self.side), avatar.framing.square(avatar.placement.hips)
        self._previous: Motion | None = None
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
        self._plate: np.ndarray | None
        if isinstance(background, str):
            if background != "transparent":
                raise ValueError(f"background must be an image, None or 'transparent', not '{background}'")
            if not self.avatar.network.config.alpha:
                raise UserError("this avatar has no alpha: it was trained together with its background")
            self._plate = None
        elif background is None:
            background = self.avatar.background
            self._plate = background if self.close_up else fill(background, *self.size)
        else:
            scene = (self.avatar.camera.width, self.avatar.camera.height)
            self._plate = fill(background, *(scene if self.close_up else self.size))

    @torch.no_grad()
    def render(self, frame: Frame) -> np.ndarray:
        """Render one frame of a motion at the avatar's scale and place (`motion.retargeting.retarget`).

        Returns:
            [H, W, 3] uint8 RGB, or [H, W, 4] with a transparent background.
        """
        started = self._now()
        motion = Motion.of_frames(self.avatar.template.name, self.avatar.fps, [frame])
        motion = motion.map(lambda tensor: tensor.to(self.avatar.device))
        self.square = self.avatar.framing.square(frame.root_translation)
        camera = self._close_up_camera
        posed = self.mapper.pose(motion)
        maps, places = self.mapper.draw(posed, camera)
        previous = None
        if self._previous is not None and self._network.attends_to_previous:
            previous = self.mapper.positions(self._previous, camera)  # through this frame's close-up
        drawn = self._now()
        windows = self.windows(places)
        if self._untuned is not None:
            self._network, self._untuned = self._fastest(self._untuned, maps, windows), None
        painting = self._network(maps, previous, windows)
        self._previous = motion
        painted = self._now()
        self.window = windows.person if windows else Window.whole(self.side)
        picture = self._picture(painting, maps, posed)
        self.timings = Timings(drawn - started, painted - drawn, self._now() - painted)
        return picture

    def _picture(self, painting: Tensor, maps: MeshMaps, posed: Posed) -> np.ndarray:
        """Draw the person, of whom `painting` holds the window, over the background."""
        picture, inlay = self._behind(), self._inlay()
        # With fewer pixels than it was painted with, the person is drawn larger and then shrunk.
        times = min(_MOST_TIMES, max(1, math.ceil(1 / inlay.zoom - _SAME)))
        finer = inlay.times(times)
        enlarged = finer.zoom > 1 + _SAME
        part = self._visible_part(painting, maps.position[:, 3:], enlarged)
        where = inlay.window(part, *self.size)
        if min(where.height, where.width) == 0:
            return picture
        fine, here = where.times(times), picture[where.slices]
        shown = torch.from_numpy(here.repeat(times, 0).repeat(times, 1)).to(painting.device)
        surface = self.mapper.surface(posed, finer.camera(self._close_up_camera, fine))
        outline, belief = soft_outline(surface[:, 3:]), float(self._belief)
        painting = crop(painting, part, self.window)
        for band in fine.bands(_BAND):
            rows = slice(band.top - fine.top, band.bottom - fine.top)
            composite(
                shown[rows],
                finer.resample(painting, part, band),
                surface[:, :, rows],
                outline[:, :, rows],
                has_alpha=self.avatar.network.config.alpha,
                belief=belief,
                enlarged=enlarged,
                shown=(CLEAR, OPAQUE),
            )
        here[...] = averaged(shown, times).cpu().numpy()
        return picture

    def _behind(self) -> np.ndarray:
        """Return a new picture of the background."""
        if self._plate is None:
            return np.zeros((*self.size[::-1], 4), np.uint8)
        return self.square.cut(self._plate, self.size[0]) if self.close_up else self._plate.copy()

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

    def _visible_part(self, painting: Tensor, mask: Tensor, enlarged: bool) -> Window:
        """Return the part of the window where the person is visible, with a margin; empty if nowhere.

        Args:
            painting: of the window.
            mask: [1, 1, S, S] coverage of the close-up.
            enlarged: see `compose`.
        """
        if not self.avatar.network.config.alpha:
            return self.window
        mask = crop(mask, self.window, Window.whole(self.side))
        alpha = compose_alpha(Painting.of(painting), mask, soft_outline(mask), self._belief, DRAWING, enlarged)
        seen = alpha[0, 0] > CLEAR
        rows, columns = (seen.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        top, left = self.window.top, self.window.left
        if not rows:
            return Window(top, left, top, left)
        return Window(
            top + max(0, rows[0] - _ROOM),
            left + max(0, columns[0] - _ROOM),
            top + min(self.window.height, rows[-1] + 1 + _ROOM),
            left + min(self.window.width, columns[-1] + 1 + _ROOM),
        )

    def windows(self, places: Places) -> Windows | None:
        """Return what to compute of a frame; None on a GPU, where computing everything is faster."""
        if self.avatar.device.type != "cpu":
            return None
        size = self.side
        person = Window.whole(size)
        if not self.exact and places.person and self.avatar.network.config.alpha:
            person = places.person.grown(round(OUTLINE * size), size).fitted(_multiple(size), size)

        def reach(window: Window) -> Window:
            return window.grown(2 * PART_REACH, size).fitted(PART_REACH, size)

        return Windows(
            person,
            {
                "face": [reach(places.face)] if places.face else [],
                "hands": apart([reach(hand) for hand in places.hands]),
            },
        )

    def _fastest(
        self, network: FoldedNetwork, maps: MeshMaps, windows: Windows | None
    ) -> FoldedNetwork | CudaGraphNetwork:
        """Return the fastest form of the network, measured on the first frame."""
        device = self.avatar.device
        half = not self.exact and multiplies_bf16(device)
        if device.type == "cuda":
            return CudaGraphNetwork(network.in_bf16() if half else network, maps)
        networks = {"float32": network}
        if half:
            networks["bf16"] = deepcopy(network).in_bf16()
        work = {name: partial(candidate, maps, None, windows) for name, candidate in networks.items()}
        return networks[fastest(work, repr(self.avatar.network.config))]

    def _now(self) -> float:
        """Return the time in seconds, once a GPU has finished its work."""
        if self.avatar.device.type == "cuda":
            torch.cuda.synchronize(self.avatar.device)
        return time.perf_counter()


def frame_mapper(avatar: Avatar) -> FrameMapper:
    """Return the mapper of an avatar's close-ups; every frame has a camera of its own.

    Without a warm start, the network neither gets nor adds to the surface's colours: it has none.
    """
    whole = Camera.default(avatar.size, avatar.size)
    texture = avatar.texture if avatar.network.config.warm_start else None
    return FrameMapper(avatar.dressed, avatar.identity, whole, texture, avatar.filmed)


def _multiple(size: int) -> int:
    """Return the granularity of a person's window: an eighth of the image, rounded down to a multiple of four."""
    return max(4, size // 32 * 4)
