"""Windows of pictures larger than what the network paints, for the detail loss; see docs/method.md, "Losses".

An avatar is shown larger than it is painted: the surface is drawn at the picture's size, and what the network adds is
enlarged. Only in such a picture can the network learn what to add to a sharp surface.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..capture.dataset import BOXES, Batch, CaptureDataset, behind
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
    def __call__(self, batch: Batch, step: int) -> Windows:
        """Cut windows about face and hands, and at random places of the person, from every frame of a batch."""
        found = [self._cut(batch, place, step) for place in range(len(batch.index))]
        return Windows(
            frames=[place for place in range(len(found)) for _ in range(COUNT)],
            boxes=[box for each in found for box in each["boxes"]],
            **{name: torch.cat([each[name] for each in found]) for name in found[0] if name != "boxes"},
        )

    def _cut(self, batch: Batch, place: int, step: int) -> dict:
        index, data = int(batch.index[place]), self._data
        rng = np.random.default_rng((self._seed, step, index))
        boxes = [self._at_most(box, rng) for box in batch.boxes[place].tolist()]
        boxes += [self._anywhere(data.masks[index, 0].numpy(), rng) for _ in range(_RANDOM)]
        large, scale = self._large[index], self._large.size / data.size
        posed, camera = data.mapper.pose(data.moment(index)), data.cameras[index]
        truth = [Square(*(scale * edge for edge in box)).cut(large, SIZE) for box in boxes]
        small = torch.cat([batch.mask[place], batch.inside[place]]).permute(1, 2, 0).cpu().numpy()
        seen = np.stack([Square(*box).cut(small, SIZE) for box in boxes])  # [K, D, D, 2]
        mask, inside = (torch.from_numpy(seen[..., [channel]]).permute(0, 3, 1, 2) for channel in (0, 1))
        images, device = to_tensor(np.stack(truth)), data.device
        plates = to_tensor(np.stack([data.plate_window(index, box, SIZE) for box in boxes]))
        shown = zip(images.split(1), (mask * inside).split(1), plates.split(1), strict=True)
        grounds = [behind(*each, SIZE / side) for each, (_, _, side) in zip(shown, boxes, strict=True)]
        return {
            "boxes": boxes,
            "truth": images.to(device),
            "inside": inside.to(device),
            "behind": torch.cat(grounds).to(device),
            "surface": torch.cat([data.mapper.surface(posed, camera.crop(*box, SIZE)) for box in boxes]),
        }

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
