"""Motion distribution alignment: a driver's poses, brought to those that an avatar's own video showed.

An avatar's network breaks on poses that it never saw. The avatar's `Alignment` knows what it saw: the encoder of a
motion prior, decoder B, which was trained on the avatar's own motion, and the postures of that motion. An `Aligner`
runs it on a stream of frames, in NumPy: its matrices are small, and torch's calls would take longer than its sums.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ..motion import Frame
from ..pose_features import (
    Array,
    PoseFeatures,
    split_heading,
    to_features,
    to_rotations,
)
from ..retargeting.turn_limit import TurnLimit
from .networks import (
    HISTORY,
    SLOPE,
    PoseDecoder,
    PoseEncoder,
)
from .posture import Distance, Posture
from .prior_file import (
    check_joints,
    config_of,
    read_tensors,
    write_tensors,
)

ALIGNMENT_FILE = "motion_prior.safetensors"
KIND = "avatar's motion prior"
MODES = ("auto", "on")
MAX_TURN = 10.0  # degrees that "auto" turns a bone at most: a raised arm stays raised
# Scores as shares of the threshold: up to `_FREE` a posture stays as it is, and none is left beyond `_INSIDE`.
_FREE, _INSIDE = 0.85, 0.98
_LEAST_GAIN = 0.1  # of the threshold: what aligning must gain in score to count in full
_STEPS = 2
_FALL = 0.4  # seconds in which the alignment goes again
_FOLLOW = 0.1  # seconds in which its target follows decoder B: haste is the driver's, who moves the rest of the pose
_NOTHING = 1e-4


@dataclass
class Alignment:
    """What an avatar knows of its own motion."""

    encoder: PoseEncoder
    decoder: PoseDecoder  # decoder B
    known: Tensor  # [N, M, 3] markers of the training frames (`posture.Posture`), metres
    outside: float  # a posture farther than this from all known ones is outside of the avatar's distribution, metres
    card: dict  # how it was made

    def save(self, path: Path, template: BodyTemplate) -> None:
        tensors = {"known": self.known}
        for name in ("encoder", "decoder"):
            tensors |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        facts = {"template": template.name, "joints": PoseFeatures(template).names, "outside": self.outside}
        write_tensors(path, KIND, tensors, facts | {"card": self.card})

    @classmethod
    def load(cls, path: Path, template: BodyTemplate) -> "Alignment":
        """Read an avatar's `motion_prior.safetensors`.

        Raises:
            UserError: see `prior_file.read_tensors` and `prior_file.check_joints`; or tensors of the wrong shapes.
        """
        tensors, facts = read_tensors(path, KIND)
        features = PoseFeatures(template)
        check_joints(path, facts, template.name, features.names)
        try:
            config = config_of(tensors, "encoder", decoder="decoder")
            encoder, decoder = PoseEncoder(config), PoseDecoder(config, HISTORY)
            for name, module in (("encoder", encoder), ("decoder", decoder)):
                own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
                module.load_state_dict(own)
            known, outside = tensors["known"], float(facts["outside"])
            if known.shape[1:] != (len(Posture(template, features).names), 3) or not len(known) or not outside > 0:
                raise ValueError("known postures of the wrong shape, or no threshold")
            return cls(encoder.eval(), decoder.eval(), known, outside, dict(facts["card"]))
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
            raise UserError(f"{path}: damaged ({str(error).splitlines()[0]})") from None


class Score:
    """How far outside of the avatar's distribution a pose is: 1 is the threshold, which 5 % of the avatar's own
    held-out frames pass.

    It is a distance between postures, not what any network says: neither encoder nor decoder has a part in it.
    """

    def __init__(self, alignment: Alignment, posture: Posture):
        self._distance = Distance(alignment.known.double().numpy())
        self._posture, self._outside = posture, alignment.outside

    def __call__(self, rotations: Array) -> Array:
        """[...] of rotations [..., K, 3, 3] (`PoseFeatures.rotations`)."""
        return self._distance(self._posture.markers(rotations)) / self._outside


class Aligner:
    """Align a stream of frames, each one from itself and those before it.

    With "auto" a pose within the avatar's distribution stays as it is. One outside is moved towards what decoder B
    makes of it, as far as brings its score below the threshold but never so far that a bone turns by more than
    `max_turn`: the driver's gestures come first. Score, decoder, limiter and turn limit are continuous, so nothing
    jumps. With "on" every pose becomes what decoder B makes of it, however far that is: the paper's alignment.

    Attributes:
        strength: share of the way, 0 to 1; may be changed at any time.
        max_turn: the bound that applies, degrees; infinite with "on".
    """

    def __init__(
        self,
        alignment: Alignment,
        template: BodyTemplate,
        fps: float,
        mode: str = "auto",
        strength: float = 1.0,
        *,
        max_turn: float = MAX_TURN,
    ):
        """
        Args:
            mode: "auto" or "on".
            strength: share of the way, 0 to 1.
            max_turn: degrees that "auto" turns a bone away from the driver's at most; `math.inf` for no bound.
        """
        if mode not in MODES or not 0 <= strength <= 1:
            raise ValueError(f"mode is 'auto' or 'on' and strength between 0 and 1, not '{mode}' and {strength}")
        self._features = PoseFeatures(template)
        self._score = Score(alignment, Posture(template, self._features))
        self._encode, self._decode = _encoder_layers(alignment.encoder), _decoder_layers(alignment.decoder)
        # As before its first frame: the avatar in its mean pose.
        mean = to_features(to_rotations(alignment.decoder.mean.double().numpy()))
        self._history = np.tile(mean.astype(np.float32), HISTORY)
        self._mode, self.strength = mode, strength
        passed = lambda seconds: 1 - float(np.exp(-1 / (fps * seconds)))
        self._fall, self._follow = passed(_FALL), passed(_FOLLOW)
        self.max_turn = max_turn if mode == "auto" else math.inf
        self._limit = TurnLimit(self._features, max_turn) if math.isfinite(self.max_turn) else None
        self._measure = 0.0
        self._target: Array | None = None

    def __call__(self, frame: Frame) -> Frame:
        """The frame with its body aligned: root rotation and pose change, but neither heading, fingers nor eyes."""
        if self.strength == 0:
            return frame
        tilt, heading = split_heading(frame.root_rotation)
        pose = self._features.turns(tilt, frame.pose)
        aligned = self.decode(to_features(pose))
        measure = self.strength
        if self._mode == "auto":
            aligned = self._steady(aligned)
            measure *= self._smooth(self._needed(pose, aligned))
        if measure < _NOTHING:
            return frame
        made = between(pose, aligned, measure)
        if self._limit is not None:
            made = self._limit(pose, made)
        root_rotation, changed = self._features.put(made, heading, frame.pose)
        return Frame(root_rotation, frame.root_translation, changed, frame.facial_actions, frame.confidence)

    def decode(self, features: Array) -> Array:
        """What decoder B makes of a pose's features [W], after its own last four outputs: rotations [K, 3, 3]."""
        latent = self._encode(features.astype(np.float32))
        decoded = self._decode(np.concatenate([latent, self._history]))
        aligned = to_rotations(decoded.astype(float))
        width = len(features)
        self._history = np.concatenate([self._history[width:], to_features(aligned).astype(np.float32)])
        return aligned

    def _needed(self, pose: Array, aligned: Array) -> float:
        """Share of the way from a pose to the aligned one at which the score is what the limiter lets through."""
        score, best = self._score(np.stack([pose, aligned])).tolist()
        allowed, share = limited(score), 0.0
        for step in range(_STEPS):  # of a secant method: the score is nearly linear along the way
            if score <= allowed:
                break
            share += (1 - share) * min(1.0, (score - allowed) / max(score - best, _LEAST_GAIN))
            if step + 1 < _STEPS:
                score = float(self._score(between(pose, aligned, share)))
        return share

    def _steady(self, aligned: Array) -> Array:
        """What decoder B made in the last fraction of a second, weighted by how long ago it was."""
        self._target = aligned if self._target is None else between(self._target, aligned, self._follow)
        return self._target

    def _smooth(self, needed: float) -> float:
        self._measure = max(needed, self._measure + self._fall * (needed - self._measure))
        return self._measure


def limited(score: float) -> float:
    """What the limiter makes of a score: itself up to `_FREE`, and smoothly never more than `_INSIDE`."""
    room = _INSIDE - _FREE
    return score if score <= _FREE else _FREE + room * float(np.tanh((score - _FREE) / room))


def between(start: Array, end: Array, share: float) -> Array:
    """The rotations [..., 3, 3] nearest to a share of the straight way between the matrices of two.

    They lie about the shortest turn from one to the other, and are many times faster to find than those at constant
    speed along it.
    """
    return to_rotations(to_features(start + share * (end - start)))


def _encoder_layers(encoder: PoseEncoder):
    """The encoder's mean as a function of features [W], its normalizations folded into its layers."""
    (first, start), second, (last, end) = map(_matrix, encoder.layers)
    scale, shift = _affine(encoder.entry)
    start, first = start + first @ shift, first * scale
    scale, shift = (values[: len(end) // 2] for values in _affine(encoder.exit))
    last, end = last[: len(scale)] * scale[:, None], end[: len(scale)] * scale + shift
    return partial(_run, _single([(first, start), second, (last, end)]))


def _decoder_layers(decoder: PoseDecoder):
    """Decoder B as a function of latent and flat history in one vector."""
    (first, start), (last, end) = map(_matrix, decoder.layers)
    mean, deviation = decoder.mean.double().numpy(), decoder.deviation.double().numpy()
    history = slice(first.shape[1] - HISTORY * len(mean), None)
    scaled = first.copy()
    scaled[:, history] /= np.tile(deviation, HISTORY)
    start = start - scaled[:, history] @ np.tile(mean, HISTORY)
    return partial(_run, _single([(scaled, start), (last * deviation[:, None], end * deviation + mean)]))


def _run(layers: list[tuple[Array, Array]], values: Array) -> Array:
    """Fully connected layers with LeakyReLU between them."""
    *hidden, (matrix, bias) = layers
    for weight, offset in hidden:
        values = weight @ values + offset
        values = np.maximum(values, SLOPE * values)
    return matrix @ values + bias


def _single(layers: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    return [(matrix.astype(np.float32), bias.astype(np.float32)) for matrix, bias in layers]


def _matrix(layer: nn.Linear) -> tuple[Array, Array]:
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def _affine(norm: nn.BatchNorm1d) -> tuple[Array, Array]:
    """Scale and shift that a batch normalization is outside of training."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - scale * norm.running_mean
    return scale.detach().double().numpy(), shift.detach().double().numpy()
