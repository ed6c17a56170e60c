"""Where a video cuts to another scene: a title card, a logo, another room.

Two frames are of different scenes if three tests fail to relate them: their thumbnails do not correlate, whatever the
exposure; corners cannot be tracked; and no features match up to a zoom and a shift. Fast movement, captions, changes of
light and hand-held cameras each leave one of the three tests standing.
"""

from collections.abc import Sequence

import cv2
import numpy as np

_THUMB, _SIDE = 32, 240  # pixels of the longer side: thumbnails, and images for features
_BLACK, _LIT = 24, 0.02  # of 255; share of the image below which it is black
_DIFFERENT = 12.0  # of 255: mean difference below which two frames are of one scene
_ALIKE = 0.75  # correlation of thumbnails from which frames are of one scene
_EXPOSURE = 3.0  # ratio of contrast that a change of exposure may cause; fades exceed it
_FOLLOWED = 0.15  # share of corners that can be tracked there and back, likewise
_MATCHES = 25  # features that match under one similarity, likewise
_MATCH_SHARE = 0.3  # share of all pairs of features that must be among those
_ZOOM = (0.5, 2.0)  # range of that similarity: one that shrinks to a point matches everything
_SLOWLY = 0.75  # seconds: longer transitions between scenes are missed
_PURE = 0.1  # share of another scene from which a frame belongs to neither
_MIX = 0.2  # of the difference between two scenes: frames farther from any mix of both are no blend
_REMEMBERED = 20  # scenes that may recur

TRANSITION = -1
"""The scene of frames that blend two scenes."""


class Scenes:
    """Divides a video into scenes while it is read.

    Args:
        fps: frames per second.
    """

    def __init__(self, fps: float):
        self._lag = max(2, round(_SLOWLY * fps))
        self._thumbs: list[np.ndarray] = []  # [N] of [h, w, 3]
        self._grays: list[np.ndarray] = []
        self._starts: list[int] = []  # first frames of scenes after a cut
        self._blended: list[int] = []  # frames that a slow transition separates from those `_lag` before

    def add(self, frame: np.ndarray) -> bool:
        """Take the next frame [H, W, 3] uint8 RGB; return True if it is the first of another scene."""
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
        """Return the scene of each frame [N], from 0; `TRANSITION` for blends. Recurring scenes keep their number."""
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
        for end, after in borders:  # from a scene to itself: a flash, or a fast pan
            if 0 < end <= after < count and labels[end - 1] == labels[after]:
                labels[end:after] = labels[after]
        return labels

    def _any_same(self, some: list[int], others: list[int]) -> bool:
        """Whether any of the frames are of one scene and equally bright."""
        return any(self._as_bright(a, b) and self._same(a, b) for a in some for b in others)

    def _as_bright(self, a: int, b: int) -> bool:
        first, second = (float(self._thumbs[i].std()) for i in (a, b))
        return max(first, second) <= _EXPOSURE * min(first, second)

    def _same(self, a: int, b: int) -> bool:
        """Whether two frames are of one scene."""
        first, second = self._thumbs[a], self._thumbs[b]
        lit = np.maximum(first, second).max(-1) > _BLACK  # bars are the same in all scenes
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
        """Shares of frame `last` in the frames first .. last, and what is in them of neither end.

        Both [last - first + 1], in shares of the difference between the two ends.
        """
        frames = np.stack(self._thumbs[first : last + 1]).astype(np.float32).reshape(last - first + 1, -1)
        across = frames[-1] - frames[0]
        off = frames - frames[0]
        share = off @ across / (across @ across)
        rest = off - share[:, None] * across
        return share, (rest**2).sum(1) / (across @ across)

    def _blends(self, here: int) -> bool:
        """Whether the frames up to this one blend one scene into another, rather than following a camera."""
        return bool(self._shares(here - self._lag, here)[1].max() < _MIX)

    def _borders(self) -> list[tuple[int, int]]:
        """The borders between scenes, in order: the end of one, and the start of the next."""
        cuts = [(start, start) for start in self._starts]
        slow = [(run[0] - self._lag, run[-1]) for run in runs(self._blended)]
        limits = [0, *self._starts, len(self._thumbs)]
        borders = []
        for start, _ in cuts:  # a cut may also end or begin a fade
            place = limits.index(start, 1)
            first, last = max(limits[place - 1], start - self._lag), min(limits[place + 1] - 1, start + self._lag)
            borders.append((self._end(first, start), self._begin(start - 1, last)))
        for first, last in slow:
            end, begin = self._end(first, last), self._begin(first, last)
            borders.append((min(end, begin), max(end, begin)))
        return sorted(borders)

    def _end(self, first: int, last: int) -> int:
        """The first frame of the run up to `last` that already holds some of it; or `last`."""
        share, rest = self._shares(first, last)
        pure = np.flatnonzero((share < _PURE) | (rest > _MIX))
        return first + int(pure[-1]) + 1

    def _begin(self, first: int, last: int) -> int:
        """The first frame after `first` that holds nothing of it any more, or is no blend."""
        share, rest = self._shares(first, last)
        pure = np.flatnonzero((share[1:] > 1 - _PURE) | (rest[1:] > _MIX))
        return first + 1 + int(pure[0])


def runs(frames: Sequence[int]) -> list[list[int]]:
    """Split increasing frame numbers where one is skipped."""
    found: list[list[int]] = []
    for frame in frames:
        if found and found[-1][-1] == frame - 1:
            found[-1].append(frame)
        else:
            found.append([frame])
    return found


def _small(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame shrunk to a longer side of `side` pixels."""
    scale = side / max(frame.shape[:2])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _followed(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the corners of a gray image that are tracked to another and back."""
    corners = cv2.goodFeaturesToTrack(a, 300, 0.005, 6)
    if corners is None or len(corners) < 8:
        return 0.0
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, np.zeros_like(corners))
    back, refound, _ = cv2.calcOpticalFlowPyrLK(b, a, there, np.zeros_like(there))
    near = np.linalg.norm(back - corners, axis=-1)[:, 0] < 1
    return float((near & (found[:, 0] == 1) & (refound[:, 0] == 1)).mean())


def _matches(a: np.ndarray, b: np.ndarray) -> int:
    """How many features of two gray images match under one similarity."""
    finder = cv2.ORB.create(400, edgeThreshold=12, patchSize=21, fastThreshold=8)
    (points, features), (others, theirs) = (
        finder.detectAndCompute(image, None)  # type: ignore[call-overload]  # the mask is optional
        for image in (a, b)
    )
    if features is None or theirs is None:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(features, theirs)
    if len(pairs) < _MATCHES:
        return 0
    here = np.array([points[pair.queryIdx].pt for pair in pairs], np.float32)
    there = np.array([others[pair.trainIdx].pt for pair in pairs], np.float32)
    found, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=3.0)
    if found is None or not _ZOOM[0] < np.hypot(found[0, 0], found[1, 0]) < _ZOOM[1]:
        return 0
    count = int(inliers.sum())
    return count if count >= _MATCH_SHARE * len(pairs) else 0
