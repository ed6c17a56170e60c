"""How far a body's outline in a frame is from the matte's: evidence for what the person wears (`training.clothing`)."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import csr_matrix
from torch import Tensor

from ..core.camera import Camera
from ..motion.motion import Motion
from ..rendering.rasterizer import rasterize

OUTWARD, INWARD = 0.32, 0.05  # metres: how far outside and inside of the outline the matte's is looked for
_PERSON = 0.5  # matte value of its contour
_FACING = 0.5  # cosine: a surface must move the outline at least so far per metre
_SMOOTHING = 2.0  # pixels, of the outline's direction
_OWN = 2  # pixels: an outline that is not left behind within so many does not run across the way


class Shot(NamedTuple):
    """A frame to measure."""

    matte: NDArray[np.uint8]  # [S, S]
    inside: NDArray[np.bool_]  # [S, S] within the video's frame
    motion: Motion  # of this frame alone
    camera: Camera  # of the matte


class Evidence(NamedTuple):
    """What N pixels of outlines say: by how much a weighted sum of three vertices' offsets should grow."""

    vertices: NDArray[np.int64]  # [N, 3]
    share: NDArray[np.float64]  # [N, 3] metres that the outline moves per metre of a vertex's offset
    gap: NDArray[np.float64]  # [N] metres from the outline to the matte's, outward
    weight: NDArray[np.float64]  # [N] metres of outline that a pixel stands for

    @staticmethod
    def cat(parts: list["Evidence"]) -> "Evidence":
        """Join evidence."""
        return Evidence(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def times(self, factor: float) -> "Evidence":
        """Return the same with other weights."""
        return self._replace(weight=factor * self.weight)

    def about(self, offset: NDArray[np.float64]) -> "Evidence":
        """Return what evidence found with an offset [V] says of the body without it."""
        return self._replace(gap=self.gap + self.matrix(len(offset)) @ offset)

    def matrix(self, vertices: int) -> csr_matrix:
        """Return how the outline moves [N, V] with the offset of each of V vertices."""
        rows = np.repeat(np.arange(len(self.gap)), 3)
        return csr_matrix((self.share.ravel(), (rows, self.vertices.ravel())), (len(self.gap), vertices))


NOTHING = Evidence(np.zeros((0, 3), np.int64), np.zeros((0, 3)), np.zeros(0), np.zeros(0))


def look(shot: Shot, vertices: Tensor, along: Tensor, faces: Tensor) -> Evidence:
    """Compare the outline of a posed mesh with the matte.

    Args:
        vertices: [V, 3] metres, in the world.
        along: [V, 3] how a vertex moves per metre of its offset.
        faces: [F, 3].
    """
    camera, size = shot.camera, shot.camera.height
    drawn = rasterize(camera.project(vertices)[None], faces, size, size)
    mask = drawn.mask[0].numpy()
    pixel, outward = outline(mask, shot.inside)
    x, y = pixel.T
    corners = faces[drawn.triangle[0, y, x].long()]  # [N, 3]
    place, direction, toward = vertices[corners], along[corners], torch.from_numpy(outward)[:, None]
    slope = place / place[..., 1:2]
    right = direction[..., 0] - slope[..., 0] * direction[..., 1]  # seen from the camera, metres per metre
    down = slope[..., 2] * direction[..., 1] - direction[..., 2]
    share = drawn.barycentric[0, y, x] * (right * toward[..., 0] + down * toward[..., 1])
    metre = (place[..., 1].mean(1) / camera.focal).double().numpy()  # per pixel
    gap, known = gaps(shot.matte, shot.inside, mask, pixel, outward, metre)
    known &= (share.sum(1) > _FACING).numpy()
    return Evidence(corners.numpy()[known], share.double().numpy()[known], (gap * metre)[known], metre[known])


def outline(mask: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the pixels [N, 2] (x, y) just within the outline of a mask [S, S], and unit directions out of it [N, 2].

    Only pixels that are `inside` [S, S] are returned.
    """
    padded = np.pad(mask, 1)
    within = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    y, x = np.nonzero(mask & ~within & inside)
    down, right = np.gradient(gaussian_filter(mask.astype(np.float32), _SMOOTHING))
    outward = -np.stack([right[y, x], down[y, x]], 1)
    length = np.linalg.norm(outward, axis=1)
    clear = length > 1e-3  # not that of a speck
    return np.stack([x, y], 1)[clear], (outward[clear] / length[clear, None]).astype(np.float32)


def gaps(
    matte: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    pixel: NDArray[np.int64],
    outward: NDArray[np.float32],
    metre: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Walk from the outline of a mask to the matte's contour.

    Outward to where the matte ends; if the body begins again before, as between thighs under a skirt, half the way to
    it, so that both sides meet. Inward to where the matte begins.

    Args:
        pixel, outward: of the `outline` [N, 2].
        metre: [N] metres per pixel.

    Returns:
        Pixels to the contour [N], outward, and whether it was found [N].
    """
    least = min(int(INWARD / max(metre.min(initial=np.inf), 1e-6)), len(mask))
    most = min(int(OUTWARD / max(metre.min(initial=np.inf), 1e-6)), len(mask))
    step = np.arange(-least, most + 1)
    x, y = (pixel[:, i, None] + step * outward[:, i, None] for i in (0, 1))
    sample = lambda image, order: map_coordinates(image, [y, x], order=order, mode="constant")
    person = sample(matte.astype(np.float32) / 255, 1)  # [N, T]
    shown, body = (sample(image.astype(np.uint8), 0) > 0 for image in (inside, mask))
    free = np.cumsum(~body[:, least:], 1) > 0  # clear of the part that the outline belongs to
    leaves = _first(person[:, least:] <= _PERSON)
    meets = _first(body[:, least:] & free)
    ends = _first(~shown[:, least:])
    row = np.arange(len(pixel))
    column = np.clip(least + leaves, 1, len(step) - 1)
    before, after = person[row, column - 1], person[row, column]
    crossing = leaves - 1 + (before - _PERSON) / np.maximum(before - after, 1e-6)
    enters = _first(person[:, least::-1] > _PERSON)
    outside = leaves == 0
    gap = np.where(outside, 0.5 - enters, np.where(meets < leaves, meets / 2, crossing))
    reached = np.minimum(leaves, meets)
    known = np.where(outside, enters <= least, (reached <= most) & (reached < ends)) & shown[:, least]
    known &= _first(free) <= _OWN
    known &= (gap * metre <= OUTWARD) & (gap * metre >= -INWARD)
    return gap - 0.5, known  # the outline runs half a pixel outside the centres of its pixels


def _first(found: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the first column [N] that is true in each row [N, T]; T + 1 where none is."""
    return np.where(found.any(1), found.argmax(1), found.shape[1] + 1)
