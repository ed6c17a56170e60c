"""The close-ups of a clip, kept where batches are made of them: on the device that trains, if they fit."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.images import to_tensor
from ..rendering.framing import Square

_DEVICE_BYTES = 8 << 30  # more than that stays in the host's memory, and each batch is copied


class FrameStore:
    """Images, masks, and what each frame's neighbours look like through its close-up.

    Args:
        frames: [N, S, S, 3] uint8.
        masks: [N, 1, S, S] uint8 person.
        inside: [N, 1, S, S] bool, within the video's frame.
        squares: of the close-ups.
        neighbors: of each frame the one before and the one after, [2, N].
        device: where batches are placed.
    """

    def __init__(
        self,
        frames: Tensor,
        masks: Tensor,
        inside: Tensor,
        squares: Sequence[Square],
        neighbors: Tensor,
        device: torch.device,
    ):
        self._device, kept = device, [frames, masks, inside]
        if device.type == "cuda" and sum(tensor.nbytes for tensor in kept) > _DEVICE_BYTES:
            self._kept = [tensor.pin_memory() for tensor in kept]
        else:
            self._kept = [tensor.to(device) for tensor in kept]
        self._size = frames.shape[1]
        self._host_neighbors, self._neighbors = neighbors, neighbors.to(device)
        self._grids = torch.tensor([_grids(squares, each.tolist()) for each in neighbors]).to(device)  # [2, N, 2, 3]

    def frames(self, index: Tensor, here: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return frames in [-1, 1], masks and insides in [0, 1], [B, C, S, S] each.

        Args:
            index: [B] frame numbers on the host.
            here: the same on the device.
        """
        frames, masks, inside = (self._pick(tensor, index, here) for tensor in self._kept)
        return to_tensor(frames), masks.float() / 255, inside.float()

    def neighbors(self, index: Tensor, here: Tensor, which: int) -> Tensor:
        """Return the frames before (0) or after (1) through the close-ups of frames, in [-1, 1], [B, 3, S, S]."""
        there = self._host_neighbors[which][index], self._neighbors[which][here]
        shape = [len(index), 3, self._size, self._size]
        grid = F.affine_grid(self._grids[which][here], shape, align_corners=False)
        images = to_tensor(self._pick(self._kept[0], *there))
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _pick(self, tensor: Tensor, index: Tensor, here: Tensor) -> Tensor:
        if tensor.device == here.device:
            return tensor[here]
        return tensor[index].to(self._device, non_blocking=True)


def _grids(squares: Sequence[Square], neighbors: Sequence[int]) -> list[list[list[float]]]:
    """Return the affine maps [N, 2, 3] from each close-up to its neighbour's, both in [-1, 1]."""
    grids = []
    for mine, other in zip(squares, neighbors, strict=True):
        theirs = squares[other]
        zoom = mine.side / theirs.side
        right = (2 * (mine.left - theirs.left) + mine.side) / theirs.side - 1
        down = (2 * (mine.top - theirs.top) + mine.side) / theirs.side - 1
        grids.append([[zoom, 0.0, right], [0.0, zoom, down]])
    return grids
