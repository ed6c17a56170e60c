"""What a pixel's colour says about its alpha: whether it shows the person, the background, or a mix of both."""

from dataclasses import dataclass

import cv2
import numpy as np

Places = tuple[tuple[int, int], ...]
_Samples = tuple[np.ndarray, np.ndarray, np.ndarray]  # [3, N, K], which are valid [N, K], their variance [N, 1]

# Variances of colours, in the units of `features_of`.
_PERSON_LEAST, _BACKGROUND_LEAST, _MOST = 8.0**2, 4.0**2, 12.0**2  # bounds on the variance of samples
_PLATE_LEAST = 2.5**2  # least variance between frame and plate
_PLATE_MOST = 15.0**2  # where it is larger, the plate is not used
_OUTLIER = 25.0  # differences from the plate are clipped to this
_ALIKE = 2.5  # mean squared deviation from the plate of pixels that show it
_UNLIKE = 16.0  # squared deviation of a pixel that shows something else

# Prior probability of each explanation.
_MIXED = 0.15
_STRANGE, _STRANGE_PLATE = 0.15, 0.02  # of person and background, and of the known plate: an unexpected colour
_SHADOWED = 0.05  # of the background
_DARKEST = 0.5  # a shadow keeps at least this share of the light
_SEAM = 0.5  # of the person's colours: a mix of two samples, as at the edge of a stripe
_FARTHER = 0.3  # of colours: from anywhere in the image rather than from nearby samples
_ANY_COLOR = 1 / 255**3  # density of an arbitrary colour

_LUMA, _CHROMA = 1.6, 1.4  # factors that make distances close to those in RGB
_NEUTRAL = np.float32(_CHROMA * 128)  # chroma of gray in `features_of`


def features_of(picture: np.ndarray) -> np.ndarray:
    """Return scaled luma and chroma [3, H, W] float32 of [H, W, 3] uint8 RGB; distances are close to those in RGB."""
    factors = np.array([_LUMA, _CHROMA, _CHROMA], np.float32)[:, None, None]
    return cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).transpose(2, 0, 1) * factors


def squared(vectors: np.ndarray) -> np.ndarray:
    """Return squared lengths over the first axis, of three elements."""
    return vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2


# Expected colours -----------------------------------------------------------------------------------------------


class Palette:
    """A histogram of the colours of some pixels of a small image, by height in it.

    Args:
        features: [3, h, w].
        seeds: [h, w] bool.
        shared: weight of the colours of all heights in each.
    """

    _bands, _bins, _width = 6, 18, 24.0

    def __init__(self, features: np.ndarray, seeds: np.ndarray, shared: float):
        at = np.flatnonzero(seeds)
        shape = (self._bands, self._bins, self._bins, self._bins)
        where = self._where(features.reshape(3, -1)[:, at], at / seeds.size)
        counts = np.bincount(where, minlength=int(np.prod(shape))).reshape(shape).astype(np.float32)
        for axis in range(4):
            spread = counts.copy()
            source, target = np.moveaxis(counts, axis, 0), np.moveaxis(spread, axis, 0)
            target[1:] += 0.5 * source[:-1]
            target[:-1] += 0.5 * source[1:]
            counts = spread
        counts += shared * counts.mean(0, keepdims=True)
        total = counts.sum((1, 2, 3), keepdims=True)
        self._density = (counts / np.maximum(total, 1) / self._width**3).ravel()

    def density(self, colors: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Return the density [N] of colours [3, N] at heights [N] in [0, 1) from the top."""
        return self._density[self._where(colors, height)]

    def _where(self, colors: np.ndarray, height: np.ndarray) -> np.ndarray:
        bins = (colors / self._width).astype(np.int32).clip(0, self._bins - 1)
        band = (height * self._bands).astype(np.int32)
        return ((band * self._bins + bins[0]) * self._bins + bins[1]) * self._bins + bins[2]


@dataclass
class CertainRegion:
    """The pixels of an image that are certainly person, or certainly background."""

    pixels: np.ndarray  # [H, W] bool
    palette: Palette
    places: Places  # offsets of samples from the certain pixel nearest to an uncertain one: (farther away, sideways)

    def samples(self, features: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return colours [3, N, K] near pixels [N], and which are valid [N, K]; K is 0 if nothing is certain."""
        if not self.pixels.any():
            return np.zeros((3, len(at), 0), np.float32), np.zeros((len(at), 0), bool)
        height, width = self.pixels.shape
        nearest = self._nearest(at)
        row, column = np.divmod(nearest, width)
        down, right = (row - at // width).astype(np.float32), (column - at % width).astype(np.float32)
        length = np.maximum(np.hypot(down, right), 1)
        down, right = down / length, right / length
        chosen = np.empty((len(at), len(self.places)), np.int32)
        for k, (away, side) in enumerate(self.places):
            rows = np.rint(row + away * down - side * right).astype(np.int32)
            columns = np.rint(column + away * right + side * down).astype(np.int32)
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            chosen[:, k] = np.where(inside, rows * width + columns, -1)
        valid = self.pixels.ravel()[chosen] & (chosen >= 0)
        return features.reshape(3, -1)[:, chosen], valid

    def _nearest(self, at: np.ndarray) -> np.ndarray:
        """Flat indices [N] of the certain pixels nearest to pixels [N]."""
        others = (~self.pixels).view(np.uint8)
        _, label = cv2.distanceTransformWithLabels(others, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        known = np.flatnonzero(self.pixels)
        pixel = np.zeros(label.max() + 1, np.int32)
        pixel[label.ravel()[known]] = known
        return pixel[label.ravel()[at]]


@dataclass
class PlateView:
    """The plate as one frame shows it: with its exposure, local differences in brightness, and where it is usable."""

    gain: np.ndarray  # [3] of RGB
    drift: np.ndarray  # [3, h, w] added to features
    variance: np.ndarray  # [h, w] between it and the frame's background
    usable: np.ndarray  # [h, w] bool
    colors: np.ndarray  # [3, h, w] its features at this size

    @classmethod
    def fit(cls, frame: np.ndarray, plate: np.ndarray, trusted: np.ndarray, known: np.ndarray) -> "PlateView":
        """Compare a frame with the plate, both [h, w, 3] uint8 RGB.

        Args:
            trusted: [h, w] bool, where the frame certainly shows the background and the plate is known.
            known: [h, w] bool, where the plate is known.
        """
        gain = np.ones(3, np.float32)
        if trusted.sum() > 100:
            gain = np.median((frame[trusted] + 10.0) / (plate[trusted] + 10.0), axis=0).astype(np.float32)
        seen, colors = features_of(frame), features_of(_brighten(plate, gain))
        weight = trusted.astype(np.float32)
        radius = max(2, round(0.05 * max(weight.shape)))

        def nearby(values: np.ndarray) -> np.ndarray:
            for _ in range(2):
                values = cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_CONSTANT)
            return values

        share = nearby(weight) + 0.02
        # Clipped, so that a hand that the mask missed does not spoil the plate around it.
        change = (seen - colors).clip(-_OUTLIER, _OUTLIER)
        drift = np.stack([nearby(channel * weight) for channel in change]) / share
        colors += drift
        error = (squared(seen - colors) / 3).clip(None, _OUTLIER**2)
        usual = 2 * np.median(error[trusted]) if trusted.any() else _PLATE_MOST
        variance = (nearby(error * weight) + np.float32(0.02 * usual)) / share
        return cls(gain, drift, variance.clip(_PLATE_LEAST), known & (variance < _PLATE_MOST), colors)

    def shown(self, features: np.ndarray) -> np.ndarray:
        """Return where [h, w] bool the frame looks like the plate."""
        return self.usable & (cv2.blur(self._deviation(features), (3, 3)) < _ALIKE)

    def hidden(self, features: np.ndarray) -> np.ndarray:
        """Return where [h, w] bool the frame shows something else, and not just a shadow."""
        change, tint = _darkening(features, self.colors)
        shadow = (change < 0) & (change > _DARKEST - 1) & (tint < 9 * (self.variance + 9))
        return self.usable & (self._deviation(features) > _UNLIKE) & ~shadow

    def _deviation(self, features: np.ndarray) -> np.ndarray:
        return squared(features - self.colors) / (3 * self.variance)

    def at(self, pixels: np.ndarray, plate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features [3, N], their variance [N] and whether they are usable [N], at pixels of a plate of any size.

        Args:
            pixels: [N] flat indices.
            plate: [H, W, 3] uint8 RGB.
        """
        if not len(pixels):
            return np.empty((3, 0), np.float32), np.empty(0, np.float32), np.empty(0, bool)
        rows, columns = np.divmod(pixels, plate.shape[1])
        height, width = self.usable.shape
        here = rows * height // plate.shape[0] * width + columns * width // plate.shape[1]
        colors = features_of(_brighten(plate.reshape(-1, 1, 3)[pixels], self.gain))[..., 0]
        return colors + self.drift.reshape(3, -1)[:, here], self.variance.ravel()[here], self.usable.ravel()[here]


def _brighten(picture: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """An image [..., 3] uint8 times a gain [3]."""
    return np.rint(picture * gain).clip(0, 255).astype(np.uint8)


# The explanations -----------------------------------------------------------------------------------------------


def expected_alpha(
    features: np.ndarray,
    at: np.ndarray,
    prior: np.ndarray,
    person: CertainRegion,
    background: CertainRegion,
    plate: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """Return the expected alpha [N] of pixels, given their colours.

    Args:
        features: [3, H, W] of the frame.
        at: [N] flat indices of the pixels.
        prior: [N] probability that a pixel is person, in (0, 1).
        person, background: what is certain; its colours are expected nearby.
        plate: `PlateView.at` the pixels; used instead of samples of the background where it is usable.
    """
    if not len(at):
        return np.empty(0, np.float32)
    seen, height = features.reshape(3, -1)[:, at], at / person.pixels.size
    fore, fore_valid = person.samples(features, at)
    spread = _variance(fore, fore_valid, _PERSON_LEAST)
    is_person = _mean(_gaussian(squared(seen[..., None] - fore), spread), fore_valid)
    is_person += _SEAM * (_between(seen, fore, fore_valid, spread) - is_person)
    is_person += _FARTHER * (person.palette.density(seen, height) - is_person)
    is_person += _STRANGE * (_ANY_COLOR - is_person)

    is_background, is_mixed, share = (np.empty(len(at), np.float32) for _ in range(3))
    from_plate = np.zeros(len(at), bool) if plate is None else plate[2]
    for flat, known in ((np.flatnonzero(from_plate), plate), (np.flatnonzero(~from_plate), None)):
        if not len(flat):
            continue
        if known is not None:
            back, variance = known[0][:, flat, None], known[1][flat, None]
            valid, farther, strange = np.ones((len(flat), 1), bool), _FARTHER / 2, _STRANGE_PLATE
        else:
            back, valid = background.samples(features, at[flat])
            variance, farther, strange = _variance(back, valid, _BACKGROUND_LEAST), _FARTHER, _STRANGE
        colors = seen[:, flat, None]
        plain = _mean(_gaussian(squared(colors - back), variance), valid)
        plain += farther * (background.palette.density(seen[:, flat], height[flat]) - plain)
        dark = _mean(_shadow(colors, back, variance), valid)
        is_background[flat] = (1 - strange - _SHADOWED) * plain + _SHADOWED * dark + strange * _ANY_COLOR
        is_mixed[flat], share[flat] = _mixture(
            seen[:, flat], (fore[:, flat], fore_valid[flat], spread[flat]), (back, valid, variance)
        )
    person_weight = (1 - _MIXED) * prior * is_person
    background_weight = (1 - _MIXED) * (1 - prior) * is_background
    mixed_weight = _MIXED * is_mixed
    return (person_weight + mixed_weight * share) / (person_weight + background_weight + mixed_weight)


def _variance(colors: np.ndarray, valid: np.ndarray, least: float) -> np.ndarray:
    """Variance [N, 1] per channel of valid samples [3, N, K]."""
    weight = valid / np.maximum(valid.sum(1, dtype=np.float32), 1)[:, None]
    mean = np.einsum("cnk,nk->cn", colors, weight)
    variance = np.einsum("nk,nk->n", squared(colors - mean[..., None]), weight) / 3
    return (variance + np.float32(least)).clip(None, _MOST)[:, None]


def _mean(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean [N] of the valid values [N, K]; 0 where none is."""
    return np.einsum("nk,nk->n", values, valid) / np.maximum(valid.sum(1, dtype=np.float32), 1)


def _gaussian(apart: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Density of a colour at a squared distance `apart` from the mean."""
    return np.exp(np.float32(-0.5) / variance * apart) * (np.float32((2 * np.pi) ** -1.5) * variance**-1.5)


def _line(apart: np.ndarray, variance: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Density of a colour at a squared distance `apart` from a segment, uniform along it."""
    return np.exp(np.float32(-0.5) * apart / variance) * np.float32(0.5 / np.pi) / (variance * length)


def _between(seen: np.ndarray, samples: np.ndarray, valid: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Density [N] of colours [3, N] as mixes of two consecutive samples [3, N, K] of the person."""
    start, way = samples[..., :-1], samples[..., 1:] - samples[..., :-1]
    length = squared(way) + 1
    offset = seen[..., None] - start
    position = (offset[0] * way[0] + offset[1] * way[1] + offset[2] * way[2]) / length
    apart = (squared(offset) - position**2 * length).clip(0)
    both = valid[:, :-1] & valid[:, 1:]
    density = _line(apart, variance, np.sqrt(length + 4 * variance))
    return np.einsum("nk,nk->n", density, both & (position > 0) & (position < 1)) / max(1, both.shape[1])


def _shadow(seen: np.ndarray, back: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Density [N, K] of colours [3, N, 1] as backgrounds [3, N, K] in shadow."""
    change, tint = _darkening(seen, back)
    darker = (change < 0.02) & (change > _DARKEST - 1)
    return _line(tint, variance + 9, _DARKEST * (back[0] + 20)) * darker


def _darkening(seen: np.ndarray, back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative change of the light from a background, and the squared residual in chroma."""
    change = (seen[0] - back[0]) / (back[0] + 1)
    red, blue = (seen[k] - back[k] - change * (back[k] - _NEUTRAL) for k in (1, 2))
    return change, red**2 + blue**2


def _mixture(seen: np.ndarray, person: _Samples, background: _Samples) -> tuple[np.ndarray, np.ndarray]:
    """Density [N] of colours [3, N] as mixes of person and background, and the person's expected share [N]."""
    (fore, fore_valid, fore_variance), (back, back_valid, back_variance) = person, background
    density, shares = (np.zeros(seen.shape[1], np.float32) for _ in range(2))
    for k in range(back.shape[2]):
        offset = seen - back[..., k]
        way = fore - back[..., k, None]
        length = squared(way) + 1
        share = (offset[0, :, None] * way[0] + offset[1, :, None] * way[1] + offset[2, :, None] * way[2]) / length
        apart = (squared(offset)[:, None] - share**2 * length).clip(0)
        variance = share**2 * fore_variance + (1 - share) ** 2 * back_variance + 4
        valid = fore_valid & back_valid[:, k, None] & (share > 0.02) & (share < 0.98)
        each = _line(apart, variance, np.sqrt(length)) * valid
        density += np.einsum("nk->n", each)
        shares += np.einsum("nk,nk->n", each, share)
    pairs = np.maximum(fore_valid.sum(1, dtype=np.float32) * back_valid.sum(1, dtype=np.float32), 1)
    return density / pairs, shares / np.maximum(density, 1e-30)
