"""The camera's path: where every frame lies in the scene."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .noise_smoothing import smooth_noise
from .registration import (
    FEWEST,
    Matches,
    Registration,
    View,
    corners,
    find_again,
    fit_homography,
    fit_similarity,
    match,
    project,
)

MOST_RESIDUAL = 0.0012  # of the larger side: background that fits worse is at several depths
MOST_LOST = 0.2  # of the frames
LEAST_SUPPORT = 0.45  # of the background's features; in a room with depth, only one wall moves as the camera does
_AT_REST = 0.0006  # of the larger side: registration noise of a camera on a tripod
_MOSTLY = 0.9  # of the frames at rest: a camera on a tripod, though it may have been bumped
_FAR = 0.2  # of the larger side: a frame this far from its key becomes a key
_FEW = 0.5  # of the most features that a frame shared with the key: likewise
_MORE = 1.3  # times the features: reason to register to a newer key
_SHARP = 0.7  # of the key's features: a frame with fewer is usually blurred, and no good key
_APART = 0.8  # of the larger side: a frame this far from the others shows little of the scene
_TRIED = 4  # keys to try again when a frame cannot be registered
_NEEDED = 1.08  # factor by which a homography must fit better than a similarity


@dataclass(frozen=True)
class CameraPath:
    """Where the frames of a clip lie in its scene: the image plane of one of them, extended beyond its borders."""

    to_scene: np.ndarray
    """[N, 3, 3] float64: pixels of frame n to pixels of the scene, centres at half integers."""
    residual: np.ndarray
    """[N] pixels of the source: median error of the background's features; NaN where not registered."""
    support: np.ndarray
    """[N] share of the background's features that move as the camera does; NaN where not registered."""
    registered: np.ndarray
    """[N] bool; the places of the others are interpolated."""
    reference: int
    """The frame whose pixels are the scene's."""
    shift: float
    """The farthest that a corner gets from where it was in the first frame, share of the larger side."""
    size: tuple[int, int]
    """Width and height of the source."""

    @property
    def still(self) -> bool:
        """Whether the camera stands still: every transform is exactly the identity."""
        return bool((self.to_scene == np.eye(3)).all())

    @property
    def moves(self) -> bool:
        return not self.still

    def of(self, frames: np.ndarray) -> "CameraPath":
        """Return the path of some frames [N] bool alone."""
        return replace(
            self,
            to_scene=self.to_scene[frames],
            residual=self.residual[frames],
            support=self.support[frames],
            registered=self.registered[frames],
        )

    @property
    def lost(self) -> float:
        """Share of the frames that are not registered."""
        return float(1 - self.registered.mean())

    @property
    def reliable(self) -> bool:
        """Whether one plate can hold the background: it fits most of the frames, and most of what they show."""
        if self.lost > MOST_LOST or np.nanmedian(self.support) < LEAST_SUPPORT:
            return False
        return bool(np.nanpercentile(self.residual, 90) < MOST_RESIDUAL * max(self.size))


@dataclass
class _Key:
    """A frame that others are registered to."""

    frame: int
    view: View
    root: int  # the key that its place is relative to
    place: np.ndarray  # [3, 3] to the root
    best: int = 0  # most features that a frame shared with it


@dataclass(frozen=True)
class _Link:
    """How a frame was registered."""

    key: int
    matches: Matches


class PathFinder:
    """Finds the camera's path from frames that come one at a time.

    Each frame is registered directly to one of a few key frames, so that errors do not accumulate: to the first as long
    as most of its features are visible. Only the images of the key frames are kept.
    """

    def __init__(self) -> None:
        self._keys: list[_Key] = []
        self._links: list[_Link | None] = []
        self._roots: list[int] = []  # per frame; -1 where it is not registered
        self._bare = 0  # frames without features
        self._current = 0  # the key in use
        self._place = np.eye(3)  # of the last frame, to the root
        self._size = self._small = (1, 1)
        self._scale = 1.0

    def add(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Take the next frame.

        Args:
            frame: RGB [H, W, 3] uint8.
            mask: the person [h, w] uint8, any size; see `compositing.PERSON`.
        """
        number = len(self._links)
        self._links.append(None)
        self._roots.append(-1)
        view = View(frame, mask)
        self._size, self._small, self._scale = (frame.shape[1], frame.shape[0]), view.size, view.scale
        found = self._register(view)
        if found is None:
            if len(view.features) < FEWEST:
                self._bare += 1
            else:
                self._start(number, view)
            return
        index, matches, fitted = found
        key = self._keys[index]
        self._links[number], self._roots[number] = _Link(index, matches), key.root
        self._place, self._current = key.place @ fitted.matrix, index
        shared, features = int(fitted.agree.sum()), len(view.features)
        key.best = max(key.best, shared)
        far = _distance(fitted.matrix, self._small) > _FAR * max(self._small)
        sharp = features > _SHARP * len(key.view.features) or shared < _FEW / 2 * key.best
        if (far or shared < _FEW * key.best) and sharp and features >= FEWEST:
            self._keys.append(_Key(number, view, key.root, self._place))
            self._current = len(self._keys) - 1

    def _start(self, number: int, view: View) -> None:
        """Make this frame a root: it shows nothing that was seen before."""
        index = len(self._keys)
        if self._keys and self._current == index - 1 and self._keys[-1].root == index - 1 and not self._keys[-1].best:
            index -= 1  # nothing was registered to the last one: forget it, or a long walk would fill the memory
            self._roots[self._keys.pop().frame] = -1
        self._keys.append(_Key(number, view, index, np.eye(3)))
        self._roots[number], self._current, self._place = index, index, np.eye(3)

    def _register(self, view: View) -> tuple[int, Matches, Registration] | None:
        """The key that shares most with a frame, the features that both show, and a first fit."""
        if not self._keys:
            return None
        main = int(np.bincount([r for r in self._roots if r >= 0]).argmax())
        root = self._keys[self._current].root
        if root != main and (found := self._recover(view, main)):
            return found
        apart = [
            _distance(np.linalg.inv(k.place) @ self._place, self._small) if k.root == root else np.inf
            for k in self._keys
        ]
        best = None
        # Older keys first: the fewer keys lie between a frame and the root, the smaller the error.
        for index in sorted({root, self._current, int(np.argmin(apart))}):
            guess = np.linalg.inv(self._place) @ self._keys[index].place
            found = self._try(index, view, guess)
            if found and (best is None or found[2].agree.sum() > _MORE * best[2].agree.sum()):
                best = found
            if best and best[2].agree.sum() > _FEW * self._keys[best[0]].best:
                break
        return best or self._recover(view, root)

    def _recover(self, view: View, root: int) -> tuple[int, Matches, Registration] | None:
        """Look for a frame near those keys of a root that most frames were registered to."""
        used = np.bincount([link.key for link in self._links if link], minlength=len(self._keys))
        keys = [i for i in np.argsort(-used, kind="stable").tolist() if self._keys[i].root == root]
        for index in keys[:_TRIED]:
            for guess in (np.eye(3), find_again(self._keys[index].view, view)):
                if guess is not None and (found := self._try(index, view, guess)):
                    return found
        return None

    def _try(self, index: int, view: View, guess: np.ndarray) -> tuple[int, Matches, Registration] | None:
        matches = match(self._keys[index].view, view, guess)
        if matches is None:
            return None
        fitted = fit_similarity(matches, self._small)
        return (index, matches, fitted) if fitted and fitted.sound else None

    def find(self) -> CameraPath:
        """Return the path over all frames that were added. In front of a bare wall, the camera counts as still.

        Raises:
            ValueError: no frame was added.
        """
        count = len(self._links)
        if not count:
            raise ValueError("no frame was added")
        if self._bare > count / 2:
            every = np.ones(count, bool)
            return CameraPath(_standing(count), np.zeros(count), np.ones(count), every, count // 2, 0.0, self._size)
        roots = np.array(self._roots)
        order, links = self._join(roots)
        simple, rich = self._fit(order, links)
        known = np.sort(order)
        known = known[self._near(simple, known)]
        registered = np.isin(np.arange(count), known)
        there, _, reference = self._corners(simple, known)
        rests = np.linalg.norm(there - np.median(there, 0), axis=-1).max(1) <= _AT_REST * max(self._small)
        best = simple if rests.mean() > _MOSTLY or not _better(rich, simple) else rich
        if not rests.all():
            there, doubt, reference = self._corners(best, known)
            if rests.mean() <= _MOSTLY:
                way = smooth_noise(there.reshape(len(known), 8), np.maximum(doubt, 0.01), known)
                there = way.reshape(there.shape)
        to_scene = self._interpolate(there, known, int(known[reference]))
        if rests.mean() > _MOSTLY:
            to_scene[np.interp(np.arange(count), known, rests.astype(float)) == 1] = np.eye(3)
        shift = np.linalg.norm(there - there[0], axis=-1).max() / max(self._small)
        residual = np.where(registered, best.residual * self._scale, np.nan)
        support = np.where(registered, best.support, np.nan)
        reference = int(known[reference])
        return CameraPath(to_scene, residual, support, registered, reference, float(shift), self._size)

    def _join(self, roots: np.ndarray) -> tuple[np.ndarray, list[_Link | None]]:
        """The frames whose places are known, each after its key, and their links.

        Those of the root with most frames, and of others that turn out to show the same scene, as after a cut.
        """
        main = int(np.bincount(roots[roots >= 0]).argmax())
        order, links = [np.flatnonzero(roots == main)], list(self._links)
        for index, key in enumerate(self._keys):
            if key.root != index or index == main:
                continue
            if found := self._recover(key.view, main):
                links[key.frame] = _Link(found[0], found[1])
                order.append(np.flatnonzero(roots == index))
        return np.concatenate(order), links

    def _near(self, fits: "_Fits", known: np.ndarray) -> np.ndarray:
        """[K] which frames share something with most others: one image plane cannot hold a view all around."""
        there = np.stack([project(fits.places[n], corners(self._small)) for n in known])
        away = np.linalg.norm(there - np.median(there, 0), axis=-1).max(1)
        return away < _APART * max(self._small)

    def _fit(self, order: np.ndarray, links: list[_Link | None]) -> tuple["_Fits", "_Fits"]:
        """Similarities and homographies of the frames."""
        simple, rich = _Fits(len(links)), _Fits(len(links))
        for n in order.tolist():
            link = links[n]
            if link is None:
                for fits in (simple, rich):
                    fits.residual[n], fits.support[n] = 0.0, 1.0
                continue
            first = fit_similarity(link.matches, self._small)
            if first is None:  # it fitted when the link was made
                raise AssertionError("a link without a fit")
            key, sought = self._keys[link.key].frame, link.matches.sought
            simple.take(n, key, first, sought)
            rich.take(n, key, fit_homography(link.matches, self._small, first), sought)
        return simple, rich

    def _corners(self, fits: "_Fits", known: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """The frames' corners [K, 4, 2] in the most central view, their doubt [K], and that view's number."""
        ends = corners(self._small)
        there = np.stack([project(fits.places[n], ends) for n in known])
        midst = int(np.linalg.norm(there - np.median(there, 0), axis=-1).max(1).argmin())
        back = np.linalg.inv(fits.places[known[midst]])
        return np.stack([project(back, t) for t in there]), fits.doubt[known], midst

    def _interpolate(self, there: np.ndarray, known: np.ndarray, reference: int) -> np.ndarray:
        """Transforms [N, 3, 3] of all frames, in pixels of the source, from the corners of the known ones."""
        every, ends = np.arange(len(self._links)), corners(self._small)
        way = np.stack([np.interp(every, known, values) for values in there.reshape(len(known), 8).T], 1)
        way = way.reshape(-1, 4, 2)
        scale = np.diag([*np.array(self._size) / self._small, 1.0])
        home = _between(way[reference], ends)
        to_scene = np.stack([scale @ home @ _between(ends, w) @ np.linalg.inv(scale) for w in way])
        to_scene /= to_scene[:, 2:, 2:]
        to_scene[reference] = np.eye(3)
        return to_scene


class _Fits:
    """Where N frames lie by one kind of transform."""

    def __init__(self, count: int):
        self.places = _standing(count)  # [N, 3, 3] to the first frame
        self.residual = np.full(count, np.nan)
        self.spread = np.full(count, np.nan)
        self.support = np.full(count, np.nan)
        self.doubt = np.zeros(count)  # standard deviation of the worst corner

    def take(self, frame: int, key: int, fitted: Registration, sought: int) -> None:
        self.places[frame] = self.places[key] @ fitted.matrix
        self.residual[frame], self.spread[frame] = fitted.residual, fitted.spread
        self.support[frame] = fitted.agree.sum() / max(1, sought)
        self.doubt[frame] = np.hypot(self.doubt[key], fitted.uncertainty)


def _better(rich: _Fits, simple: _Fits) -> bool:
    """Whether the richer transforms fit better than their additional parameters alone would explain."""
    gain = (simple.spread + 0.01) / (rich.spread + 0.01)
    return bool(np.isfinite(gain).any() and np.nanmedian(gain) > _NEEDED)


def _standing(count: int) -> np.ndarray:
    return np.tile(np.eye(3), (count, 1, 1))


def _distance(matrix: np.ndarray, size: tuple[int, int]) -> float:
    """How far a transform moves a corner of an image."""
    ends = corners(size)
    return float(np.linalg.norm(project(matrix, ends) - ends, axis=1).max())


def _between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The homography [3, 3] from four points to four points."""
    return cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
