"""Registration of one frame to another by features of the background: track them, fit a transform, assess the fit.

Points are in pixels with centres at half integers, as everywhere in the package.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ...core.images import for_opencv
from ...rendering.compositing import PERSON

SIDE = 640  # pixels: frames are registered at this size, with features located to a twentieth of a pixel
_SPREAD, _CENTER, _GAIN = (
    45.0,
    128.0,
    4.0,
)  # levels of the normalized image; the gain is bounded for the grain of bare walls
_CELL, _PER_CELL = 32, 3  # pixels; features per cell: so that no caption outvotes the room
_CORNER, _ABOVE_GRAIN = 5.0, 12.0  # least eigenvalue of the gradients: absolute, and relative to plain parts
_KEEP_OFF = 0.02  # of the side: distance of features from the person
_WINDOW, _LEVELS = 21, 3
_THERE_AND_BACK = 0.5  # pixels
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.005)
_COARSE = 3.0  # pixels: a swaying phone's homography is within that of a similarity
FEWEST = 10  # features that must agree
_SHARE = 0.35  # of the tracked features that must agree
_LOOSE = 6.0  # pixels: how far a homography's corners may leave the similarity's where there are no features


class View:
    """A frame made small and gray with normalized exposure, and its background.

    Args:
        frame: RGB [H, W, 3] uint8.
        mask: the person [h, w] uint8, any size.
    """

    def __init__(self, frame: np.ndarray, mask: np.ndarray):
        self.scale = max(1.0, max(frame.shape[:2]) / SIDE)  # source pixels to one of the view
        size = max(1, round(frame.shape[1] / self.scale)), max(1, round(frame.shape[0] / self.scale))
        gray = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        width = 2 * round(_KEEP_OFF * max(size)) + 1
        person = (cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) >= PERSON).astype(np.uint8)
        self.free = cv2.dilate(person, np.ones((width, width), np.uint8)) == 0
        self._gray = gray
        seen = gray[self.free] if self.free.any() else gray.ravel()
        gain = min(_GAIN, _SPREAD / max(1.0, float(seen.std())))
        even = (gray - np.float32(seen.mean())) * np.float32(gain) + _CENTER
        self.even = even.clip(0, 255).astype(np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.even.shape[1], self.even.shape[0]

    @cached_property
    def features(self) -> np.ndarray:
        """The strongest corners in each part of the background [P, 2] float32; few or none on a bare wall."""
        strength = cv2.cornerMinEigenVal(self._gray.astype(np.float32), 5)
        plain = np.percentile(strength[self.free], 25) if self.free.any() else 0.0
        enough = max(_CORNER, _ABOVE_GRAIN * plain)
        peaks = (strength >= cv2.dilate(strength, np.ones((7, 7), np.uint8))) & (strength > enough) & self.free
        border = _WINDOW // 2
        peaks[:border], peaks[-border:], peaks[:, :border], peaks[:, -border:] = False, False, False, False
        rows, columns = np.nonzero(peaks)
        order = np.argsort(-strength[rows, columns], kind="stable")
        rows, columns = rows[order], columns[order]
        cells = rows // _CELL * (1 + self.size[0] // _CELL) + columns // _CELL
        rank = np.zeros(len(cells), int)
        by_cell = np.argsort(cells, kind="stable")
        starts = np.flatnonzero(np.diff(cells[by_cell], prepend=-1))
        rank[by_cell] = np.arange(len(cells)) - np.repeat(starts, np.diff(starts, append=len(cells)))
        kept = rank < _PER_CELL
        return np.stack([columns[kept], rows[kept]], 1).astype(np.float32) + 0.5

    @cached_property
    def grips(self) -> np.ndarray:
        """How well each feature is localized by direction, as a share of its best [P, 2, 2], symmetric.

        A point on a curtain's fold is well localized across the fold, and hardly along it.
        """
        x, y = (cv2.Sobel(self.even, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        box = (_WINDOW, _WINDOW)
        sums = [cv2.boxFilter(a * b, cv2.CV_32F, box) for a, b in ((x, x), (x, y), (y, y))]
        column, row = np.floor(self.features.T).astype(int)
        xx, xy, yy = (s[row, column].astype(float) for s in sums)
        values, vectors = np.linalg.eigh(np.stack([xx, xy, xy, yy], 1).reshape(-1, 2, 2))
        share = np.sqrt(np.maximum(values, 0) / np.maximum(values[:, 1:], 1e-9))
        return np.einsum("pij,pj,pkj->pik", vectors, share, vectors)

    def shows(self, points: np.ndarray) -> np.ndarray:
        """Return which of the points [P, 2] lie in the image and on the background."""
        column, row = np.floor(points.T).astype(int)
        width, height = self.size
        inside = (column > 0) & (row > 0) & (column < width - 1) & (row < height - 1)
        return inside & self.free[row.clip(0, height - 1), column.clip(0, width - 1)]

    @cached_property
    def described(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Points [P, 2] and ORB descriptors [P, 32], to find a frame again that tracking lost."""
        points, descriptors = cv2.ORB.create(1500, fastThreshold=7).detectAndCompute(
            self.even, self.free.astype(np.uint8)
        )
        return np.array([p.pt for p in points], np.float32).reshape(-1, 2) + 0.5, descriptors


@dataclass(frozen=True)
class Matches:
    """Where features of one view are in another."""

    here: np.ndarray  # [P, 2] float32 in the frame
    there: np.ndarray  # [P, 2] float32 in the view that it is registered to
    grip: np.ndarray  # [P, 2, 2] how well each is localized in the view that it is registered to, see `View.grips`
    sought: int  # how many features there were to find: those not occluded

    def errors(self, matrix: np.ndarray) -> np.ndarray:
        """Return the residuals [P, 2] of a transform in pixels, weighted by how well features are localized."""
        return np.einsum("pij,pj->pi", self.grip, self.there - project(matrix, self.here.astype(float)))


@dataclass(frozen=True)
class Registration:
    """A transform from here to there, and how reliable it is."""

    matrix: np.ndarray  # [3, 3]
    agree: np.ndarray  # [P] bool
    residual: float  # pixels: the median over all matches, also those that disagree
    spread: float  # pixels: root mean square over those that agree
    uncertainty: float  # pixels: standard deviation of the worst corner

    @property
    def sound(self) -> bool:
        """Whether enough features agree on it."""
        if self.agree.sum() < FEWEST or self.agree.mean() < _SHARE:
            return False
        zoom = np.sqrt(abs(np.linalg.det(self.matrix[:2, :2])))
        return bool(0.5 < zoom < 2)


def match(key: View, view: View, guess: np.ndarray) -> Matches | None:
    """Find the features of `key` in `view`.

    Features are tracked once to fit a coarse transform, and again in the frame warped by it, since tracking is biased
    where the image is turned or scaled.

    Args:
        guess: [3, 3] key to view, where to look first.

    Returns:
        None if they do not agree on a transform.
    """
    start = project(guess, key.features)
    visible = view.shows(start)
    points, grips = key.features[visible], key.grips[visible]
    if len(points) < FEWEST:
        return None
    moved, found = _track(key.even, view.even, points, start[visible].astype(np.float32), _LEVELS)
    found &= view.shows(moved)
    coarse = fit_similarity(Matches(moved[found], points[found], grips[found], len(points)), key.size)
    if coarse is None or coarse.agree.mean() < _SHARE / 2:
        return None
    back = np.linalg.inv(coarse.matrix)
    warped = _relit(key, view, back)
    moved, found = _track(key.even, warped, points, points, 1)
    home, found_back = _track(warped, key.even, moved, moved, 1)
    here = project(back, moved).astype(np.float32)
    kept = found & found_back & (np.linalg.norm(home - points, axis=1) < _THERE_AND_BACK) & view.shows(here)
    return Matches(here[kept], points[kept], grips[kept], int(view.shows(project(back, points)).sum()))


def _relit(key: View, view: View, matrix: np.ndarray) -> np.ndarray:
    """The view warped onto the key and as bright as it, where both show the background.

    Other content changes the mean, and a difference in brightness biases every feature.
    """
    matrix = for_opencv(matrix)
    inverse = cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(
        view.even, matrix, key.size, flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REPLICATE
    )
    both = cv2.warpPerspective(view.free.astype(np.uint8), matrix, key.size, flags=cv2.INTER_NEAREST | inverse) > 0
    both &= key.free
    if not both.any():
        return warped
    (mean, spread), (own_mean, own_spread) = ((x[both].mean(), x[both].std()) for x in (key.even, warped))
    gain = spread / max(1.0, own_spread)
    return (np.float32(gain) * (warped - np.float32(own_mean)) + np.float32(mean)).clip(0, 255).astype(np.uint8)


def _track(
    source: np.ndarray, target: np.ndarray, points: np.ndarray, start: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where points [P, 2] are in the target, and whether they were found [P] bool."""
    half = np.float32(0.5)  # OpenCV counts from pixel centres
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        points[:, None] - half,
        start[:, None] - half,
        winSize=(_WINDOW, _WINDOW),
        maxLevel=levels,
        criteria=_CRITERIA,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return moved[:, 0] + half, found[:, 0] == 1


def find_again(key: View, view: View) -> np.ndarray | None:
    """Return a first guess of the transform [3, 3] from `key` to `view` without a prior, or None."""
    (points, described), (others, others_described) = key.described, view.described
    if described is None or others_described is None or min(len(points), len(others)) < FEWEST:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(described, others_described)
    if len(pairs) < FEWEST:
        return None
    source = points[[p.queryIdx for p in pairs]]
    target = others[[p.trainIdx for p in pairs]]
    matrix, agree = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_COARSE)
    if matrix is None or agree.sum() < FEWEST:
        return None
    return np.vstack([matrix, [0, 0, 1]])


def fit_similarity(matches: Matches, size: tuple[int, int]) -> Registration | None:
    """Fit the similarity from here to there that most matches agree on; None if there is none.

    Args:
        size: width and height of the views.
    """
    if len(matches.here) < FEWEST:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(
        matches.here, matches.there, ransacReprojThreshold=_COARSE, confidence=0.999
    )
    if matrix is None or agree.sum() < FEWEST:
        return None
    matrix, near = np.vstack([matrix, [0, 0, 1]]), agree[:, 0] == 1
    middle = matches.here.mean(0).astype(float)
    jacobian = _grip(matches.grip, _similarity_jacobian(matches.here - middle))
    for _ in range(8):
        errors = matches.errors(matrix)
        weights, near = _trust(errors, near)
        if weights.sum() < FEWEST / 2:
            return None
        a, b, *shift = _solve(jacobian, errors, weights)
        step = np.array([[a, -b, 0], [b, a, 0], [0, 0, 0]])
        step[:2, 2] = shift - step[:2, :2] @ middle
        matrix = matrix + step
    return _registration(matrix, matches, near, jacobian, _similarity_jacobian(corners(size) - middle))


def fit_homography(matches: Matches, size: tuple[int, int], start: Registration) -> Registration:
    """Fit a homography, starting from a similarity, near which it stays where there are no features."""
    here, ends = matches.here.astype(float), corners(size)
    # Centred and of size one, so that the eight parameters are of similar scale.
    middle, half = np.array(size) / 2, max(size) / 2
    norm = np.array([[1 / half, 0, -middle[0] / half], [0, 1 / half, -middle[1] / half], [0, 0, 1]])
    unnorm = np.linalg.inv(norm)
    a, c = project(norm, here), project(norm, ends)
    held = project(start.matrix, ends)
    matrix, near = norm @ start.matrix @ unnorm, start.agree
    for _ in range(8):
        errors = matches.errors(unnorm @ matrix @ norm)
        weights, near = _trust(errors, near)
        scale = max(0.05, np.sqrt((weights[:, None] * errors**2).sum() / max(1e-9, weights.sum())))
        jacobian = half * np.concatenate(
            [_grip(matches.grip, _homography_jacobian(matrix, a)), _homography_jacobian(matrix, c)]
        )
        missed = np.concatenate([errors, held - project(unnorm @ matrix, c)])
        step = _solve(jacobian, missed, np.concatenate([weights, np.full(4, (scale / _LOOSE) ** 2)]))
        matrix = matrix + np.append(step, 0).reshape(3, 3)
    return _registration(unnorm @ matrix @ norm, matches, near, jacobian[:-8], jacobian[-8:])


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points [..., 2] by homographies [..., 3, 3]."""
    moved = points @ matrix[..., :2, :2].swapaxes(-1, -2) + matrix[..., None, :2, 2]
    return moved / (points @ matrix[..., 2, :2, None] + matrix[..., 2:, 2:])


def corners(size: tuple[int, int]) -> np.ndarray:
    """Return the corners [4, 2] of an image of that width and height."""
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], float)


def _trust(errors: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tukey's weights [P] for errors [P, 2] in pixels, and which are inliers [P]."""
    away = np.linalg.norm(errors, axis=1)
    usual = float(np.median(away[near])) if near.any() else 1.0
    near = away < max(_COARSE, 3 * usual)
    scale = max(0.05, 1.2 * usual)
    return np.where(near, (1 - np.minimum(1, away / (4 * scale)) ** 2) ** 2, 0), near


def _grip(grips: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """A Jacobian [2 P, D], weighted by how well features are localized."""
    return np.einsum("pij,pjk->pik", grips, jacobian.reshape(len(grips), 2, -1)).reshape(jacobian.shape)


def _solve(jacobian: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least squares [D]."""
    rows = np.sqrt(weights.repeat(2))
    return np.linalg.lstsq(rows[:, None] * jacobian, rows * errors.ravel(), rcond=None)[0]


def _similarity_jacobian(points: np.ndarray) -> np.ndarray:
    """[2 P, 4] by rotation and zoom (two parameters) and translation."""
    x, y = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    return np.stack([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)], 1).reshape(-1, 4)


def _homography_jacobian(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[2 P, 8] by the first eight entries of the matrix."""
    ones = np.concatenate([points, np.ones((len(points), 1))], 1)
    depth = ones @ matrix[2]
    x, y = project(matrix, points).T
    zero = np.zeros_like(ones)
    over = ones / depth[:, None]
    first = np.concatenate([over, zero, -x[:, None] * over[:, :2]], 1)
    second = np.concatenate([zero, over, -y[:, None] * over[:, :2]], 1)
    return np.stack([first, second], 1).reshape(-1, 8)


def _registration(
    matrix: np.ndarray, matches: Matches, near: np.ndarray, jacobian: np.ndarray, ends: np.ndarray
) -> Registration:
    """Assess a fit; the Jacobians are those of the matches [2 P, D] and of the four corners [8, D]."""
    errors = matches.errors(matrix)
    weights, _ = _trust(errors, near)
    away, agree = np.linalg.norm(errors, axis=1), weights > 0.05
    spread = float(np.sqrt((away[agree] ** 2).mean())) if agree.any() else np.inf
    rows = jacobian * np.sqrt(weights.repeat(2))[:, None]
    covariance = np.linalg.pinv(rows.T @ rows) * spread**2 / 2
    variances = np.einsum("ri,ij,rj->r", ends, covariance, ends).reshape(4, 2).sum(1)
    residual = float(np.median(away)) if len(away) else np.inf
    return Registration(matrix, agree, residual, spread, float(np.sqrt(variances.max())))
