"""The brightness and tint of each frame, since phones keep adjusting exposure and white balance."""

import cv2
import numpy as np

from ...core.images import for_opencv
from ...rendering.compositing import PERSON
from .noise_smoothing import smooth_noise
from .path import CameraPath

NO_DRIFT = 0.01  # of the brightness: gains within this range count as one
_SIDE = 96  # pixels of the longer side that gains are measured at
_DARK, _BRIGHT = 12, 243  # levels between which a gain can be measured
_MARGIN = 0.04  # of the side, about the person: shadows, and light that clothes reflect
_FEWEST = 40  # pixels that a frame and the scene must share
_MOST_FRAMES = 200  # for the scene's brightness
_ROUNDS = 4


class ExposureMeter:
    """Measures each frame's gain on its background. Takes the same frames as `PathFinder`."""

    def __init__(self) -> None:
        self._small: list[np.ndarray] = []  # [h, w, 3] uint8
        self._usable: list[np.ndarray] = []  # [h, w] bool

    def add(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Take the next frame.

        Args:
            frame: RGB [H, W, 3] uint8.
            mask: the person [h, w] uint8, any size; see `PERSON`.
        """
        scale = min(1.0, _SIDE / max(frame.shape[:2]))
        size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
        width = 2 * round(_MARGIN * max(size)) + 1
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        person = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) >= PERSON / 2).astype(np.uint8)
        free = cv2.dilate(person, np.ones((width, width), np.uint8)) == 0
        self._small.append(small)
        self._usable.append(free & (small.min(-1) > _DARK) & (small.max(-1) < _BRIGHT))

    def find(self, path: CameraPath) -> np.ndarray:
        """Return the gain of each frame by channel [N, 3]: frame = gain x scene.

        The scene is as bright as most frames. Gains are exactly one throughout if nothing drifts, and interpolated
        where a frame is not registered or shows too little of the background.

        Raises:
            ValueError: `path` is of another number of frames.
        """
        count = len(self._small)
        if count != len(path.to_scene):
            raise ValueError(f"{count} frames were measured and {len(path.to_scene)} registered")
        known = np.flatnonzero(path.registered).tolist()
        logs = {n: self._in_scene(n, path) for n in known}
        known = [n for n in known if np.isfinite(logs[n][..., 0]).sum() >= _FEWEST]
        if len(known) < 2:
            return np.ones((count, 3))
        gains = {n: np.zeros(3) for n in known}
        some = known[:: -(-len(known) // _MOST_FRAMES)]
        with np.errstate(invalid="ignore"):
            for _ in range(_ROUNDS):
                scene = _median(np.stack([logs[n] - gains[n] for n in some]))
                gains = {n: _of_pixels(logs[n] - scene, gains[n]) for n in known}
        found = np.stack([gains[n] for n in known])
        noise = np.array([_noise(logs[n] - scene) for n in known])
        found = smooth_noise(found - np.median(found, 0), noise, np.array(known))
        low, high = np.percentile(found, [2, 98], axis=0)
        if (high - low < NO_DRIFT).all():
            return np.ones((count, 3))
        return np.exp(np.stack([np.interp(np.arange(count), known, f) for f in found.T], 1))

    def _in_scene(self, number: int, path: CameraPath) -> np.ndarray:
        """[h, w, 3] logarithm of the frame's levels in the scene's pixels; NaN where they cannot be measured."""
        small, usable = self._small[number], self._usable[number]
        size = small.shape[1], small.shape[0]
        zoom = np.diag([size[0] / path.size[0], size[1] / path.size[1], 1.0])
        to_scene = for_opencv(zoom @ path.to_scene[number] @ np.linalg.inv(zoom))
        levels = cv2.warpPerspective(small.astype(np.float32), to_scene, size)
        # A pixel counts only if all that it is interpolated from does.
        whole = cv2.warpPerspective(usable.astype(np.float32), to_scene, size) > 0.99
        return np.where(whole[..., None], np.log(np.maximum(levels, 1)), np.nan).astype(np.float32)


def _median(stack: np.ndarray) -> np.ndarray:
    """Median over the first axis of values that are not NaN; NaN where less than a quarter are."""
    order = np.sort(stack, axis=0)  # NaN come last
    shown = np.isfinite(order).sum(0)
    middle = np.take_along_axis(order, np.maximum(shown - 1, 0)[None] // 2, 0)[0]
    return np.where(shown >= max(1, len(stack) // 4), middle, np.nan)


def _of_pixels(difference: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the median difference [3]; `before` if too few pixels are valid."""
    valid = np.isfinite(difference[..., 0])
    return np.median(difference[valid], 0) if valid.sum() >= _FEWEST else before


def _noise(difference: np.ndarray) -> float:
    """Standard deviation of the median over pixels, which are not independent."""
    valid = difference[np.isfinite(difference[..., 0])]
    if len(valid) < _FEWEST:
        return 0.1
    spread = float(np.median(np.abs(valid - np.median(valid, 0)))) / 0.6745
    return max(2e-4, 1.25 * spread / np.sqrt(len(valid) / 8))
