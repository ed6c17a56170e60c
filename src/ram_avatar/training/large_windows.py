"""Windows of pictures larger than what the network paints, for the detail loss; see docs/method.md, "Losses".

An avatar is shown larger than it is painted: the surface is drawn at the picture's size, and what the network adds is
enlarged. Only in such a picture can the network learn what to add to a sharp surface.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..capture.dataset import BOXES, CaptureDataset, behind
from ..core.camera import Lens
from ..core.images import to_tensor
from ..networks.avatar_network import AvatarNetwork
from ..networks.painting import Painting
from ..rendering.framing import Square
from ..rendering.inlay import Inlay
from ..rendering.rectangles import Window

SIZE = 96
"""D: side of the windows, pixels."""
_RANDOM = 1  # windows anywhere on the person, besides those about face and hands
COUNT = len(BOXES) + _RANDOM
"""Windows in a frame."""


@dataclass(frozen=True)
class Windows:
    """Windows of D x D pixels in the large close-ups of a batch of frames. Images are in [-1, 1]."""

    frames: list[int]  # [N] places in the batch
    boxes: list[tuple[float, float, float]]  # [N] left, top and side, in pixels of the network's close-up
    truth: Tensor  # [N, 3, D, D]
    inside: Tensor  # [N, 1, D, D] within the video's frame, 0 to 1
    behind: Tensor  # [N, 3, D, D] background, as in `Batch.plate`
    surface: Tensor  # [N, 4, D, D] the surface's colours and the coverage mask

    def show(self, network: AvatarNetwork, painting: Painting, size: int) -> Tensor:
        """Return what the windows show [N, 3, D, D] of a batch's painting of `size` x `size` pixels."""
        stacked, whole, square = painting.stack(), Window.whole(size), Window.whole(SIZE)
        parts = []
        for place, (left, top, side) in zip(self.frames, self.boxes, strict=True):
            zoom = SIZE / side
            inlay = Inlay(zoom, -left * zoom, -top * zoom)
            parts.append(inlay.resample(stacked[place : place + 1], whole, square))
        enlarged = Painting.of(torch.cat(parts))
        return network.compose(enlarged, self.surface, enlarged=True).over(self.behind)


class WindowCutter:
    """Cuts windows out of the large close-ups of training frames.

    Args:
        data: with `large` close-ups.
        seed: of all draws. They depend on it, the step and the frame alone, so a batch may be split over processes.
    """

    def __init__(self, data: CaptureDataset, seed: int):
        assert data.large is not None
        self._data, self._large, self._seed = data, data.large, seed
        self._finest = max(1.0, data.large.size / data.size)  # zoom of the large close-ups

    @torch.no_grad()
    def __call__(self, frames: list[int], step: int) -> Windows:
        """Cut windows about face and hands, and at random places of the person, from every frame of a batch.

        Args:
            frames: numbers of the batch's frames.
        """
        data, places, boxes, images, cameras = self._data, [], [], [], []
        for place, index in enumerate(frames):
            rng = np.random.default_rng((self._seed, step, index))
            chosen = [self._at_most(box, rng) for box in data.boxes[index].tolist()]
            chosen += [self._anywhere(data.masks[index, 0].numpy(), rng) for _ in range(_RANDOM)]
            images.append(self._images(index, chosen))
            cameras += [data.cameras[index].crop(*box, SIZE) for box in chosen]
            places += [place] * len(chosen)
            boxes += chosen
        # Two copies to the device, however many windows there are.
        truth, inside, ground = torch.cat(images).to(data.device, non_blocking=True).split([3, 1, 3], 1)
        lenses = torch.tensor([camera.intrinsics for camera in cameras]).to(data.device)
        posed, seen = [data.posed(index) for index in frames], zip(places, lenses, strict=True)
        surface = torch.cat([data.mapper.surface(posed[at], Lens(lens, SIZE, SIZE)) for at, lens in seen])
        return Windows(places, boxes, truth, inside, ground, surface)

    def _images(self, index: int, boxes: list[tuple[float, float, float]]) -> Tensor:
        """Return what a frame's windows show, whether that is within the video, and the background [K, 7, D, D]."""
        data = self._data
        large, scale = self._large[index], self._large.size / data.size
        truth = to_tensor(np.stack([Square(*(scale * edge for edge in box)).cut(large, SIZE) for box in boxes]))
        small = np.stack([data.masks[index, 0].numpy() / np.float32(255), data.inside[index, 0].numpy()], -1)
        seen = np.stack([Square(*box).cut(small.astype(np.float32), SIZE) for box in boxes])  # [K, D, D, 2]
        mask, inside = (torch.from_numpy(seen[..., [channel]]).permute(0, 3, 1, 2) for channel in (0, 1))
        plates = to_tensor(np.stack([data.plate_window(index, box, SIZE) for box in boxes]))
        shown = zip(truth.split(1), (mask * inside).split(1), plates.split(1), strict=True)
        grounds = [behind(*each, SIZE / side) for each, (_, _, side) in zip(shown, boxes, strict=True)]
        return torch.cat([truth, inside, torch.cat(grounds)], 1)

    def _at_most(self, box: list[float], rng: np.random.Generator) -> tuple[float, float, float]:
        """Return a box, or a random part of one in which a pixel of the network would be smaller than a window's."""
        left, top, side = box
        part = min(side, float(SIZE))
        across, down = (rng.random(2) * (side - part)).tolist()
        return left + across, top + down, max(part, SIZE / self._finest)

    def _anywhere(self, mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
        """Return a box about a random pixel of the person [S, S] uint8, at a random zoom."""
        rows, columns = np.nonzero(mask > 127)
        row, column = rng.random(2) * len(mask)
        if len(rows):
            chosen = rng.integers(len(rows))
            row, column = rows[chosen], columns[chosen]
        side = SIZE / self._finest ** float(rng.uniform(0.5, 1.0))
        return float(column) - side / 2, float(row) - side / 2, side
