"""A motion: the per-frame parameters of a body template."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from torch import Tensor

from ..core.archives import write_arrays
from ..core.errors import UserError
from ..core.files import atomic_file
from ..core.untrusted.arrays import Shape, open_arrays
from .interpolation import neighbours, sample_times, slerp
from .limits import LARGEST, MAX_FPS, MAX_JOINTS, MIN_FPS

FORMAT_VERSION = 2
PARTS = ("body", "left_hand", "right_hand", "face", "left_arm", "right_arm", "left_leg", "right_leg")
"""The parts of a person that a motion has a confidence for, by column."""
LIMBS = PARTS[4:]
_READABLE = (1, FORMAT_VERSION)  # version 1 lacks the limbs: it has the first four columns of `PARTS`
_ARRAYS = {"root_rotation": 2, "root_translation": 2, "pose": 3, "facial_actions": 2, "confidence": 2}
_ROTATIONS = ("root_rotation", "pose")
_INTERPOLATED_AT_ONCE = 4096  # frames; bounds the extra memory of resampling
MAX_BYTES = 1 << 31
"""Largest size of a file, and of its arrays. A motion of 100,000 frames takes 94 MB."""
_MAX_ACTIONS = 1000


def confidence_of(
    body: float, left_hand: float = 0.0, right_hand: float = 0.0, face: float = 0.0, **limbs: float
) -> np.ndarray:
    """Return one frame's confidence [8], in the order of `PARTS`.

    Args:
        limbs: confidence of those of `LIMBS` that differ from the body's.
    """
    if unknown := limbs.keys() - set(LIMBS):
        raise TypeError(f"no limb is called {', '.join(sorted(unknown))}")
    known = {"body": body, "left_hand": left_hand, "right_hand": right_hand, "face": face}
    known |= dict.fromkeys(LIMBS, body) | limbs
    return np.array([known[part] for part in PARTS])


@dataclass
class Frame:
    """One frame of a motion, for live use: NumPy, float64; shapes and units as in `Motion`, without N."""

    root_rotation: np.ndarray  # [3]
    root_translation: np.ndarray  # [3]
    pose: np.ndarray  # [P, 3]
    facial_actions: np.ndarray  # [A]
    confidence: np.ndarray  # [8]


@dataclass
class Motion:
    """N frames of a template's parameters, at a constant rate. Tensors are float32."""

    template: str
    fps: float
    root_rotation: Tensor  # [N, 3] rotation vectors, radians, world axes
    root_translation: Tensor  # [N, 3] metres, world axes
    pose: Tensor  # [N, P, 3] rotation vectors of the pose joints, radians
    facial_actions: Tensor  # [N, A] in [0, 1]
    confidence: Tensor  # [N, 8] in [0, 1], one column per part in `PARTS`

    def __post_init__(self) -> None:
        frames = len(self.pose)
        for name, dims in _ARRAYS.items():
            tensor = getattr(self, name)
            if tensor.ndim != dims or len(tensor) != frames:
                raise ValueError(f"{name} must have {dims} dimensions and {frames} frames, got {list(tensor.shape)}")
        if self.confidence.shape[1] != len(PARTS):
            raise ValueError(f"confidence must have {len(PARTS)} columns, got {self.confidence.shape[1]}")

    def __len__(self) -> int:
        return len(self.pose)

    def __getitem__(self, frames: slice | Tensor | list[int]) -> "Motion":
        """Return some frames, given by a slice or indices (not a single int), as a motion."""
        return replace(self, **{name: getattr(self, name)[frames] for name in _ARRAYS})

    def batches(self, size: int) -> Iterator["Motion"]:
        """Yield the frames in order, `size` at a time, to pose long clips in bounded memory."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Motion":
        """Return a motion with `function(tensor)` in place of every per-frame tensor."""
        mapped: dict[str, Any] = {name: function(getattr(self, name)) for name in _ARRAYS}
        return replace(self, **mapped)

    def resampled(self, fps: float) -> "Motion":
        """Resample to another rate, from the first frame to the last: rotations by slerp, the rest linearly.

        Raises:
            UserError: too many frames would result.
        """
        if abs(self.fps - fps) < 1e-6 * fps:
            return self
        times = sample_times(len(self), self.fps, fps, self.pose.shape[1])
        parts = [self._at(some) for some in times.split(_INTERPOLATED_AT_ONCE)]
        joined: dict[str, Any] = {name: torch.cat([part[name] for part in parts]) for name in _ARRAYS}
        return replace(self, fps=fps, **joined)

    def _at(self, times: Tensor) -> dict[str, Tensor]:
        """Interpolate all tensors at times [M], in frames."""
        before, after, share = neighbours(times, len(self))

        def between(name: str) -> Tensor:
            start, end = getattr(self, name)[before], getattr(self, name)[after]
            weight = share.view(-1, *[1] * (start.ndim - 1))
            if name not in _ROTATIONS:
                return start.lerp(end, weight)
            turns = slerp(
                roma.rotvec_to_unitquat(start), roma.rotvec_to_unitquat(end), weight[..., 0].expand(start.shape[:-1])
            )
            return roma.unitquat_to_rotvec(turns)

        return {name: between(name) for name in _ARRAYS}

    def frame(self, index: int) -> Frame:
        """Return a copy of one frame."""
        return Frame(**{name: getattr(self, name)[index].detach().cpu().double().numpy() for name in _ARRAYS})

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, one at a time, as live use does."""
        return map(self.frame, range(len(self)))

    @classmethod
    def of_frames(cls, template: str, fps: float, frames: Iterable[Frame]) -> "Motion":
        """Build a motion from one or more frames."""
        frames = list(frames)
        stack = lambda name: torch.from_numpy(np.stack([getattr(f, name) for f in frames]).astype(np.float32))
        return cls(template, fps, **{name: stack(name) for name in _ARRAYS})

    def parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the arguments of `Body.pose`, in order."""
        return self.root_rotation, self.root_translation, self.pose, self.facial_actions

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file, completely or not at all."""
        arrays = {name: getattr(self, name).detach().cpu().numpy().astype(np.float32) for name in _ARRAYS}
        about: dict[str, Any] = {"format_version": FORMAT_VERSION, "template": self.template, "fps": self.fps}
        with atomic_file(path) as temporary:
            write_arrays(temporary, **about, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Motion":
        """Read an `.npz` file.

        Raises:
            UserError: no such file, damaged, too large, another format version, or impossible numbers.
        """
        with open_arrays(path, MAX_BYTES, "a motion") as arrays:
            version = arrays.number("format_version")
            if version not in _READABLE:
                readable = " and ".join(map(str, _READABLE))
                raise UserError(f"{path}: motion format {version:g}, this version reads {readable}")
            frames = arrays.shape("pose")[:1]
            shapes: dict[str, Shape] = {
                "root_rotation": (*frames, 3),
                "root_translation": (*frames, 3),
                "pose": (*frames, range(MAX_JOINTS + 1), 3),
                "facial_actions": (*frames, range(_MAX_ACTIONS + 1)),
                "confidence": (*frames, len(PARTS) if version > 1 else len(PARTS) - len(LIMBS)),
            }
            tensors = {name: arrays.numbers(name, shape, largest=LARGEST) for name, shape in shapes.items()}
            if version == 1:
                tensors["confidence"] = _with_limbs(tensors["confidence"])
            return cls(arrays.text("template"), arrays.number("fps", MIN_FPS, MAX_FPS), **tensors)


def _with_limbs(confidence: Tensor) -> Tensor:
    """Expand a version 1 file's confidence [N, 4] to [N, 8]: limbs are as confident as the body."""
    return torch.cat([confidence, confidence[:, :1].expand(-1, len(LIMBS))], 1)
