"""Smooth fields over the surface of a body, from values at its texels. For them, the UV chart has no seams."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import splu

from .filling import mesh_laplacian
from .texels import Texels

Array = np.ndarray


class SurfaceFields:
    """Moves values between the M texels of a body and its V vertices, and smooths them there."""

    def __init__(self, texels: Texels):
        faces, vertices = texels.template.faces.numpy(), texels.body.reference_vertices().numpy()
        count = len(vertices)
        corners = faces[texels.triangle.numpy()].astype(np.int32)
        starts = np.arange(0, 3 * len(texels) + 1, 3, dtype=np.int32)
        mix = csr_matrix((texels.barycentric.numpy().ravel(), corners.ravel(), starts), (len(texels), count))
        self._to_texels, self._to_vertices = mix, mix.T.tocsr()
        self._texels = np.asarray(mix.sum(0))[0].clip(1e-3)  # [V]
        self._stiffness = mesh_laplacian(faces, count)
        areas = np.linalg.norm(np.cross(*(vertices[faces[:, k]] - vertices[faces[:, 0]] for k in (1, 2))), axis=1) / 2
        self.area = np.bincount(faces.ravel(), areas.repeat(3) / 3, count).clip(1e-9)  # [V] square metres
        degree = self._stiffness.diagonal()
        self._around = diags(1 / degree.clip(1e-9)) @ (diags(degree) - self._stiffness)

    def at_texels(self, values: Array) -> Array:
        """Interpolate values [V(, C)] of vertices at the texels, [M(, C)]."""
        return self._to_texels @ values.astype(np.float32)

    def at_vertices(self, values: Array, weights: Array) -> tuple[Array, Array]:
        """Return the weighted mean [V, C] of texels' values [M, C] about each vertex, and its share of weight [V]."""
        total = self._to_vertices @ weights
        mean = (self._to_vertices @ (values * weights[:, None])) / total.clip(1e-6)[:, None]
        return mean, total / self._texels

    def around(self, values: Array) -> Array:
        """Return the mean [V, C] of the neighbours' values [V, C]."""
        return self._around @ values

    def smoother(self, reach: float) -> Callable[[Array, Array], Array]:
        """Return a function from values [V, C] and their weights [V] to their smooth mean [V, C].

        The weight of a value falls by a factor e over `reach` metres along the surface: a screened Poisson equation.
        """
        system = (diags(self.area) + reach**2 * self._stiffness).tocsc()
        solve = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve

        def smooth(values: Array, weights: Array) -> Array:
            weighted = np.column_stack([values * weights[:, None], weights])
            sums = solve(weighted * self.area[:, None])
            return sums[:, :-1] / sums[:, -1:].clip(1e-9)

        return smooth
