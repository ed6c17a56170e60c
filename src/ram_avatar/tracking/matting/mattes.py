"""Mattes with hair and fingers, from a detector's blurry person mask.

Each pixel near the outline has three explanations: it shows the person, the background, or a mix of both. The
background's colours come from the plate where it is known and agrees with the frame, and elsewhere from nearby pixels
that are certainly background; the person's come from nearby pixels that are certainly person. The mask and the fitted
mesh give the prior. Alpha is the expected share of the person over all explanations (`color_evidence.expected_alpha`).

This runs twice. The first pass, on a small image and in a wide band, corrects the mask: missing fingers, filled gaps
between arm and body. Neighbouring pixels vote, because single colours mislead. The second pass runs at up to 720 pixels
in a narrow band about that outline; a guided filter upsamples larger people.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import expit, logit

from ...rendering.compositing import PERSON
from .color_evidence import (
    CertainRegion,
    Palette,
    PlateView,
    expected_alpha,
    features_of,
    squared,
)

SMALL, LARGE = 320, 720  # longest side, in pixels, of the person's box in the two passes
_MARGIN = 0.06  # of the box: added about the mask
_REACH = 0.018  # of the box: half the width of the band in which the mask is uncertain
_CERTAIN, _ABSENT = 200, 25  # of 255: mask values of certain person and certain background, away from the outline
_RIDGE = 0.45  # limbs and gaps thinner than the band are certain beyond this share of half their width
_MESH = 0.15  # weight of the mesh in the prior
_AGREED = 0.3  # least prior where mesh and plate agree that the mask is wrong
_LEAST_PRIOR, _LEAST_PRIOR_LARGE = 0.01, 0.03

# Where colours are sampled, in pixels; see `CertainRegion`.
_PERSON_PLACES = tuple((away, side) for away in (0, 3, 8) for side in (0, -4, 4, 9, -9))
_PERSON_PLACES_LARGE = tuple((away, side) for away in (0, 4) for side in (0, -5, 5, 12, -12))
_BACKGROUND_PLACES = tuple((away, side) for away in (0, 2, 6) for side in (0, -4, 4))
_BACKGROUND_PLACES_LARGE = tuple((away, side) for away in (0, 4) for side in (0, -4, 4))

_VOTES = 8  # rounds
_ANY_NEIGHBOR, _LIKE_NEIGHBOR = 0.5, 1.0  # weight of a neighbour's vote, and its increase for the same colour
_LOUDEST = 4.0  # log odds of a pixel's own vote, at most
_OVERRULED = 0.3  # share of what the vote overruled that the second pass reconsiders
_EDGE = 0.0001 * 255**2  # regularization of the guided filters


class Matting:
    """Makes the mattes of a clip's frames, each from its frame alone.

    Args:
        plate: [H, W, 3] uint8 RGB, the scene without the person, registered to the frames.
        known: [H, W] bool, where the plate was seen; the rest of it is not used. None if all of it was seen.

    Raises:
        ValueError: `known` without a plate, or of another size.
    """

    def __init__(self, plate: np.ndarray | None = None, known: np.ndarray | None = None):
        if known is not None and (plate is None or known.shape != plate.shape[:2]):
            raise ValueError("known needs a plate of its size")
        self.plate = plate
        self.known = np.ones(plate.shape[:2], bool) if known is None and plate is not None else known

    def __call__(self, frame: np.ndarray, mask: np.ndarray, mesh: np.ndarray | None = None) -> np.ndarray:
        """Return the person's share of each pixel [H, W] uint8, 255 = all of it.

        A mask too small or faint for any certain pixel is returned as it is.

        Args:
            frame: [H, W, 3] uint8 RGB.
            mask: [H, W] uint8, the detector's person mask at the frame's size, 255 for person.
            mesh: [H, W] bool, the fitted mesh, accurate to a few percent of the person's height.

        Raises:
            ValueError: the sizes differ.
        """
        for name, other in (("mask", mask), ("mesh", mesh), ("plate", self.plate)):
            if other is not None and other.shape[:2] != frame.shape[:2]:
                raise ValueError(f"the {name} is {other.shape[:2]}, the frame {frame.shape[:2]}")
        matte = np.zeros_like(mask)
        box = box_of(mask, mesh)
        if box is None:
            return matte
        view = View(frame, mask, mesh, self.plate, self.known).crop(box)
        outline = find_outline(view.fit(SMALL))
        if outline is None:
            return mask.copy()
        alpha = draw_outline(view.fit(LARGE), outline)
        if alpha.shape != view.mask.shape:
            zoom = view.mask.shape[0] / alpha.shape[0]
            alpha = cv2.resize(alpha, view.mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
            alpha = cv2.ximgproc.guidedFilter(view.frame, alpha, max(2, round(zoom)), _EDGE, scale=0.5).clip(0, 1)
        matte[box] = np.rint(255 * alpha)
        return matte


@dataclass
class View:
    """A frame, or the part of it around the person, with what is known about it; see `Matting`."""

    frame: np.ndarray
    mask: np.ndarray
    mesh: np.ndarray | None
    plate: np.ndarray | None
    known: np.ndarray | None

    def crop(self, box: tuple[slice, slice]) -> "View":
        """Return the view of some rows and columns."""

        def cut(image: np.ndarray | None) -> np.ndarray | None:
            return None if image is None else image[box]

        return View(self.frame[box], self.mask[box], cut(self.mesh), cut(self.plate), cut(self.known))

    def fit(self, side: int) -> "View":
        """Return the view with at most `side` pixels on its longer side."""
        height, width = self.mask.shape
        zoom = side / max(height, width)
        if zoom >= 1:
            return self
        size = max(1, round(width * zoom)), max(1, round(height * zoom))

        def resize(image: np.ndarray) -> np.ndarray:
            if image.dtype == bool:
                image = 255 * image.view(np.uint8)
            return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

        return View(
            resize(self.frame),
            resize(self.mask),
            None if self.mesh is None else resize(self.mesh) > 127,
            None if self.plate is None else resize(self.plate),
            None if self.known is None else resize(self.known) == 255,
        )


def box_of(mask: np.ndarray, mesh: np.ndarray | None = None) -> tuple[slice, slice] | None:
    """Return the rows and columns of mask and mesh with a margin, or None if the mask shows nobody."""
    shown = mask >= PERSON
    if not shown.any():
        return None
    left, top, width, height = cv2.boundingRect((shown if mesh is None else shown | mesh).view(np.uint8))
    margin = 6 + int(_MARGIN * max(width, height))
    return slice(max(0, top - margin), top + height + margin), slice(max(0, left - margin), left + width + margin)


@dataclass
class Outline:
    """What the first pass found, at its size."""

    features: np.ndarray  # [3, h, w] of the frame
    alpha: np.ndarray  # [h, w] in [0, 1]
    prior: np.ndarray  # [h, w]: alpha, with some of what the vote overruled
    background: Palette
    plate: PlateView | None

    def trimap(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where person and where background is certain now, both [h, w] bool."""
        inner = (self.alpha > 0.9) & (self.prior > 0.8)
        outer = (self.alpha < 0.1) & (self.prior < 0.2)
        return _shrink(inner, 1), _shrink(outer, 1)


def find_outline(view: View) -> Outline | None:
    """Run the first pass, which corrects the mask. Return None if no pixel of the mask is certain."""
    reach = max(2, round(_REACH * max(view.mask.shape)))
    person, background = _certain(view, reach)
    if not person.any():
        return None
    features, prior, plate = features_of(view.frame), _prior(view, reach), None
    if view.plate is not None and view.known is not None:
        trusted = background & view.known
        if view.mesh is not None:
            trusted &= ~_grow(view.mesh, 2 * reach)
        plate = PlateView.fit(view.frame, view.plate, trusted, view.known)
        ghosts = person & plate.shown(features)  # masks are often filled between arm and body
        person &= ~(ghosts if view.mesh is None else ghosts & ~view.mesh)
        hidden = plate.hidden(features) & background  # masks often miss fingers and hair
        background &= ~(hidden & _grow(view.mask > 127, 3 * reach))
        if view.mesh is not None:
            agreed = hidden & _grow(view.mesh, reach)
            background &= ~agreed
            prior[agreed] = np.maximum(prior[agreed], _AGREED)

    at = np.flatnonzero(~(person | background))
    prior = prior.ravel()[at].clip(_LEAST_PRIOR, 1 - _LEAST_PRIOR)
    palette = Palette(features, background, 0.1)
    alone = person.astype(np.float32)
    alone.ravel()[at] = expected_alpha(
        features,
        at,
        prior,
        CertainRegion(person, Palette(features, person, 1.0), _PERSON_PLACES),
        CertainRegion(background, palette, _BACKGROUND_PLACES),
        _plate_at(plate, at, view),
    )
    alpha = _vote(alone, features, at)
    alpha = cv2.ximgproc.guidedFilter(view.frame, alpha, 2, _EDGE).clip(0, 1)
    # A thin line inside the mask is a seam of the clothes, even if it looks like the background.
    sure = view.mask > _CERTAIN
    alpha = np.where(sure, cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), alpha)
    alone = np.where(sure, np.maximum(alpha, alone), alone)
    prior = alpha + _OVERRULED * (alone - alpha)
    attached = _attached(np.maximum(alpha, prior) > 0.25, person)
    return Outline(features, alpha * attached, prior * attached, palette, plate)


def draw_outline(view: View, outline: Outline) -> np.ndarray:
    """Run the second pass: return alpha [H, W] in [0, 1] at the view's size."""
    size = view.mask.shape[::-1]
    inner, outer = outline.trimap()
    person, background = (
        cv2.resize(part.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for part in (inner, outer)
    )
    at = np.flatnonzero(~(person | background))
    prior = cv2.resize(outline.prior, size, interpolation=cv2.INTER_LINEAR).ravel()[at]
    alpha = person.astype(np.float32)
    alpha.ravel()[at] = expected_alpha(
        features_of(view.frame),
        at,
        prior.clip(_LEAST_PRIOR_LARGE, 1 - _LEAST_PRIOR_LARGE),
        CertainRegion(person, Palette(outline.features, inner, 1.0), _PERSON_PLACES_LARGE),
        CertainRegion(background, outline.background, _BACKGROUND_PLACES_LARGE),
        _plate_at(outline.plate, at, view),
    )
    return cv2.medianBlur(alpha, 3)  # removes single pixels


def _plate_at(plate: PlateView | None, at: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """`PlateView.at` pixels of a view; None without a plate."""
    return None if plate is None or view.plate is None else plate.at(at, view.plate)


def _certain(view: View, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the mask is certain, both [h, w] bool: person, and background.

    Both stay `reach` away from the mask's outline; limbs and gaps too thin for that keep their middle.
    """
    inside, outside = _depth(view.mask > _CERTAIN), _depth(view.mask <= _ABSENT)
    middle, gap = (_RIDGE * cv2.dilate(depth, _disc(reach)) for depth in (inside, outside))
    person = inside > np.minimum(reach, np.maximum(middle, 1.2))
    background = outside > np.minimum(reach, np.maximum(gap, 1.5))
    if view.mesh is not None:  # except in gaps, where the mask is better than a slightly misplaced mesh
        background &= ~(_grow(view.mesh, 1) & (gap >= reach))
    return person, background


def _prior(view: View, reach: int) -> np.ndarray:
    """Probability [h, w] that a pixel is person, by the mask and the mesh alone."""
    chance = expit((_depth(view.mask > 127) - _depth(view.mask <= 127)) / (0.3 * reach))
    if view.mesh is not None:
        near_mesh = cv2.blur(view.mesh.astype(np.float32), (2 * reach + 1, 2 * reach + 1))
        chance += _MESH * (near_mesh - chance)
    return chance


def _vote(alone: np.ndarray, features: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Alpha [h, w] after votes of the eight neighbours: the mean field of a binary random field.

    Args:
        alone: [h, w] alpha by each pixel's own evidence.
        features: [3, h, w]; votes of neighbours of the same colour count more.
        at: pixels whose own evidence may be overruled.
    """
    height, width = alone.shape
    own = logit(alone.clip(1e-4, 1 - 1e-4)).ravel()
    overruled = own[at].clip(-_LOUDEST, _LOUDEST)
    own *= 10
    own[at] = overruled
    own = own.reshape(alone.shape)
    pairs = []
    for down, right, weight in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.7), (1, -1, 0.7)):
        here = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        there = slice(down, height), slice(max(0, right), width - max(0, -right))
        alike = np.exp(squared(features[:, *here] - features[:, *there]) / np.float32(-400))
        pairs.append((here, there, np.float32(weight) * (_ANY_NEIGHBOR + _LIKE_NEIGHBOR * alike)))
    opinion = 2 * alone - 1
    for _ in range(_VOTES):
        heard = own.copy()
        for here, there, weight in pairs:
            heard[here] += weight * opinion[there]
            heard[there] += weight * opinion[here]
        opinion = np.tanh(heard / 2)
    return (opinion + 1) / 2


def _attached(region: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The parts of a region [h, w] bool that are connected to the certain person."""
    count, label = cv2.connectedComponents(region.view(np.uint8))
    kept = np.zeros(count, bool)
    kept[label[person & region]] = True
    return kept[label]


def _depth(region: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a region [h, w] bool to its edge, in pixels; 0 outside."""
    return cv2.distanceTransform(region.view(np.uint8), cv2.DIST_L2, 5)


def _grow(region: np.ndarray, radius: int) -> np.ndarray:
    return cv2.dilate(region.view(np.uint8), _disc(radius)) > 0


def _shrink(region: np.ndarray, radius: int) -> np.ndarray:
    return cv2.erode(region.view(np.uint8), _disc(radius)) > 0


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
