"""Motion distribution alignment: moves a driver's poses towards those in the avatar's own video.

An avatar's network fails on poses that it never saw. The avatar's `Alignment` describes what it saw: the encoder of a
motion prior, decoder B, which was trained on the avatar's own motion, and the postures of that motion. An `Aligner`
runs it on a stream of frames, in NumPy: the matrices are so small that torch's overhead would dominate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...body.template import BodyTemplate
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
    config_of,
    open_tensors,
    read_scaled,
    write_tensors,
)

ALIGNMENT_FILE = "motion_prior.safetensors"
KIND = "avatar's motion prior"
MODES = ("auto", "on")
MAX_TURN = 3.0  # degrees; largest rotation of a bone by "auto", which must not change what a gesture says
# Scores relative to the threshold: postures below `_FREE` are unchanged, and none stays above `_INSIDE`.
_FREE, _INSIDE = 0.85, 0.98
_LEAST_GAIN = 0.1  # of the threshold: reduction of the score from which alignment applies in full
_STEPS = 2
_FALL = 0.4  # seconds in which the alignment fades out
_FOLLOW = 0.1  # seconds in which its target follows decoder B; fast motion is left to the driver
_NOTHING = 1e-4
# Decoder B's output, in deviations of a feature of the avatar's own motion: unchanged up to `_USUAL`, at most `_RARE`.
_USUAL, _RARE = 3.0, 5.0
_OUTSIDE = (1e-6, 1e3)  # metres; range of `Alignment.outside` in files


@dataclass
class Alignment:
    """What an avatar knows of its own motion."""

    encoder: PoseEncoder
    decoder: PoseDecoder  # decoder B
    known: Tensor  # [N, M, 3] markers of the training frames (`posture.Posture`), metres
    outside: float  # metres; postures farther than this from all known ones are outside the avatar's distribution
    card: dict  # how it was made

    def save(self, path: Path, template: BodyTemplate) -> None:
        """Write an avatar's `motion_prior.safetensors`."""
        tensors = {"known": self.known} | _tensors(self.encoder, self.decoder)
        facts = {"template": template.name, "joints": PoseFeatures(template).names, "outside": self.outside}
        write_tensors(path, KIND, tensors, facts | {"card": self.card})

    @classmethod
    def load(cls, path: Path, template: BodyTemplate) -> "Alignment":
        """Read an avatar's `motion_prior.safetensors`.

        Raises:
            UserError: see `prior_file.open_tensors`; or wrong tensors.
        """
        features = PoseFeatures(template)
        file, facts = open_tensors(path, KIND, template.name, features.names)
        config = config_of(file, features.names, "encoder", decoder="decoder")
        frames = file.shapes.get("known", ())[:1]
        if frames == (0,):
            raise file.damaged("no postures are known")
        markers = len(Posture(template, features).names)
        with torch.device("meta"):
            wanted = _tensors(PoseEncoder(config), PoseDecoder(config, HISTORY))
            file.check(wanted | {"known": torch.empty(*frames, markers, 3)})
        tensors, encoder, decoder = read_scaled(file), PoseEncoder(config), PoseDecoder(config, HISTORY)
        for name, own in _tensors(encoder, decoder).items():
            own.copy_(tensors[name])
        outside, card = facts.number("outside", *_OUTSIDE), facts.take("card", dict)
        return cls(encoder.eval(), decoder.eval(), tensors["known"], outside, card)


def _tensors(encoder: PoseEncoder, decoder: PoseDecoder) -> dict[str, Tensor]:
    """Return the state of both networks by its names in a file. The tensors are the networks' own, not copies."""
    return {
        f"{name}.{key}": tensor
        for name, module in (("encoder", encoder), ("decoder", decoder))
        for key, tensor in module.state_dict().items()
    }


class Score:
    """How far a pose is outside the avatar's distribution, relative to the threshold that 5 % of held-out frames pass.

    A distance between postures that involves no network.
    """

    def __init__(self, alignment: Alignment, posture: Posture):
        self._distance = Distance(alignment.known.double().numpy())
        self._posture, self._outside = posture, alignment.outside

    def __call__(self, rotations: Array) -> Array:
        """Return scores [...] of rotations [..., K, 3, 3] (`PoseFeatures.rotations`); 1 is the threshold."""
        return self._distance(self._posture.markers(rotations)) / self._outside


class Aligner:
    """Aligns a stream of frames, each from itself and those before it.

    With "auto", a pose within the avatar's distribution is unchanged. One outside is moved towards decoder B's output,
    just far enough to bring its score below the threshold, and never so far that a bone rotates by more than
    `max_turn`: the driver's gestures take precedence. Score, decoder, limiter and turn limit are continuous, so nothing
    jumps. With "on", every pose becomes decoder B's output, however far away: the paper's alignment.

    Attributes:
        strength: fraction of the way, 0 to 1; may be changed at any time.
        max_turn: the bound in effect, degrees; infinite with "on".
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
        """Prepare the alignment of an avatar.

        Args:
            mode: "auto" or "on".
            strength: fraction of the way, 0 to 1.
            max_turn: largest rotation of a bone by "auto", degrees; `math.inf` for no bound.
        """
        if mode not in MODES or not 0 <= strength <= 1:
            raise ValueError(f"mode is 'auto' or 'on' and strength from 0 to 1, not '{mode}' and {strength}")
        self._features = PoseFeatures(template)
        self._score = Score(alignment, Posture(template, self._features))
        self._encode, self._decode = _encoder_layers(alignment.encoder), _decoder_layers(alignment.decoder)
        # History before the first frame: the avatar's mean pose.
        mean = to_features(to_rotations(alignment.decoder.mean.double().numpy()))
        self._history = np.tile(mean.astype(np.float32), HISTORY)
        self._mean, self._deviation = (x.numpy() for x in (alignment.decoder.mean, alignment.decoder.deviation))
        self._mode, self.strength = mode, strength
        passed = lambda seconds: 1 - float(np.exp(-1 / (fps * seconds)))
        self._fall, self._follow = passed(_FALL), passed(_FOLLOW)
        self.max_turn = max_turn if mode == "auto" else math.inf
        self._limit = TurnLimit(self._features, max_turn) if math.isfinite(self.max_turn) else None
        self._measure = 0.0
        self._target: Array | None = None

    def __call__(self, frame: Frame) -> Frame:
        """Align a frame's body. Root rotation and pose change, except for heading, fingers and eyes."""
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
        root_rotation, changed = self._features.with_body(made, heading, frame.pose)
        return Frame(root_rotation, frame.root_translation, changed, frame.facial_actions, frame.confidence)

    def decode(self, features: Array) -> Array:
        """Decode a pose's features [W] with decoder B, given its last four outputs, to rotations [K, 3, 3]."""
        latent = self._encode(features.astype(np.float32))
        decoded = self._decode(np.concatenate([latent, self._history]))
        aligned = to_rotations(self._within_own(decoded).astype(float))
        width = len(features)
        self._history = np.concatenate([self._history[width:], to_features(aligned).astype(np.float32)])
        return aligned

    def _within_own(self, decoded: Array) -> Array:
        """Keep decoder B's output [W] near the range of the avatar's own motion.

        The decoder sees its last outputs. Fed a driver far from anything it was trained on, it would otherwise follow
        its own errors further and further out, until a neck breaks.
        """
        far = (decoded - self._mean) / self._deviation
        return self._mean + self._deviation * np.sign(far) * saturated(np.abs(far), _USUAL, _RARE)

    def _needed(self, pose: Array, aligned: Array) -> float:
        """Return the fraction of the way to the aligned pose at which the score is what the limiter allows."""
        score, best = self._score(np.stack([pose, aligned])).tolist()
        allowed, share = limited(score), 0.0
        for step in range(_STEPS):  # secant method: the score is nearly linear along the way
            if score <= allowed:
                break
            share += (1 - share) * min(1.0, (score - allowed) / max(score - best, _LEAST_GAIN))
            if step + 1 < _STEPS:
                score = float(self._score(between(pose, aligned, share)))
        return share

    def _steady(self, aligned: Array) -> Array:
        """Smooth decoder B's output over time, exponentially."""
        self._target = aligned if self._target is None else between(self._target, aligned, self._follow)
        return self._target

    def _smooth(self, needed: float) -> float:
        self._measure = max(needed, self._measure + self._fall * (needed - self._measure))
        return self._measure


def limited(score: float) -> float:
    """Limit a score: unchanged up to `_FREE`, then smoothly saturating at `_INSIDE`."""
    return float(saturated(np.asarray(score), _FREE, _INSIDE))


def saturated(values: Array, free: float, most: float) -> Array:
    """Return values that are unchanged up to `free`, and above approach `most` smoothly."""
    room = most - free
    return np.where(values <= free, values, free + room * np.tanh((values - free) / room))


def between(start: Array, end: Array, share: float) -> Array:
    """Interpolate between rotations [..., 3, 3] linearly, and project to the nearest rotations.

    The results lie close to the shortest rotation between the two, and are many times faster to compute than slerp.
    """
    return to_rotations(to_features(start + share * (end - start)))


def _encoder_layers(encoder: PoseEncoder) -> Callable[[Array], Array]:
    """Return the encoder's mean as a function of features [W], with normalizations folded into the layers."""
    (first, start), second, (last, end) = map(_matrix, encoder.layers)
    scale, shift = _affine(encoder.entry)
    start, first = start + first @ shift, first * scale
    scale, shift = (values[: len(end) // 2] for values in _affine(encoder.exit))
    last, end = last[: len(scale)] * scale[:, None], end[: len(scale)] * scale + shift
    return partial(_run, _single([(first, start), second, (last, end)]))


def _decoder_layers(decoder: PoseDecoder) -> Callable[[Array], Array]:
    """Return decoder B as a function of the concatenated latent and flattened history."""
    (first, start), (last, end) = map(_matrix, decoder.layers)
    mean, deviation = decoder.mean.double().numpy(), decoder.deviation.double().numpy()
    history = slice(first.shape[1] - HISTORY * len(mean), None)
    scaled = first.copy()
    scaled[:, history] /= np.tile(deviation, HISTORY)
    start = start - scaled[:, history] @ np.tile(mean, HISTORY)
    return partial(_run, _single([(scaled, start), (last * deviation[:, None], end * deviation + mean)]))


def _run(layers: list[tuple[Array, Array]], values: Array) -> Array:
    """Apply fully connected layers with LeakyReLU between them."""
    *hidden, (matrix, bias) = layers
    for weight, offset in hidden:
        values = weight @ values + offset
        values = np.maximum(values, SLOPE * values)
    return matrix @ values + bias


def _single(layers: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    return [(matrix.astype(np.float32), bias.astype(np.float32)) for matrix, bias in layers]


def _matrix(layer: nn.Module) -> tuple[Array, Array]:
    """Return weight and bias of a fully connected layer."""
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def _affine(norm: nn.BatchNorm1d) -> tuple[Array, Array]:
    """Return scale and shift of a batch normalization in inference."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - scale * norm.running_mean
    return scale.detach().double().numpy(), shift.detach().double().numpy()
