"""Sheets that hang from the body and swing: a grid of points with lengths that hold, pushed out of the body.

Position-based dynamics in small steps (Müller et al. 2007; Macklin et al. 2019), in NumPy and double precision: the
same motion always swings in the same way.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from .posing import Array

GRAVITY = np.array([0.0, 0.0, -9.81])
_ROUNDS = 4  # of corrections to the lengths in a step
_BACK = 0.9  # share of a pull that acts back on the row above (Müller, Kim and Chentanez 2012)
_FASTEST = 8.0  # metres per second; what a limb that teleports would throw beyond this is held


@dataclass(frozen=True)
class Fabric:
    """How a sheet yields."""

    narrowest: float
    """Least length between neighbouring columns, as a share of that at rest."""
    widest: float
    """Greatest length between them."""
    stiffness: float
    """Share of a fold between every other point that is straightened in a step, 0 to 1."""
    drag: float
    """Share of the velocity that the air takes per second."""
    friction: float
    """Share of the velocity along the body that a touch takes in a step."""
    gap: float
    """Distance from the body in metres."""


@dataclass(frozen=True)
class Skin:
    """A part of the body's surface in one moment."""

    points: Array
    """[K, 3]"""
    normals: Array
    """[K, 3] unit vectors."""
    steps: Array
    """[K, 3] how far the points moved in the last step."""

    DEEPEST = 0.06  # metres below the surface, from which a point is still pushed back out of it

    def push(self, points: Array, gap: float) -> tuple[Array, Array, Array, Array]:
        """Move points [P, 3] out of the body; return them, which ones were [P], and the body's step at each [P, 3]."""
        _, nearest = cKDTree(self.points, compact_nodes=False, balanced_tree=False).query(points)
        away = points - self.points[nearest]
        height = (away * self.normals[nearest]).sum(1)
        aside = _lengths(away - height[:, None] * self.normals[nearest])[:, 0]
        inside = (height < gap) & (height > -self.DEEPEST) & (aside < self.DEEPEST)
        lift = np.where(inside, gap - height, 0.0)
        return points + lift[:, None] * self.normals[nearest], inside, self.normals[nearest], self.steps[nearest]


@dataclass(frozen=True)
class Rods:
    """Thick lines with round ends."""

    starts: Array
    """[M, 3]"""
    ends: Array
    """[M, 3]"""
    radii: Array
    """[M] metres."""

    def push(self, points: Array) -> Array:
        """Move points [P, 3] out of the rod that they are deepest in."""
        along = self.ends - self.starts
        length = (along**2).sum(1).clip(1e-9)
        ahead = points @ along.T - (self.starts * along).sum(1)  # [P, M]
        share = (ahead / length).clip(0, 1)
        squares = (points**2).sum(1)[:, None] - 2 * points @ self.starts.T + (self.starts**2).sum(1)
        squares += share * (share * length - 2 * ahead)
        deepest = (np.sqrt(squares.clip(1e-12)) - self.radii).argmin(1)
        shares = share[np.arange(len(points)), deepest][:, None]
        away = points - self.starts[deepest] - shares * along[deepest]
        distance = _lengths(away)
        return points + away * ((self.radii[deepest][:, None] - distance).clip(min=0) / distance)


class Sheet:
    """A grid of R rows and C columns of points; the upper rows are fastened, the others hang.

    Args:
        rest: [R, C, 3], metres: its lengths at rest, and where it begins.
        fastened: number of fastened rows.
        closed: whether the last column is a neighbour of the first.
    """

    def __init__(self, rest: Array, fastened: int, closed: bool, fabric: Fabric) -> None:
        self.fastened, self.fabric = fastened, fabric
        self.shape = rest.shape
        self.points = rest.reshape(-1, 3).copy()  # [R C, 3]
        self._before = self.points.copy()
        self._free = np.repeat(np.arange(rest.shape[0]) >= fastened, rest.shape[1]).astype(float)[:, None]
        self._drops = np.linalg.norm(np.diff(rest, axis=0), axis=-1)[..., None]  # [R-1, C, 1]
        self._link(closed)

    def _link(self, closed: bool) -> None:
        """Collect the pairs of points that hold a length, with its limits and the share corrected in a round."""
        rows, columns, _ = self.shape
        number = np.arange(rows * columns).reshape(rows, columns)
        fabric, firsts, seconds, limits = self.fabric, [], [], []
        for down, aside, *limit in (  # the least and the greatest length, as shares of that at rest, and the share
            (0, 1, fabric.narrowest, fabric.widest, 1.0),
            (1, 0, 0.7, 1.0, 1.0),
            (1, 1, 0.75, 1.2, 0.5),
            (1, -1, 0.75, 1.2, 0.5),
            (0, 2, 0.95, 9.0, fabric.stiffness),
            (2, 0, 0.95, 9.0, fabric.stiffness),
        ):
            start = number[: rows - down]
            end = np.roll(number, -aside, 1)[down:]
            if not closed and aside:
                start, end = (n[:, :-aside] if aside > 0 else n[:, -aside:] for n in (start, end))
            firsts.append(start.ravel())
            seconds.append(end.ravel())
            limits.append(np.repeat([limit], start.size, 0))
        first, second = np.concatenate(firsts), np.concatenate(seconds)
        length = _lengths(self.points[second] - self.points[first])
        low, high, self._share = np.split(np.concatenate(limits), 3, axis=1)
        self._low, self._high = low * length, high * length
        count = np.arange(len(first))
        ends = csr_matrix((np.ones(len(first)), (count, second)), (len(first), rows * columns))
        starts = csr_matrix((np.ones(len(first)), (count, first)), (len(first), rows * columns))
        self._pairs = ends - starts
        # Fastened ends do not give way, so the other end takes all of a correction; 1.5 is over-relaxation.
        holding = (ends @ self._free + starts @ self._free).clip(1)
        load = np.asarray((ends + starts).T @ self._share)
        self._pull = csr_matrix(self._pairs.T.multiply(1.5 * self._free / load.clip(1)).multiply(1 / holding.T))

    def step(self, fastened: Array, skin: Skin, rods: Rods | None, floor: float, seconds: float) -> None:
        """Advance by a short time.

        Args:
            fastened: [.., 3] where the fastened points are now.
            skin: the body.
            rods: further obstacles.
            floor: height of the floor, metres.
        """
        move = (self.points - self._before) * (1 - self.fabric.drag * seconds)
        move *= np.minimum(1.0, _FASTEST * seconds / _lengths(move))
        self._before = self.points.copy()
        points = self.points + self._free * (move + GRAVITY * seconds**2)
        points[: len(fastened)] = fastened
        for _ in range(_ROUNDS):
            apart = self._pairs @ points
            length = _lengths(apart)
            error = self._share * (length - length.clip(self._low, self._high)) / length
            points = points - self._pull @ (error * apart)
        points = self._hang(points)  # and what it pulls slows what it hangs from
        free = self._free[:, 0] > 0
        hanging = points[free] if rods is None else rods.push(points[free])
        hanging, touched, normals, body = skin.push(hanging, self.fabric.gap)
        hanging[:, 2] = hanging[:, 2].clip(floor + self.fabric.gap)
        points[free] = hanging
        slip = points[free] - self._before[free] - body
        self._before[free] += (self.fabric.friction * touched)[:, None] * slip
        bounce = ((slip * normals).sum(1) * touched).clip(min=0)[:, None]
        self._before[free] += (1 - self.fabric.friction) * bounce * normals  # cloth does not bounce
        self.points = points

    def _hang(self, points: Array) -> Array:
        """Return the points, row by row from the top, no farther from the row above than at rest."""
        grid, before = points.reshape(self.shape).copy(), self._before.reshape(self.shape)
        for row in range(self.fastened, len(grid)):
            below = grid[row] - grid[row - 1]
            shift = below * (np.minimum(1.0, self._drops[row - 1] / _lengths(below)) - 1)
            grid[row] += shift
            if row > self.fastened:
                before[row - 1] += _BACK * shift
        return grid.reshape(-1, 3)


def grid_faces(rows: int, columns: int, closed: bool) -> tuple[Array, Array]:
    """Return the triangles of a grid, outside to the left of increasing columns seen from above, and their UV corners.

    Returns:
        [F, 3] indices into the R C points, and [F, 3] indices into R (C + closed) texture coordinates: a closed grid's
        seam has two columns of them.
    """
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - (not closed)), indexing="ij")

    def triangles(width: int) -> Array:
        corner = lambda down, aside: ((row + down) * width + (column + aside) % width).ravel()
        upper = np.stack([corner(0, 0), corner(1, 0), corner(0, 1)], 1)
        lower = np.stack([corner(0, 1), corner(1, 0), corner(1, 1)], 1)
        return np.concatenate([upper, lower])

    return triangles(columns), triangles(columns + closed)


def grid_uv(rows: int, columns: int, closed: bool) -> Array:
    """Return texture coordinates of a grid: u along the columns, v up; see `grid_faces`."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + closed), np.linspace(1, 0, rows))
    return np.stack([u.ravel(), v.ravel()], 1)


def _lengths(vectors: Array) -> Array:
    """Return the lengths [K, 1] of vectors [K, 3], not quite 0."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors).clip(1e-18))[:, None]
