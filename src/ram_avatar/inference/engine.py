"""An avatar that renders frame after frame, as fast as the machine can."""

import time
from copy import deepcopy
from dataclasses import dataclass

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
from .folding import PART_REACH, FoldedNetwork, Windows

OUTLINE = 1 / 12
"""Of the picture's side: how far from the template's outline a person is looked for, unless all is to be exact.

Elsewhere there is the background alone."""

_ROOM = 2  # pixels of the close-up about what is laid into the scene


@dataclass(frozen=True)
class Timings:
    """Seconds that the stages of a frame took."""

    maps: float
    network: float
    compositing: float


class Engine:
    """Renders one avatar, frame by frame: every frame attends to the one before it.

    Args:
        avatar: as it is now; what is learned later is not seen.
        background: see `set_background`.
        size: width and height of the pictures, of the scene's aspect; the scene's own without.
        close_up: pictures are not of the scene but of the square that follows the person, as the network paints it.
        exact: compute the whole close-up in float32: no pixel differs by more than 1 of 255 from the network as it
            was trained. If not, only where the person is looked for (on a CPU), and in bf16 where the machine is
            faster with it (there that is measured at the first frame, and remembered): above 45 dB between the two.

    Attributes:
        timings: of the last frame.
        square: the part of the scene that the last close-up showed.
        window: the part of the last close-up that the avatar was painted in.
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
        whole = Camera.default(self.side, self.side)  # every frame has its own
        self.mapper = FrameMapper(avatar.template, avatar.identity, whole, avatar.texture)
        self.network: FoldedNetwork | CapturedNetwork = FoldedNetwork(avatar.network).to(avatar.device)
        self.timings: Timings | None = None
        self.window, self.square = Window.whole(self.side), avatar.framing.square(avatar.placement.hips)
        self._chosen = False
        self._previous: Motion | None = None
        self.set_background(background)

    def reset(self) -> None:
        """A new clip begins: the next frame has none before it."""
        self._previous = None

    def set_background(self, background: np.ndarray | str | None) -> None:
        """
        Args:
            background: None for the avatar's own room, "transparent" for RGBA with straight alpha, or a picture
                [H, W, 3] uint8 whose middle fills the frame.

        Raises:
            UserError: a transparent one, of an avatar that has no alpha.
        """
        if isinstance(background, str):
            if background != "transparent":
                raise ValueError(f"background is a picture, None or 'transparent', not '{background}'")
            if not self.avatar.network.config.alpha:
                raise UserError("this avatar was learned with its background: it has no alpha")
            self._plate = None
        elif background is None:
            self._plate = self.avatar.background if self.close_up else fill(self.avatar.background, *self.size)
        else:
            scene = (self.avatar.camera.width, self.avatar.camera.height)
            self._plate = fill(background, *(scene if self.close_up else self.size))

    @torch.no_grad()
    def render(self, frame: Frame) -> np.ndarray:
        """The avatar in one frame of a motion that is on its scale and place (`motion.retarget`).

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
        if self._previous is not None and self.network.attends_to_previous:
            previous = self.mapper.positions(self._previous, camera)  # where this frame's close-up sees it
        drawn = self._now()
        windows = self.windows(places)
        if not self._chosen:
            self.network, self._chosen = self._fastest(maps, windows), True
        image = self.network(maps, previous, windows)
        self._previous = motion
        painted = self._now()
        self.window = windows.person if windows else Window.whole(self.side)
        picture = self._compose(image)
        self.timings = Timings(drawn - started, painted - drawn, self._now() - painted)
        return picture

    def _compose(self, image: Tensor) -> np.ndarray:
        """Colour and alpha [1, 4, h, w] of the window, in the picture."""
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
        alpha = cv2.min(cv2.max(cv2.extractChannel(person, 3), 0.0), 1.0)
        most = cv2.merge([255 * alpha] * 3)
        color = cv2.min(cv2.max(person[..., :3], 0.0), most)  # enlarging overshoots at edges
        if plate is None:
            picture = np.zeros((*self.size[::-1], 4), np.uint8)
            straight = color / np.maximum(alpha, 1e-3)[..., None]
            picture[where] = np.concatenate([straight, 255 * alpha[..., None]], 2).clip(0, 255).round()
            return picture
        behind = cv2.multiply(plate[where], 1 - most / 255, dtype=cv2.CV_32F)
        plate[where] = cv2.add(behind, color, dtype=cv2.CV_8U)
        return plate

    def windows(self, places: Places) -> Windows | None:
        """What is computed of a frame; None on a GPU, where all is: to choose parts would take longer."""
        if self.avatar.device.type != "cpu":
            return None
        size = self.side
        person = Window.whole(size)
        if not self.exact and places.person and self.avatar.network.config.alpha:
            person = places.person.grown(round(OUTLINE * size), size).fitted(_multiple(size), size)
        reach = lambda window: window.grown(2 * PART_REACH, size).fitted(PART_REACH, size)
        return Windows(
            person,
            {
                "face": [reach(places.face)] if places.face else [],
                "hands": apart([reach(hand) for hand in places.hands]),
            },
        )

    def _fastest(self, maps: MeshMaps, windows: Windows | None) -> "FoldedNetwork | CapturedNetwork":
        """The network in the form that is fastest here, tried on the first frame."""
        device = self.avatar.device
        half = not self.exact and multiplies_bf16(device)
        if device.type == "cuda":
            return CapturedNetwork(self.network.in_bf16() if half else self.network, maps)
        networks = {"float32": self.network}
        if half:
            networks["bf16"] = deepcopy(self.network).in_bf16()
        work = {name: lambda network=network: network(maps, None, windows) for name, network in networks.items()}
        return networks[fastest(work, repr(self.avatar.network.config))]

    def _now(self) -> float:
        if self.avatar.device.type == "cuda":
            torch.cuda.synchronize(self.avatar.device)
        return time.perf_counter()


def _opaque_part(person: np.ndarray, window: Window) -> tuple[np.ndarray, Window]:
    """What of premultiplied RGBA [h, w, 4] in a window shows anything, with room to be enlarged; and where that is."""
    seen = person[..., 3] > 0
    if not seen.any():
        return person[:0, :0], Window(window.top, window.left, window.top, window.left)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    top, bottom = max(0, rows[0] - _ROOM), min(len(person), rows[-1] + 1 + _ROOM)
    left, right = max(0, columns[0] - _ROOM), min(person.shape[1], columns[-1] + 1 + _ROOM)
    part = Window(window.top + top, window.left + left, window.top + bottom, window.left + right)
    return np.ascontiguousarray(person[top:bottom, left:right]), part


def _multiple(size: int) -> int:
    """What the sides of a person's window are multiples of: an eighth of the picture, and multiples of four."""
    return max(4, size // 32 * 4)


class CapturedNetwork:
    """A folded network on a CUDA GPU, recorded as one graph: nothing is launched anew in any frame.

    Args:
        maps: of any frame; those to come have their shapes.
    """

    def __init__(self, network: FoldedNetwork, maps: MeshMaps):
        self._maps = MeshMaps(**{name: tensor.clone() for name, tensor in vars(maps).items()})
        self.attends_to_previous = network.attends_to_previous
        self._previous = maps.position.clone() if network.attends_to_previous else None
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is set up at first use must not be recorded
            for _ in range(3):
                network(self._maps, self._previous)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._image = network(self._maps, self._previous)

    def __call__(self, maps: MeshMaps, previous: Tensor | None, windows: Windows | None = None) -> Tensor:
        """See `FoldedNetwork.forward`. What it returns is overwritten by the next call."""
        for name, tensor in vars(maps).items():
            getattr(self._maps, name).copy_(tensor)
        if self._previous is not None:
            self._previous.copy_(maps.position if previous is None else previous)
        self._graph.replay()
        return self._image
