"""Where a video cuts to another scene: a title card, a logo, another room.

Two frames are of different scenes if nothing of the one is found in the other: small pictures of them are not
alike, whatever the exposure, corners cannot be followed, and no features match up to a zoom and a shift. A person
who moves fast, captions, a change of light, and a camera in the hand each leave one of the three standing.
"""

from collections.abc import Sequence

import cv2
import numpy as np

_THUMB, _SIDE = 32, 240  # pixels of the longer side: to compare as a whole, and to find features in
_BLACK, _LIT = 24, 0.02  # of 255; share of the picture, below which it is black
_DIFFERENT = 12.0  # of 255: mean difference below which nothing has happened
_ALIKE = 0.75  # correlation of the small pictures from which frames are of one scene
_EXPOSURE = 3.0  # times as much contrast that another exposure may have; what fades has less
_FOLLOWED = 0.15  # share of corners that can be followed there and back, likewise
_MATCHES = 25  # features that match under one zoom, turn and shift, likewise
_MATCH_SHARE = 0.3  # of the pairs of features, which have to be among those, too
_ZOOM = (0.5, 2.0)  # of that match: what is drawn together into a point matches everything
_SLOWLY = 0.75  # seconds: longer transitions between scenes are not noticed
_PURE = 0.1  # share of another scene from which a frame belongs to neither
_MIX = 0.2  # of the difference between two scenes: a frame further from any mixture of both is no blend of them
_REMEMBERED = 20  # scenes, of which one may come back

TRANSITION = -1
"""The scene of frames that blend two scenes."""


class Scenes:
    """Divides a video into scenes while it is read."""

    def __init__(self, fps: float):
        self._lag = max(2, round(_SLOWLY * fps))
        self._thumbs: list[np.ndarray] = []  # [N] of [h, w, 3]
        self._grays: list[np.ndarray] = []
        self._starts: list[int] = []  # first frames of scenes after a cut
        self._blended: list[int] = []  # frames that a slow transition has led away from those `_lag` before

    def add(self, frame: np.ndarray) -> bool:
        """Look at the next frame [H, W, 3] uint8 RGB; True where another scene is first seen in it."""
        self._thumbs.append(_small(frame, _THUMB))
        self._grays.append(cv2.cvtColor(_small(frame, _SIDE), cv2.COLOR_RGB2GRAY))
        here = len(self._thumbs) - 1
        if here and not self._same(here - 1, here):
            self._starts.append(here)
            return True
        since = here - (self._starts[-1] if self._starts else 0)
        if since >= self._lag and not self._same(here - self._lag, here) and self._blends(here):
            self._blended.append(here)
            return len(self._blended) < 2 or self._blended[-2] != here - 1
        return False

    def labels(self) -> np.ndarray:
        """[N] which scene each frame is of, from 0 on; `TRANSITION` for blends of two.

        A scene that comes back has the number that it had.
        """
        count, borders = len(self._thumbs), self._borders()
        labels = np.full(count, TRANSITION)
        starts, stops = [0] + [after for _, after in borders], [end for end, _ in borders] + [count]
        seen: list[tuple[int, list[int]]] = []  # label and some frames of the scenes so far
        for start, stop in zip(starts, stops, strict=True):
            if start >= stop:
                continue
            looks = sorted({start, min(start + 2, stop - 1), max(start, stop - 3), stop - 1})
            known = (label for label, others in reversed(seen) if self._any_same(others, looks))
            label = next(known, 1 + max((label for label, _ in seen), default=-1))
            labels[start:stop] = label
            seen = [*seen[1 - _REMEMBERED :], (label, looks)]
        for end, after in borders:  # from a scene to itself: a flash, or a camera that turned fast
            if 0 < end <= after < count and labels[end - 1] == labels[after]:
                labels[end:after] = labels[after]
        return labels

    def _any_same(self, some: list[int], others: list[int]) -> bool:
        """Whether any frame of the one is of the scene of the other, as bright as that."""
        return any(self._as_bright(a, b) and self._same(a, b) for a in some for b in others)

    def _as_bright(self, a: int, b: int) -> bool:
        first, second = (float(self._thumbs[i].std()) for i in (a, b))
        return max(first, second) <= _EXPOSURE * min(first, second)

    def _same(self, a: int, b: int) -> bool:
        """Whether two frames are of one scene."""
        first, second = self._thumbs[a], self._thumbs[b]
        lit = np.maximum(first, second).max(-1) > _BLACK  # bars at the edges are the same in all scenes
        if lit.mean() < _LIT:
            return True
        first, second = first[lit].astype(np.float32), second[lit].astype(np.float32)
        if np.abs(first - second).mean() < _DIFFERENT:
            return True
        first, second = first - first.mean(0), second - second.mean(0)
        size = float(np.linalg.norm(first) * np.linalg.norm(second))
        if size > 0 and float((first * second).sum()) >= _ALIKE * size:
            return True
        grays = self._grays[a], self._grays[b]
        return _followed(*grays) >= _FOLLOWED or _matches(*grays) >= _MATCHES

    def _shares(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """How much of frame `last` there is in the frames first .. last, which blend it with `first`, and what is
        in them of neither: [last - first + 1] each, shares of the difference between the two."""
        frames = np.stack(self._thumbs[first : last + 1]).astype(np.float32).reshape(last - first + 1, -1)
        way = frames[-1] - frames[0]
        off = frames - frames[0]
        share = off @ way / (way @ way)
        rest = off - share[:, None] * way
        return share, (rest**2).sum(1) / (way @ way)

    def _blends(self, here: int) -> bool:
        """Whether the frames up to this one go over from one scene to another, and not along with a camera."""
        return bool(self._shares(here - self._lag, here)[1].max() < _MIX)

    def _borders(self) -> list[tuple[int, int]]:
        """Between two scenes each, in order: the end of the first, and the start of the second."""
        cuts = [(start, start) for start in self._starts]
        slow = [(run[0] - self._lag, run[-1]) for run in runs(self._blended)]
        limits = [0, *self._starts, len(self._thumbs)]
        borders = []
        for start, _ in cuts:  # which may come at the end or the beginning of a fade
            place = limits.index(start, 1)
            first, last = max(limits[place - 1], start - self._lag), min(limits[place + 1] - 1, start + self._lag)
            borders.append((self._end(first, start), self._begin(start - 1, last)))
        for first, last in slow:
            end, begin = self._end(first, last), self._begin(first, last)
            borders.append((min(end, begin), max(end, begin)))
        return sorted(borders)

    def _end(self, first: int, last: int) -> int:
        """The first of the frames before `last`, and next to it, that hold some of it already; or `last`."""
        share, rest = self._shares(first, last)
        pure = np.flatnonzero((share < _PURE) | (rest > _MIX))
        return first + int(pure[-1]) + 1

    def _begin(self, first: int, last: int) -> int:
        """The first of the frames after `first` that holds nothing of it any more, or is no blend."""
        share, rest = self._shares(first, last)
        pure = np.flatnonzero((share[1:] > 1 - _PURE) | (rest[1:] > _MIX))
        return first + 1 + int(pure[0])


def runs(frames: Sequence[int]) -> list[list[int]]:
    """Increasing frame numbers, divided where one is skipped."""
    found: list[list[int]] = []
    for frame in frames:
        if found and found[-1][-1] == frame - 1:
            found[-1].append(frame)
        else:
            found.append([frame])
    return found


def _small(frame: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(frame.shape[:2])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _followed(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the corners of a gray picture that are found in another, and found again from there."""
    corners = cv2.goodFeaturesToTrack(a, 300, 0.005, 6)
    if corners is None or len(corners) < 8:
        return 0.0
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None)
    back, refound, _ = cv2.calcOpticalFlowPyrLK(b, a, there, None)
    near = np.linalg.norm(back - corners, axis=-1)[:, 0] < 1
    return float((near & (found[:, 0] == 1) & (refound[:, 0] == 1)).mean())


def _matches(a: np.ndarray, b: np.ndarray) -> int:
    """How many features of two gray pictures match under one zoom, turn and shift."""
    finder = cv2.ORB_create(400, edgeThreshold=12, patchSize=21, fastThreshold=8)
    (points, features), (others, theirs) = (finder.detectAndCompute(picture, None) for picture in (a, b))
    if features is None or theirs is None:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(features, theirs)
    if len(pairs) < _MATCHES:
        return 0
    here = np.float32([points[pair.queryIdx].pt for pair in pairs])
    there = np.float32([others[pair.trainIdx].pt for pair in pairs])
    found, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=3.0)
    if found is None or not _ZOOM[0] < np.hypot(found[0, 0], found[1, 0]) < _ZOOM[1]:
        return 0
    count = int(inliers.sum())
    return count if count >= _MATCH_SHARE * len(pairs) else 0
