"""The choice of the frames that a surface's details come from: few, one for each place, the best that shows it."""

from dataclasses import dataclass

import numpy as np

from .fields import SurfaceFields

Array = np.ndarray

_MOST = 16  # frames that details come from
_WORTH = 0.002  # mean gain in score over the surface: a frame that adds less is left out
_OVER = 0.03  # metres: reach of the smoothing of scores
_TOGETHER = 0.6  # of the best score: what it is worth to have the same frame as all neighbours
_ROUNDS = 20
_SHARPER = (0.3, 1.5)  # times as sharp as usual; more is another object's outline
_WRONG = 0.7  # times as far as usual from the median of all frames
_BLACK, _NOISE = 1.0, 3.0  # of 255: no place is usually less sharp, or nearer to the median
_KNOWN = 0.2  # the least confidence that a frame shows a place


@dataclass(frozen=True)
class Looks:
    """How N frames show V vertices."""

    facing: Array  # [N, V] cosine towards the camera
    scale: Array  # [N] pixels per metre
    sharpness: Array  # [N, V] mean absolute Laplacian about the vertex
    error: Array  # [N, V] mean difference from the median colours about it, 0 to 255
    inside: Array  # [N, V] confidence that it is seen and clear of outlines, 0 to 1
    calm: Array  # [N] how much the eyes are open and the mouth is shut, 0 to 1

    def agreement(self) -> Array:
        """Return how well colours agree with those of other frames, [N, V] from 0 to 1."""
        wrong = self.error / (_usual(self.error, self.inside > _KNOWN) + _NOISE)
        return np.exp(-0.5 * (wrong / _WRONG) ** 2)

    def scores(self, fields: SurfaceFields, face: Array) -> Array:
        """Return how well each frame shows each vertex [N, V]; 0 if not at all.

        Args:
            face: [V] bool: the vertices that must all come from one frame.
        """
        known = self.inside > _KNOWN
        sharp = (self.sharpness / (_usual(self.sharpness, known) + _BLACK)).clip(*_SHARPER)
        agreement = self.agreement()
        scale = (self.scale / np.median(self.scale))[:, None]
        scores = self.inside * self.facing.clip(0, 1) * scale * sharp * agreement * known
        scores = fields.smoother(_OVER)(scores.T, np.ones(len(face))).T * agreement * known
        area = fields.area * face
        scores[:, face] = ((scores @ area) / max(area.sum(), 1e-9) * self.calm)[:, None]
        return scores


def _usual(values: Array, known: Array) -> Array:
    """Return the median [V] over the frames that know a vertex, 1 without any."""
    return np.ma.median(np.ma.array(values, mask=~known), axis=0).filled(1.0)


def choose_sources(scores: Array, fields: SurfaceFields) -> tuple[Array, Array]:
    """Choose few of N frames by their scores [N, V], and one of these for each vertex, mostly that of its neighbours.

    Returns:
        The frames [K], and for each vertex [V] which of these.
    """
    best, chosen = np.zeros(scores.shape[1]), [int((scores @ fields.area).argmax())]
    while len(chosen) < min(_MOST, len(scores)):
        best = np.maximum(best, scores[chosen[-1]])
        gains = np.maximum(scores - best, 0) @ fields.area
        if gains.max() <= _WORTH * fields.area.sum():
            break
        chosen.append(int(gains.argmax()))
    own = scores[chosen]
    label = own.argmax(0)
    every = np.arange(len(label))
    for number in range(_ROUNDS):  # iterated conditional modes; all vertices at once would swap labels forever
        around = fields.around((label[:, None] == np.arange(len(chosen))).astype(np.float64)).T
        better = (own + _TOGETHER * own.max(0) * around * (own > 0)).argmax(0)
        label = np.where(every % 2 == number % 2, better, label)
    return np.array(chosen), label
