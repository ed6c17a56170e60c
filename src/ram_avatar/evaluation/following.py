"""How closely a result follows its driver, in figures that do not depend on the two builds.

Both are seen by the same detector. Angles of limbs and head are compared frame by frame, gestures of face and fingers
by their correlation over the clip, and trembling by the ratio of the accelerations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..tracking.detection.landmarks import Landmarks
from ..tracking.observations import Observations, observe
from .figures import Figure
from .gestures import GESTURES, LIDS, gestures
from .head_turns import HEAD_ANGLES, face_shape, head_turns, turned_apart
from .jitter import joint_accelerations, visible_joints
from .limb_angles import CLOSE, LIMBS, limb_angles, summarize_angles
from .metric_catalog import Series

MIN_FACE = 60.0  # pixels; in smaller faces the detector cannot see a mouth or lids move
MIN_FRAMES = 24  # in which both are seen, for a correlation
# Standard deviation over the clip below which the driver's gesture is little more than the detector's noise.
_MOVES = {"mouth": 0.02, **dict.fromkeys(LIDS, 0.02), **dict.fromkeys(GESTURES[3:], 10.0)}


@dataclass(frozen=True)
class Following:
    """How closely one clip follows another."""

    figures: dict[str, Figure]
    """By name (`FIGURES`)."""
    series: Series
    """By name (group "following" of `METRICS`): [N]."""


class Follower:
    """Compares clips with one driver.

    Args:
        expected: N frames of the driver, in pixels of the video they were filmed in, stabilized.
        numbers: [N] of the frames in the clip, increasing; None if no frames were skipped.
    """

    def __init__(self, expected: Sequence[Landmarks], numbers: Sequence[int] | None = None):
        self._expected, self._numbers = expected, range(len(expected)) if numbers is None else numbers
        self._driver = _observed(expected)
        self._gestures = gestures(self._driver)
        self._large = _face_heights(self._driver) >= MIN_FACE
        seen = self._driver.seen["face"].any()
        self._shape = face_shape(self._driver) if seen else None
        self._turns = head_turns(self._driver, self._shape) if self._shape is not None else None

    def __call__(self, found: Sequence[Landmarks]) -> Following:
        """Compare the same frames of a result with the driver.

        Args:
            found: N frames, in pixels of one picture that stands still.

        Raises:
            ValueError: The clips differ in length.
        """
        angles = limb_angles(found, self._expected)
        result = _observed(found)
        figures: dict[str, Figure] = {}
        series: Series = {}
        for limb, bones in LIMBS.items():
            names = f"{limb}_angle", f"{limb}_followed"
            figures |= dict(zip(names, _limb_figures(angles[:, bones]), strict=True))
            series |= dict(zip(names, _limb_series(angles[:, bones]), strict=True))
        turned, of_head = self._head(result)
        deviations, of_gestures = self._gestures_of(result)
        figures |= of_head | of_gestures | {"jitter": self._jitter(result)}
        return Following(figures, series | turned | deviations)

    def _head(self, result: Observations) -> tuple[Series, dict[str, Figure]]:
        if self._shape is None or self._turns is None:
            return {}, dict.fromkeys(HEAD_ANGLES, Figure(None, "the driver's face is not seen"))
        apart = turned_apart(head_turns(result, self._shape), self._turns)
        if not np.isfinite(apart).any():
            return {}, dict.fromkeys(HEAD_ANGLES, Figure(None, "the face is never found where the driver's is seen"))
        series = dict(zip(HEAD_ANGLES, apart.T, strict=True))
        return series, {name: Figure(float(np.nanmean(values))) for name, values in series.items()}

    def _gestures_of(self, result: Observations) -> tuple[Series, dict[str, Figure]]:
        ours, figures, series = gestures(result), {}, {}
        for name in GESTURES:
            theirs = self._gestures[name]
            if name in ("mouth", *LIDS):
                shown, large = np.isfinite(theirs).sum(), np.isfinite(theirs) & self._large
                if shown >= MIN_FRAMES > large.sum():
                    why = f"the driver's face is {MIN_FACE:g} pixels high in {large.sum()} of {shown} frames"
                    figures[name] = Figure(None, f"{why}; {MIN_FRAMES} are needed")
                    continue
                theirs = np.where(large, theirs, np.nan)
            figures[name], deviation = correlate(ours[name], theirs, _MOVES[name])
            if name == "mouth":
                series["mouth_deviation"] = deviation
        return series, figures

    def _jitter(self, result: Observations) -> Figure:
        ours, theirs = (joint_accelerations(seen, self._numbers) for seen in (result, self._driver))
        both = visible_joints(self._driver) & np.isfinite(ours) & np.isfinite(theirs)
        if not both.any():
            return Figure(None, "no three consecutive frames show both")
        if not theirs[both].any():
            return Figure(None, "the driver stands perfectly still")
        return Figure(float(ours[both].mean() / theirs[both].mean()))


def correlate(ours: np.ndarray, theirs: np.ndarray, moves: float) -> tuple[Figure, np.ndarray]:
    """Correlate two curves over the frames in which both are known.

    Args:
        ours, theirs: [N], NaN where the detector does not see the part.
        moves: standard deviation from which `theirs` counts as moving.

    Returns:
        The correlation, and by how many standard deviations the curves differ in each frame [N]: the mean of its
        square is twice what the correlation lacks to 1. All NaN without a correlation. If `ours` stands still, the
        correlation is 0.
    """
    unknown = np.full(len(theirs), np.nan)
    wanted = np.isfinite(theirs)
    both = wanted & np.isfinite(ours)
    if wanted.sum() < MIN_FRAMES:
        return Figure(None, f"seen in {wanted.sum()} of the driver's frames; {MIN_FRAMES} are needed"), unknown
    if theirs[wanted].std() < moves:
        return Figure(None, "the driver hardly moves it"), unknown
    if both.sum() < MIN_FRAMES:
        return Figure(None, f"found in {both.sum()} of the {wanted.sum()} frames that show the driver's"), unknown
    if theirs[both].std() < moves:
        return Figure(None, "the driver hardly moves it where it is found"), unknown
    standard = [_standardized(curve, both) for curve in (ours, theirs)]
    apart = np.where(both, np.abs(standard[0] - standard[1]), np.nan)
    return Figure(float((standard[0] * standard[1])[both].mean())), apart


def _standardized(curve: np.ndarray, where: np.ndarray) -> np.ndarray:
    deviation = curve[where].std()
    return (curve - curve[where].mean()) / deviation if deviation > 1e-9 else np.zeros_like(curve)


def _limb_figures(angles: np.ndarray) -> tuple[Figure, Figure]:
    if np.isnan(angles).all():
        return (Figure(None, "the driver's are not seen"),) * 2
    mean, share = summarize_angles(angles)
    return Figure(mean) if np.isfinite(mean) else Figure(None, "nobody is found"), Figure(share)


def _limb_series(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean angle and share followed [N] by frame; a person who is not found counts in the share alone."""
    wanted, seen = ~np.isnan(angles), np.isfinite(angles)
    with np.errstate(invalid="ignore"):
        mean = np.where(seen, angles, 0.0).sum(1) / seen.sum(1)
        share = (angles <= CLOSE).sum(1) / wanted.sum(1)
    return mean, share


def _observed(clip: Sequence[Landmarks]) -> Observations:
    return observe(clip, width=0, height=0, fps=0.0)  # image size and frame rate do not affect what is read here


def _face_heights(seen: Observations) -> np.ndarray:
    """Return the heights [N] of the face in pixels, chin to forehead; NaN where it is not seen."""
    face = seen.topology.face
    skin = [i for i in range(face.count) if i not in face.irises]
    heights = np.ptp(seen.face[:, skin, 1].numpy(), axis=1)
    return np.where(seen.seen["face"].numpy(), heights, np.nan)
