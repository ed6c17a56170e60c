"""Renders an avatar frame by frame, as fast as the machine can."""

import time
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..core.camera import Camera
from ..core.device import multiplies_bf16
from ..core.errors import UserError
from ..core.images import fill
from ..motion.motion import Frame, Motion
from ..networks.opacity import shown_alpha
from ..rendering.condition_maps import MeshMaps
from ..rendering.frame_maps import FrameMapper, Places
from ..rendering.rectangles import Window, apart
from .autotune import fastest
from .cuda_graph import CudaGraphNetwork
from .folding import PART_REACH, FoldedNetwork, Windows

OUTLINE = 1 / 12
"""How far beyond the template's outline the person is painted unless `exact`, as a share of the close-up's side.

Farther out there is only background."""

_ROOM = 2  # margin about the part that is warped into the scene, pixels of the close-up


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
        size: width and height of the images, of the scene's aspect; default: the scene's size.
        close_up: return the square that follows the person, as the network paints it, instead of the scene.
        exact: compute the whole close-up in float32, within 1 of 255 of the trained network at every pixel. Otherwise
            compute only the surroundings of the person (on a CPU), and in bf16 if that is faster here (on a CPU
            measured at the first frame, and cached); the two differ by less than -45 dB.

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
        self.size = (self.side, self.side) if close_up else size or scene
        self._zoom = self.size[0] / scene[0]
        whole = Camera.default(self.side, self.side)  # replaced in every frame
        self.mapper = FrameMapper(avatar.dressed, avatar.identity, whole, avatar.texture, avatar.filmed)
        self._untuned: FoldedNetwork | None = FoldedNetwork(avatar.network).to(avatar.device)
        self._network: FoldedNetwork | CudaGraphNetwork = self._untuned  # replaced at the first frame
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
            self._plate = self.avatar.background if self.close_up else fill(self.avatar.background, *self.size)
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
        camera = self.square.camera(self.avatar.camera, self.side)
        maps, places = self.mapper.draw(motion, camera)
        previous = None
        if self._previous is not None and self._network.attends_to_previous:
            previous = self.mapper.positions(self._previous, camera)  # through this frame's close-up
        drawn = self._now()
        windows = self.windows(places)
        if self._untuned is not None:
            self._network, self._untuned = self._fastest(self._untuned, maps, windows), None
        image = self._network(maps, previous, windows)
        self._previous = motion
        painted = self._now()
        self.window = windows.person if windows else Window.whole(self.side)
        picture = self._compose(image)
        self.timings = Timings(drawn - started, painted - drawn, self._now() - painted)
        return picture

    def _compose(self, image: Tensor) -> np.ndarray:
        """Composite colour and alpha [1, 4, h, w] of the window over the background."""
        color, alpha = image[0, :3], image[0, 3:]
        if self.avatar.network.config.alpha:
            alpha = shown_alpha(alpha)
        color = (color.clamp(-1, 1) + 1) * 127.5
        person = torch.cat([color * alpha, alpha]).permute(1, 2, 0).cpu().numpy()  # [h, w, 4], premultiplied
        if self.close_up:
            where = self.window.slices
            plate = None if self._plate is None else self.square.cut(self._plate, self.side)
        else:
            square = self.square.times(self._zoom)
            person, part = _opaque_part(person, self.window)
            where, person = square.lay(person, *self.size, part, self.side)
            plate = None if self._plate is None else self._plate.copy()
        if person.size == 0:
            return np.zeros((*self.size[::-1], 4), np.uint8) if plate is None else plate
        opacity = np.clip(cv2.extractChannel(person, 3), 0.0, 1.0)
        most = cv2.merge([255 * opacity] * 3)
        premultiplied = np.clip(person[..., :3], 0.0, most)  # upsampling overshoots at edges
        if plate is None:
            picture = np.zeros((*self.size[::-1], 4), np.uint8)
            straight = premultiplied / np.maximum(opacity, 1e-3)[..., None]
            picture[where] = np.concatenate([straight, 255 * opacity[..., None]], 2).clip(0, 255).round()
            return picture
        behind = cv2.multiply(plate[where], 1 - most / 255, dtype=cv2.CV_32F)
        plate[where] = cv2.add(behind, premultiplied, dtype=cv2.CV_8U)
        return plate

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


def _opaque_part(person: np.ndarray, window: Window) -> tuple[np.ndarray, Window]:
    """Crop premultiplied RGBA [h, w, 4] of a window to what is visible, with a margin; return it and its window."""
    seen = person[..., 3] > 0
    if not seen.any():
        return person[:0, :0], Window(window.top, window.left, window.top, window.left)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    top, bottom = max(0, rows[0] - _ROOM), min(len(person), rows[-1] + 1 + _ROOM)
    left, right = max(0, columns[0] - _ROOM), min(person.shape[1], columns[-1] + 1 + _ROOM)
    part = Window(window.top + top, window.left + left, window.top + bottom, window.left + right)
    return np.ascontiguousarray(person[top:bottom, left:right]), part


def _multiple(size: int) -> int:
    """Return the granularity of a person's window: an eighth of the image, rounded down to a multiple of four."""
    return max(4, size // 32 * 4)
