"""A skeleton that moves: what every motion file is read into, and written from, whatever its format."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import roma
import torch
from torch import Tensor

from .interpolation import neighbours, sample_times, slerp

_INTERPOLATED_AT_ONCE = 4096  # frames; bounds the memory that resampling takes beside its result
_ORTHONORMAL = 1e-3


@dataclass
class SkeletalClip:
    """N frames of a skeleton of J joints, at a constant rate.

    World axes are those of this package (`body.template`): x to the person's left, y to their back, z up, in
    metres; a person at rest faces -y. Tensors are float32.

    Raises:
        ValueError: shapes that do not agree, parents that do not come before their children, no or several
            roots, names that occur twice, numbers that are not finite, or rotations that are none.
    """

    names: list[str]  # J, each once
    parents: list[int]  # J, -1 for the root, which comes first; parents before children
    offsets: Tensor  # [J, 3] from the parent to the joint in the file's rest pose; the root's own is not used
    rotations: Tensor  # [N, J, 3, 3] relative to the rest pose and the parent; the root's are in the world
    root: Tensor  # [N, 3] position of the root in the world
    fps: float
    translations: Tensor | None = None  # [N, J, 3] in the place of `offsets`, of files whose bones change length

    def __post_init__(self):
        frames, joints = len(self.rotations), len(self.names)
        shapes = {"offsets": (joints, 3), "rotations": (frames, joints, 3, 3), "root": (frames, 3)}
        if self.translations is not None:
            shapes["translations"] = (frames, joints, 3)
        for name, shape in shapes.items():
            tensor = getattr(self, name)
            if tensor.shape != shape:
                raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        if not frames or not joints:
            raise ValueError(f"a clip needs frames and joints, got {frames} and {joints}")
        if not 0 < self.fps < float("inf"):
            raise ValueError(f"fps must be positive, got {self.fps}")
        if len(set(self.names)) < joints:
            raise ValueError("names of joints must differ")
        if len(self.parents) != joints or self.parents[0] != -1:
            raise ValueError("the first joint must be the root, and every joint have a parent")
        if any(not 0 <= parent < joint for joint, parent in enumerate(self.parents) if joint):
            raise ValueError("parents must come before their children, and there is one root")
        for part in self.rotations.split(_INTERPOLATED_AT_ONCE):
            first, second, third = part.unbind(-2)
            mirrored = (torch.linalg.cross(first, second) * third).sum(-1) < 0
            if (part @ part.mT - torch.eye(3)).abs().max() > _ORTHONORMAL or mirrored.any():
                raise ValueError("rotations must be rotation matrices")

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, frames: slice | Tensor | list[int]) -> "SkeletalClip":
        """The chosen frames; a slice or indices, not a single int, so that the result is a clip."""
        translations = None if self.translations is None else self.translations[frames]
        return replace(self, rotations=self.rotations[frames], root=self.root[frames], translations=translations)

    def batches(self, size: int) -> Iterator["SkeletalClip"]:
        """The frames in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def joint(self, name: str) -> int:
        """The index of a joint; ValueError where there is none of this name."""
        return self.names.index(name)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Forward kinematics: rotations [N, J, 3, 3] of the joints from the rest pose, and positions [N, J, 3]."""
        turns, positions = [self.rotations[:, 0]], [self.root]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = self.offsets[joint] if self.translations is None else self.translations[:, joint]
            turns.append(turns[parent] @ self.rotations[:, joint])
            positions.append(positions[parent] + (turns[parent] @ bone[..., None])[..., 0])
        return torch.stack(turns, 1), torch.stack(positions, 1)

    def resampled(self, fps: float) -> "SkeletalClip":
        """The clip at another rate, from its first to its last frame: rotations by slerp, positions linearly."""
        if abs(self.fps - fps) < 1e-6 * fps:
            return self
        times = sample_times(len(self), self.fps, fps)
        parts = [self._at(some) for some in times.split(_INTERPOLATED_AT_ONCE)]
        rotations, root, translations = zip(*parts, strict=True)
        moved = None if self.translations is None else torch.cat(translations)
        return replace(self, rotations=torch.cat(rotations), root=torch.cat(root), translations=moved, fps=fps)

    def _at(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rotations, root and translations at times [M] in frames."""
        before, after, share = neighbours(times, len(self))
        start, end = (roma.rotmat_to_unitquat(self.rotations[frames]) for frames in (before, after))
        blend = lambda values: values[before].lerp(values[after], share.view(-1, *[1] * (values.ndim - 1)))
        return (
            roma.unitquat_to_rotmat(slerp(start, end, share[:, None].expand(start.shape[:2]))),
            blend(self.root),
            None if self.translations is None else blend(self.translations),
        )
