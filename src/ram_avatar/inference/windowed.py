"""The renderer for CPUs: it computes only where the person is, and where they are visible.

A frame is painted (maps, network) and then composited. If the next frame is submitted before a picture is collected,
the one is composited by a second thread while the other is painted.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits
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
    """Renders shots on a CPU; see `shot.Renderer`.

    Args:
        exact: see `Engine`.

    Attributes:
        window: the part of the last close-up that was computed.
    """

    ahead = 1

    def __init__(self, avatar: Avatar, mapper: FrameMapper, exact: bool):
        self._avatar, self._mapper, self._exact = avatar, mapper, exact
        self._has_alpha, self._side = avatar.network.config.alpha, avatar.size
        self._network = FoldedNetwork(avatar.network)
        self._belief, self._tuned = float(self._network.belief), False
        self._pictures: deque[_Later] = deque()
        self._second = ThreadPoolExecutor(1, "compositing", _alone)
        self.timings: dict[str, float] = {}
        self.window = Window.whole(self._side)

    @torch.no_grad()
    def submit(self, shot: Shot) -> None:
        """Paint a shot, while the one before it is composited if it was not collected yet."""
        for picture in self._pictures:
            picture.start(self._second)
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
        mask, timings = maps.position[:, 3:], {"maps": drawn - started, "network": painted - drawn}
        self._pictures.append(_Later(partial(self._composite, painting, mask, posed, shot, self.window, timings)))

    def collect(self) -> np.ndarray:
        """Return the earliest picture."""
        picture, self.timings = self._pictures.popleft().result()
        return picture

    def _motion(self, frame: Frame) -> Motion:
        return Motion.of_frames(self._avatar.template.name, self._avatar.fps, [frame])

    @torch.no_grad()
    def _composite(
        self, painting: Tensor, mask: Tensor, posed: Posed, shot: Shot, window: Window, timings: dict[str, float]
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Draw the person, of whom `painting` holds the window, over the background; add to the timings."""
        started = time.perf_counter()
        picture = self._picture(painting, mask, posed, shot, window)
        return picture, timings | {"compositing": time.perf_counter() - started}

    def _picture(self, painting: Tensor, mask: Tensor, posed: Posed, shot: Shot, window: Window) -> np.ndarray:
        picture, inlay, times = shot.behind.copy(), shot.inlay, shot.times
        finer = inlay.times(times)
        part = self._visible_part(painting, mask, window, shot.enlarged)
        where = inlay.window(part, *shot.size)
        if min(where.height, where.width) == 0:
            return picture
        fine, here = where.times(times), picture[where.slices]
        shown = torch.from_numpy(here.repeat(times, 0).repeat(times, 1) if times > 1 else here)
        surface = self._mapper.surface(posed, finer.camera(shot.camera, fine))
        across = finer.resample_columns(crop(painting, part, window), part, fine)
        for band in fine.bands(_BAND):
            rows = slice(band.top - fine.top, band.bottom - fine.top)
            composite(
                shown[rows],
                finer.resample_rows(across, part, band),
                surface,
                first_row=rows.start,
                has_alpha=self._has_alpha,
                belief=self._belief,
                enlarged=shot.enlarged,
                shown=(CLEAR, OPAQUE),
            )
        if times > 1:
            here[...] = averaged(shown, times).numpy()
        return picture

    def _visible_part(self, painting: Tensor, mask: Tensor, window: Window, enlarged: bool) -> Window:
        """Return the part of the window where the person is visible, with a margin; empty if nowhere.

        Args:
            painting: of the window.
            mask: [1, 1, S, S] coverage of the close-up.
            window: the part of the close-up that was painted.
            enlarged: see `compose`.
        """
        if not self._has_alpha:
            return window
        mask = crop(mask, window, Window.whole(self._side))
        alpha = compose_alpha(Painting.of(painting), mask, soft_outline(mask), self._belief, DRAWING, enlarged)
        seen = alpha[0, 0] > CLEAR
        rows, columns = (seen.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        top, left = window.top, window.left
        if not rows:
            return Window(top, left, top, left)
        return Window(
            top + max(0, rows[0] - _ROOM),
            left + max(0, columns[0] - _ROOM),
            top + min(window.height, rows[-1] + 1 + _ROOM),
            left + min(window.width, columns[-1] + 1 + _ROOM),
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


class _Later:
    """A result that is computed by another thread once that is told to start, else by whoever asks for it."""

    def __init__(self, work: Callable[[], tuple[np.ndarray, dict[str, float]]]):
        self._work = work
        self._running: Future[tuple[np.ndarray, dict[str, float]]] | None = None

    def start(self, pool: ThreadPoolExecutor) -> None:
        if self._running is None:
            self._running = pool.submit(self._work)

    def result(self) -> tuple[np.ndarray, dict[str, float]]:
        return self._work() if self._running is None else self._running.result()


def _alone() -> None:
    """Let this thread work alone: a team of its own would fight with the painter's for the same cores."""
    torch.get_num_threads()  # sets up this thread, which would undo the following
    threadpool_limits(1, "openmp")


def _multiple(size: int) -> int:
    """Return the granularity of a person's window: an eighth of the image, rounded down to a multiple of four."""
    return max(4, size // 32 * 4)
