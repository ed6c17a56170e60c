"""A moving skeleton: what files of other programs are read into and written from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import roma
import torch
from torch import Tensor

from .interpolation import neighbours, sample_times, slerp

_INTERPOLATED_AT_ONCE = 4096  # frames; bounds the extra memory of resampling
_ORTHONORMAL = 1e-3


@dataclass
class SkeletalClip:
    """N frames of a skeleton of J joints, at a constant rate.

    World axes are the package's (`body.template`): x to the person's left, y to their back, z up, in metres; a person
    at rest faces -y. Tensors are float32.

    Raises:
        ValueError: inconsistent shapes, parents after their children, no or several roots, duplicate names, numbers
            that are not finite, or matrices that are not rotations.
    """

    names: list[str]  # J, unique
    parents: list[int]  # J, -1 for the root, which comes first; parents before children
    offsets: Tensor  # [J, 3] from the parent to the joint in the file's rest pose; the root's is unused
    rotations: Tensor  # [N, J, 3, 3] from the rest pose, relative to the parent; the root's are relative to the world
    root: Tensor  # [N, 3] position of the root in the world
    fps: float
    translations: Tensor | None = None  # [N, J, 3] instead of `offsets`, if bones change length

    def __post_init__(self) -> None:
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
            raise ValueError("joint names must be unique")
        if len(self.parents) != joints or self.parents[0] != -1:
            raise ValueError("the first joint must be the root, and every joint must have a parent")
        if any(not 0 <= parent < joint for joint, parent in enumerate(self.parents) if joint):
            raise ValueError("parents must come before their children, and there must be one root")
        for part in self.rotations.split(_INTERPOLATED_AT_ONCE):
            first, second, third = part.unbind(-2)
            mirrored = (torch.linalg.cross(first, second) * third).sum(-1) < 0
            if (part @ part.mT - torch.eye(3)).abs().max() > _ORTHONORMAL or mirrored.any():
                raise ValueError("rotations must be rotation matrices")

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, frames: slice | Tensor | list[int]) -> "SkeletalClip":
        """Return some frames, given by a slice or indices (not a single int), as a clip."""
        translations = None if self.translations is None else self.translations[frames]
        return replace(self, rotations=self.rotations[frames], root=self.root[frames], translations=translations)

    def batches(self, size: int) -> Iterator["SkeletalClip"]:
        """Yield the frames in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def joint(self, name: str) -> int:
        """Return the index of a joint by its name. Raises ValueError if there is none."""
        return self.names.index(name)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Compute rotations from the rest pose [N, J, 3, 3] and positions [N, J, 3] of the joints."""
        turns, positions = [self.rotations[:, 0]], [self.root]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = self.offsets[joint] if self.translations is None else self.translations[:, joint]
            turns.append(turns[parent] @ self.rotations[:, joint])
            positions.append(positions[parent] + (turns[parent] @ bone[..., None])[..., 0])
        return torch.stack(turns, 1), torch.stack(positions, 1)

    def resampled(self, fps: float) -> "SkeletalClip":
        """Resample to another rate, from the first frame to the last: rotations by slerp, positions linearly.

        Raises:
            UserError: too many frames would result.
        """
        if abs(self.fps - fps) < 1e-6 * fps:
            return self
        times = sample_times(len(self), self.fps, fps, len(self.names))
        parts = [self._at(some) for some in times.split(_INTERPOLATED_AT_ONCE)]
        rotations, root, translations = zip(*parts, strict=True)
        moved = None if self.translations is None else torch.cat(translations)
        return replace(self, rotations=torch.cat(rotations), root=torch.cat(root), translations=moved, fps=fps)

    def _at(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Interpolate rotations, root and translations at times [M], in frames."""
        before, after, share = neighbours(times, len(self))
        start, end = (roma.rotmat_to_unitquat(self.rotations[frames]) for frames in (before, after))
        blend = lambda values: values[before].lerp(values[after], share.view(-1, *[1] * (values.ndim - 1)))
        return (
            roma.unitquat_to_rotmat(slerp(start, end, share[:, None].expand(start.shape[:2]))),
            blend(self.root),
            None if self.translations is None else blend(self.translations),
        )
