"""Colours for surface that no frame showed: from its mirror twin, else the other side of the body, else its neighbours.

All of it works on the texels' points in the reference pose, where bodies are symmetric. Twins are found by place rather
than by a template's vertex numbers, so that any template has them as far as it is symmetric.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from ...body.template import BodyTemplate
from ..rasterizer import vertex_normals

Array = np.ndarray

SAME_PLACE = 0.015  # metres: farther from the mirror image of a point is not its twin
SAME_SIDE = 0.05  # metres: nor, across the depth axis, its counterpart on the other side of the body
_NORMAL = 0.04  # metres that count as much as normals a radian apart
_NEIGHBOURS = 4
_REACH = 0.05  # metres in which a difference in colour at the border of what is known fades
_FAR = 1.0  # metres: the same for colours that continue their neighbours'
_FADE = 0.05  # metres beyond the border in which the nearest known colours fade
_HOLD = 10.0  # how firmly vertices hold known colours, relative to an edge
_EDGE = 0.58  # stiffness of an edge of a mesh of equilateral triangles: its cotangent weight


@dataclass(frozen=True)
class Origins:
    """Where the colours of a surface are from: shares of its area."""

    seen: float
    twin: float = 0.0
    other_side: float = 0.0
    neighbours: float = 0.0

    def rounded(self) -> dict[str, float]:
        """Return the shares by name, with four digits."""
        return {name: round(share, 4) for name, share in asdict(self).items()}


class SurfaceFiller:
    """Fills gaps in the colours of M texels on a body's surface."""

    def __init__(self, template: BodyTemplate, vertices: Array, triangle: Array, barycentric: Array):
        """Place the texels.

        Args:
            vertices: [V, 3] in the reference pose, metres.
            triangle: [M] of each texel.
            barycentric: [M, 3] coordinates in it.
        """
        faces, count = template.faces.cpu().numpy(), len(vertices)
        rows, corners = np.arange(len(triangle)).repeat(3), faces[triangle].ravel()
        self._mix = csr_matrix((barycentric.ravel(), (rows, corners)), (len(triangle), count))  # vertices to texels
        self._weight = np.asarray(self._mix.sum(0))[0].clip(1e-9)  # [V]
        self._vertices, self.points = vertices, self._mix @ vertices  # [V, 3], [M, 3]
        normals = vertex_normals(torch.from_numpy(vertices)[None], template.faces)[0].numpy()
        self._normals = self._mix @ normals
        # The front of a head says nothing of its back.
        self._two_sided = self._mix @ template.role_weight("head", "neck", "eye").cpu().numpy() < 0.5
        areas = np.linalg.norm(np.cross(*(vertices[faces[:, k]] - vertices[faces[:, 0]] for k in (1, 2))), axis=1) / 2
        texels = np.bincount(triangle, minlength=len(faces))
        self._area = (areas / texels.clip(1))[triangle]  # [M]
        self._vertex_area = np.bincount(faces.ravel(), areas.repeat(3) / 3, count)
        self._stiffness = mesh_laplacian(faces, count)

    def fill(self, colors: Array, known: Array) -> tuple[Array, Origins]:
        """Replace the colours [M, 3], 0 to 255, that are not known [M] bool; return also where all of them are from."""
        twins = self._look_up([-1, 1, 1], [-1, 1, 1], known, SAME_PLACE)
        colors, mirrored = self._copy(colors, known, *twins)
        sources = mirrored & self._two_sided
        across, found = self._look_up([1, 0, 1], [1, -1, 1], sources, SAME_SIDE)
        colors, copied = self._copy(colors, mirrored, across, found & self._two_sided)
        colors = self._spread(colors, copied)
        shares = map(self._share, (known, mirrored & ~known, copied & ~mirrored, ~copied))
        return colors, Origins(*shares)

    def _look_up(self, point: list[int], normal: list[int], sources: Array, farthest: float) -> tuple[Array, Array]:
        """Find every texel's twin among the sources [M] bool: its index [M], and whether it is near enough [M].

        Args:
            point: factors of the coordinates that lead to the twin; along an axis with a 0, its distance is ignored.
            normal: factors of the normal's.
        """
        if not sources.any():
            return np.zeros(len(sources), int), np.zeros(len(sources), bool)
        places = np.hstack([self.points * np.abs(point), _NORMAL * self._normals])
        distance, nearest = cKDTree(places[sources]).query(places * [*point, *normal], distance_upper_bound=farthest)
        found = np.isfinite(distance)
        return np.flatnonzero(sources)[np.where(found, nearest, 0)], found

    def _copy(self, colors: Array, known: Array, source: Array, found: Array) -> tuple[Array, Array]:
        """Copy colours to unknown texels from where they are found, adjusted to meet the known ones.

        Returns:
            The colours [M, 3], and which are known now [M].
        """
        copied = found & ~known
        if not copied.any():
            return colors, known
        guess, compared = colors[source], known & found
        offset = self._smooth(colors - guess, compared, np.zeros((1, 3)), _REACH)
        return self._fade_in(colors, known, copied, guess + offset), known | copied

    def _spread(self, colors: Array, known: Array) -> Array:
        """Return colours with the unknown ones continued smoothly from the known ones."""
        if known.all():
            return colors
        _, prior = self._nearest(colors, known, self._vertices, np.inf)
        return self._fade_in(colors, known, ~known, self._smooth(colors, known, prior, _FAR))

    def _smooth(self, values: Array, given: Array, prior: Array, reach: float) -> Array:
        """Return values [M, 3] that are smooth over the surface, near the given ones, and far from them the prior.

        The minimum of a screened Dirichlet energy over the vertices: the difference from the prior falls by a factor e
        over a distance of `reach` along the surface.
        """
        share = self._mix.T @ given / self._weight
        hold = _HOLD * (share > 0.1)
        held = (self._mix.T @ (values * given[:, None])) / (share * self._weight).clip(1e-9)[:, None]
        screen = self._vertex_area / reach**2 + 1e-9
        system = self._stiffness + diags(hold + screen)
        return self._mix @ splu(system.tocsc()).solve(hold[:, None] * held + screen[:, None] * prior)

    def _fade_in(self, colors: Array, known: Array, where: Array, filling: Array) -> Array:
        """Return colours with a filling [M, 3] in some texels [M], after the nearest known colours have faded."""
        distance, nearest = self._nearest(colors, known, self.points[where], _FADE)
        near = (1 - distance / _FADE).clip(0)[:, None]
        near = near * near * (3 - 2 * near)
        colors = colors.copy()
        colors[where] = (near * nearest + (1 - near) * filling[where]).clip(0, 255)
        return colors

    def _nearest(self, colors: Array, known: Array, points: Array, farthest: float) -> tuple[Array, Array]:
        """Return the distance [K] of points [K, 3] from the nearest known texel, and the mean colour [K, 3] of a few.

        Without any within `farthest` metres, they are infinity and 0.
        """
        count = min(_NEIGHBOURS, int(known.sum()))
        tree = cKDTree(self.points[known])
        distance, nearest = tree.query(points, k=count, distance_upper_bound=farthest)
        distance, nearest = distance.reshape(-1, count), nearest.reshape(-1, count)
        weight = 1 / (distance[..., None] + 1e-4)  # 0 for those too far
        chosen = np.vstack([colors[known], np.zeros(3)])[nearest]
        return distance[:, 0], (chosen * weight).sum(1) / weight.sum(1).clip(1e-9)

    def _share(self, texels: Array) -> float:
        return float(self._area[texels].sum() / self._area.sum())


def mesh_laplacian(faces: Array, count: int) -> csr_matrix:
    """Return the graph Laplacian [V, V] of a mesh, times the stiffness of an edge."""
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    edges = coo_matrix((np.full(len(starts), _EDGE / 2), (starts, ends)), (count, count))
    edges = (edges + edges.T).tocsr()
    return diags(np.asarray(edges.sum(1))[:, 0]) - edges
