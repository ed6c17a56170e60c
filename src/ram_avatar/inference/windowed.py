"""The renderer for CPUs: it computes only where the person is, and where they are visible."""

import time
from collections import deque
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..body.template import Posed
from ..core.device import multiplies_bf16
from ..motion.motion import Frame, Motion
from ..networks.hand_detail import DRAWING
from ..networks.opacity import CLEAR, OPAQUE, soft_outline
from ..networks.painting import Painting, compose_alpha
from ..rendering.condition_maps import MeshMaps
from ..rendering.frame_maps import FrameMapper, Places
from ..rendering.inlay import averaged, composite
from ..rendering.rectangles import Window, apart, crop
from .autotune import fastest
from .folding import PART_REACH, FoldedNetwork, Windows
from .shot import Shot

OUTLINE = 1 / 12
"""How far beyond the template's outline the person is painted unless `exact`, as a share of the close-up's side.

Farther out there is only background."""

_BAND = 64  # rows of the picture that are composited at once: what they need stays in the processor's cache
_ROOM = 2  # margin about the part that is shown, pixels of the close-up


class WindowedRenderer:
    """Renders shots on a CPU, when they are submitted; see `shot.Renderer`.

    Args:
        exact: see `Engine`.

    Attributes:
        window: the part of the last close-up that was computed.
    """

    ahead = 0

    def __init__(self, avatar: Avatar, mapper: FrameMapper, exact: bool):
        self._avatar, self._mapper, self._exact = avatar, mapper, exact
        self._has_alpha, self._side = avatar.network.config.alpha, avatar.size
        self._network = FoldedNetwork(avatar.network)
        self._belief, self._tuned = float(self._network.belief), False
        self._pictures: deque[np.ndarray] = deque()
        self.timings: dict[str, float] = {}
        self.window = Window.whole(self._side)

    @torch.no_grad()
    def submit(self, shot: Shot) -> None:
        """Render a shot."""
        started = time.perf_counter()
        posed = self._mapper.pose(self._motion(shot.frame))
        maps, places = self._mapper.draw(posed, shot.camera)
        previous = None
        if shot.previous is not None and self._network.attends_to_previous:
            previous = self._mapper.positions(self._motion(shot.previous), shot.camera)
        drawn = time.perf_counter()
        windows = self.windows(places)
        if not self._tuned:
            self._network, self._tuned = self._fastest(maps, windows), True
        painting = self._network(maps, previous, windows)
        painted = time.perf_counter()
        self.window = windows.person
        self._pictures.append(self._picture(painting, maps, posed, shot))
        finished = time.perf_counter()
        self.timings = {"maps": drawn - started, "network": painted - drawn, "compositing": finished - painted}

    def collect(self) -> np.ndarray:
        """Return the earliest picture."""
        return self._pictures.popleft()

    def _motion(self, frame: Frame) -> Motion:
        return Motion.of_frames(self._avatar.template.name, self._avatar.fps, [frame])

    def _picture(self, painting: Tensor, maps: MeshMaps, posed: Posed, shot: Shot) -> np.ndarray:
        """Draw the person, of whom `painting` holds the window, over the background."""
        picture, inlay, times = shot.behind.copy(), shot.inlay, shot.times
        finer = inlay.times(times)
        part = self._visible_part(painting, maps.position[:, 3:], shot.enlarged)
        where = inlay.window(part, *shot.size)
        if min(where.height, where.width) == 0:
            return picture
        fine, here = where.times(times), picture[where.slices]
        shown = torch.from_numpy(here.repeat(times, 0).repeat(times, 1))
        surface = self._mapper.surface(posed, finer.camera(shot.camera, fine))
        outline = soft_outline(surface[:, 3:])
        painting = crop(painting, part, self.window)
        for band in fine.bands(_BAND):
            rows = slice(band.top - fine.top, band.bottom - fine.top)
            composite(
                shown[rows],
                finer.resample(painting, part, band),
                surface[:, :, rows],
                outline[:, :, rows],
                has_alpha=self._has_alpha,
                belief=self._belief,
                enlarged=shot.enlarged,
                shown=(CLEAR, OPAQUE),
            )
        here[...] = averaged(shown, times).numpy()
        return picture

    def _visible_part(self, painting: Tensor, mask: Tensor, enlarged: bool) -> Window:
        """Return the part of the window where the person is visible, with a margin; empty if nowhere.

        Args:
            painting: of the window.
            mask: [1, 1, S, S] coverage of the close-up.
            enlarged: see `compose`.
        """
        if not self._has_alpha:
            return self.window
        mask = crop(mask, self.window, Window.whole(self._side))
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

    def windows(self, places: Places) -> Windows:
        """Return what to compute of a frame."""
        size = self._side
        person = Window.whole(size)
        if not self._exact and places.person and self._has_alpha:
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

    def _fastest(self, maps: MeshMaps, windows: Windows) -> FoldedNetwork:
        """Return the fastest form of the network, measured on the first frame."""
        networks = {"float32": self._network}
        if not self._exact and multiplies_bf16(torch.device("cpu")):
            networks["bf16"] = deepcopy(self._network).in_bf16()
        work = {name: partial(candidate, maps, None, windows) for name, candidate in networks.items()}
        return networks[fastest(work, repr(self._avatar.network.config))]


def _multiple(size: int) -> int:
    """Return the granularity of a person's window: an eighth of the image, rounded down to a multiple of four."""
    return max(4, size // 32 * 4)
