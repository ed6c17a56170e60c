"""An avatar that renders frame after frame, as fast as the machine can."""

import time
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..hardware import multiplies_bf16
from ..motion.motion import Frame, Motion
from ..pictures import fill_square, to_array, to_tensor
from ..rendering.condition_maps import MeshMaps
from ..rendering.frame_maps import FrameMapper, Places
from ..rendering.windows import Window, apart, crop
from .choice import fastest
from .folding import PART_REACH, FoldedNetwork, Windows

if TYPE_CHECKING:
    from ..avatar import Avatar

OUTLINE = 1 / 12
"""Of the picture's side: how far from the template's outline a person is looked for, unless all is to be exact.

Elsewhere the picture is what the network makes of nobody. Not quite exactly: attention and the coarse levels carry a
little of the person everywhere. Of a trained avatar single pixels differed by up to 3 of 255, with a margin of a
sixteenth as with one of an eighth, and by 7 with a twenty-fourth."""


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
        exact: compute the whole picture in float32: no pixel differs by more than 1 of 255 from the network as it
            was trained. If not, only where the person is looked for (on a CPU), and in bf16 where the machine is
            faster with it (there that is measured at the first frame, and remembered): above 45 dB between the two.

    Attributes:
        timings: of the last frame.
        window: the part of the last picture that the avatar was painted in.
    """

    @torch.no_grad()
    def __init__(self, avatar: "Avatar", *, background: np.ndarray | str | None = None, exact: bool = True):
        self.avatar, self.size, self.exact = avatar, avatar.camera.width, exact
        self.mapper = FrameMapper(avatar.template, avatar.identity, avatar.camera, avatar.texture)
        self.network: FoldedNetwork | CapturedNetwork = FoldedNetwork(avatar.network).to(avatar.device)
        self.timings: Timings | None = None
        self.window = Window.whole(self.size)
        self._chosen = False
        self._previous: Tensor | None = None
        # What is seen where the person is not looked for: where alpha is not quite zero, the network paints there too.
        self._nobody = self.network(self.mapper.nothing())[0]
        self.set_background(background)

    def reset(self) -> None:
        """A new clip begins: the next frame has none before it."""
        self._previous = None

    def set_background(self, background: np.ndarray | str | None) -> None:
        """
        Args:
            background: None for the avatar's own room, "transparent" for RGBA with straight alpha, or a picture
                [H, W, 3] uint8 that is resized to fit.

        Raises:
            UserError: a transparent one, of an avatar that has no alpha.
        """
        if isinstance(background, str):
            if background != "transparent":
                raise ValueError(f"background is a picture, None or 'transparent', not '{background}'")
            if not self.avatar.network.config.alpha:
                raise UserError("this avatar was learned with its background (the camera moved): it has no alpha")
            self._plate = None
        else:
            shown = self.avatar.background if background is None else fill_square(background, self.size)
            self._plate = to_tensor(shown)[None].to(self.avatar.device)
        self._scene = self._over(self._nobody, Window.whole(self.size))

    @torch.no_grad()
    def render(self, frame: Frame) -> np.ndarray:
        """The avatar in one frame of a motion that is on its scale and place (`motion.retarget`).

        Returns:
            [S, S, 3] uint8 RGB, or [S, S, 4] with a transparent background.
        """
        started = self._now()
        motion = Motion.of_frames(self.avatar.template.name, self.avatar.fps, [frame])
        maps, places = self.mapper.draw(motion.map(lambda tensor: tensor.to(self.avatar.device)))
        drawn = self._now()
        windows = self.windows(places)
        if not self._chosen:
            self.network, self._chosen = self._fastest(maps, windows), True
        image, self._previous = self.network(maps, self._previous, windows)
        painted = self._now()
        self.window = windows.person if windows else Window.whole(self.size)
        picture = self._compose(image, self.window)
        self.timings = Timings(drawn - started, painted - drawn, self._now() - painted)
        return picture

    def _compose(self, image: Tensor, window: Window) -> np.ndarray:
        picture = self._scene.copy()
        picture[window.slices] = self._over(image, window)
        return picture

    def _over(self, image: Tensor, window: Window) -> np.ndarray:
        """Colour and alpha [1, 4, h, w] of a window over the background there: [h, w, 3], or 4 if transparent."""
        color, alpha = image[:, :3], image[:, 3:]
        if self._plate is None:
            return to_array(torch.cat([color, 2 * alpha - 1], 1))[0]
        plate = crop(self._plate, window, Window.whole(self.size))
        return to_array(plate + alpha * (color - plate))[0]

    def windows(self, places: Places) -> Windows | None:
        """What is computed of a frame; None on a GPU, where all is: to choose parts would take longer."""
        if self.avatar.device.type != "cpu":
            return None
        size = self.size
        person = Window.whole(size)
        if not self.exact and places.person and self.avatar.network.config.alpha:
            person = places.person.grown(round(OUTLINE * size), size).fitted(_multiple(size), size)
        reach = lambda window: window.grown(2 * PART_REACH, size).fitted(PART_REACH, size)  # noqa: E731
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


def _multiple(size: int) -> int:
    """What the sides of a person's window are multiples of: an eighth of the picture, and multiples of four."""
    return max(4, size // 32 * 4)


class CapturedNetwork:
    """A folded network on a CUDA GPU, recorded as one graph: nothing is launched anew in any frame.

    Args:
        maps: of any frame; those to come have their shapes.
    """

    def __init__(self, network: FoldedNetwork, maps: MeshMaps):
        self.network = network
        self._maps = MeshMaps(**{name: tensor.clone() for name, tensor in vars(maps).items()})
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is set up at first use must not be recorded
            for _ in range(3):
                _, features = network(self._maps)
            self._previous = features
            for _ in range(3):
                network(self._maps, self._previous)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._image, self._features = network(self._maps, self._previous)

    def __call__(
        self, maps: MeshMaps, previous: Tensor | None, windows: Windows | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `FoldedNetwork.forward`. What it returns is overwritten by the next call."""
        if previous is None and self.network.attends_to_previous:
            return self.network(maps, None, windows)
        for name, tensor in vars(maps).items():
            getattr(self._maps, name).copy_(tensor)
        if previous is not None:
            self._previous.copy_(previous)
        self._graph.replay()
        return self._image, self._features
