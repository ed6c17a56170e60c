"""Biovision hierarchies (BVH): the motion capture format that every tool reads and writes.

A file has a HIERARCHY of joints, each with its OFFSET from its parent and its animated CHANNELS, and a MOTION block
with a line of numbers per frame. Axes are y up; a person at rest faces +z, their left is +x. A joint's rotations are
multiplied in the order in which the file names their channels.
"""

import io
import re
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.files import atomic_file
from ...core.progress import Progress
from ...core.untrusted.files import read_bytes
from ..conversion.calibration import Reference
from ..conversion.template_skeleton import TemplateSkeleton
from ..limits import check_frames
from ..motion import Motion
from ..skeleton import SkeletalClip
from .bvh_hierarchy import AXES, MAX_NUMBER, Array, Fail, Joint, read_hierarchy
from .options import ReadOptions
from .rates import resampled
from .skeletal import USUAL_UP, SkeletonReader

_MAX_BYTES = 2**29
_MAX_HIERARCHY = 1 << 20
_WRITTEN_ORDER = "ZXY"
_CM_PER_METRE = 100.0
# Metres, inches, centimetres, millimetres, and the unit of CMU's Graphics Lab, 1 / 0.45 inches.
_METRES_PER_UNIT = (1.0, 0.0254, 0.01, 0.001, 0.0254 / 0.45)
_REACH = 1.2  # metres of an adult's longest chain of bones from the hips, to the toes or the fingertips
_PLAUSIBLE_REACH = (0.5, 2.5)
_MOVED = 1e-3  # of the reach: a bone that changes by less, in length or direction, is rigid


def read(
    path: Path, template: BodyTemplate, identity: torch.Tensor | None, options: ReadOptions, progress: Progress
) -> Motion:
    """Read a BVH file as a motion of the template. The template's own skeleton comes back as it was written.

    Raises:
        UserError: see `read_bvh`; or a skeleton that cannot be mapped.
    """
    reader = SkeletonReader(path, template, identity, options, progress)
    own, clip = TemplateSkeleton(reader.reference), read_bvh(path)
    motion = own.motion(clip) if options.up in (None, USUAL_UP) else None
    if motion is None:
        mapping = reader.joint_map(clip)
        clip, up = reader.upright(clip, mapping)
        motion = own.motion(clip) if up != USUAL_UP else None  # another program saved it with another axis up
        if motion is None:
            return reader.motion(clip, mapping)
    return resampled(path, motion, options.fps)


def write(
    path: Path, motion: Motion, template: BodyTemplate, identity: torch.Tensor | None, progress: Progress
) -> None:
    """Write the body of a motion as the template's skeleton. `progress` receives a note if a face is left out.

    Raises:
        UserError: only the face moves.
    """
    has_face = bool((motion.facial_actions > 0).any())
    if not (motion.confidence[:, :3] > 0).any():
        raise UserError(f"{path}: only the face moves here, and a .bvh has none; write a .csv or .npz")
    write_bvh(path, TemplateSkeleton(Reference(template, identity)).clip(motion))
    if has_face:
        progress.note(f"{path}: left out the face, which a .bvh cannot hold; write a .csv for it")


def read_bvh(path: str | Path, metres_per_unit: float | None = None) -> SkeletalClip:
    """Read a `.bvh` file.

    Position channels replace a joint's OFFSET in each frame; the clip has `translations` only where that makes a
    difference. An End Site becomes a joint `NAME_end`, unless it has no length. A frame time whose inverse is nearly a
    whole number is taken for that rate.

    Args:
        metres_per_unit: the file's unit. If None, the one of metres, inches, centimetres, millimetres and CMU's unit
            that brings the longest chain of bones from the hips closest to an adult's 1.2 m; if none brings it within
            0.5 to 2.5 m, the skeleton is scaled to 1.2 m.

    Raises:
        UserError: no such file, too large, not BVH, or damaged; the message names the line.
    """
    path = Path(path)
    fail = partial(_fail, path)
    content = read_bytes(path, _MAX_BYTES, "a motion")
    if not content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"HIERARCHY"):
        raise UserError(f"{path}: not a BVH file (it does not begin with HIERARCHY)")
    match = re.search(rb"^[ \t]*MOTION\b", content, re.MULTILINE)
    if not match:
        raise UserError(f"{path}: has no MOTION block; the file may be cut off")
    if match.start() > _MAX_HIERARCHY:
        raise UserError(f"{path}: its hierarchy is larger than {_MAX_HIERARCHY >> 20} MB")
    joints = read_hierarchy(content[: match.start()].decode("utf-8", "replace"), fail)
    numbers, fps = _read_motion(content, match.end(), sum(len(j.channels) for j in joints), fail)
    try:
        check_frames(len(numbers), len(joints), len(content))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    joints, rotations, positions = _convert(joints, numbers)

    reach = _reach([joint.parent for joint in joints], np.linalg.norm(np.median(positions, 0), axis=-1))
    if reach == 0:
        raise UserError(f"{path}: none of its bones has a length")
    scale = metres_per_unit or _unit(reach)
    offsets = np.stack([joint.offset for joint in joints])
    moved = np.abs(positions[:, 1:] - offsets[1:]).max(initial=0.0) > _MOVED * reach
    metres = lambda values: torch.from_numpy((values * scale).astype(np.float32))
    return SkeletalClip(
        names=[joint.name for joint in joints],
        parents=[joint.parent for joint in joints],
        offsets=metres(offsets),
        rotations=torch.from_numpy(rotations),
        root=metres(positions[:, 0]),
        fps=fps,
        translations=metres(positions) if moved else None,
    )


def write_bvh(path: str | Path, clip: SkeletalClip) -> None:
    """Write a `.bvh` file: y up, in centimetres, rotations in the order ZXY.

    A joint without children that is named like its parent plus `_end` becomes an End Site.
    """
    clip = _depth_first(clip)
    ends = _end_sites(clip)
    moving = [joint for joint in range(len(clip.names)) if joint not in ends]
    columns: list[Array] = []
    for joint in moving:
        if joint == 0:
            columns.append(_to_file_axes(clip.root.numpy().astype(np.float64)) * _CM_PER_METRE)
        elif clip.translations is not None:
            columns.append(_to_file_axes(clip.translations[:, joint].numpy().astype(np.float64)) * _CM_PER_METRE)
        columns.append(_angles(clip.rotations[:, joint].numpy()))
    with atomic_file(path) as temporary, temporary.open("w") as file:
        file.write("\n".join(["HIERARCHY", *_hierarchy(clip, ends), "MOTION", f"Frames: {len(clip)}", ""]))
        file.write(f"Frame Time: {1 / clip.fps:.12f}\n")
        np.savetxt(file, np.concatenate(columns, 1), "%.5f")


# Reading ----------------------------------------------------------------------------------------------------


def _fail(path: Path, line: int, what: str) -> UserError:
    return UserError(f"{path}: line {line}: {what}")


def _read_motion(content: bytes, start: int, channels: int, fail: Fail) -> tuple[Array, float]:
    """Return the numbers [N, channels] and the frame rate."""
    line = lambda position: 1 + content.count(b"\n", 0, position)
    frames = re.compile(rb"\s*Frames:\s*(\d{1,9})\s").match(content, start)
    if not frames or not int(frames[1]):
        raise fail(line(start) + 1, "expected 'Frames:' and a number of at least 1")
    rate = re.compile(rb"\s*Frame\s+Time:\s*([-+.\deE]+)").match(content, frames.end() - 1)
    try:
        seconds = float(rate[1]) if rate else 0.0
    except ValueError:
        seconds = 0.0
    if rate is None or not 1e-4 < seconds < 100:
        raise fail(line(frames.end()), "expected 'Frame Time:' and the seconds per frame")
    stated, block = int(frames[1]), content[rate.end() :]
    try:
        with warnings.catch_warnings():  # NumPy warns of what it cannot parse; reported below, with the line
            warnings.simplefilter("ignore", DeprecationWarning)
            numbers = np.fromstring(block, sep=" ")
    except ValueError:
        numbers = np.array([])
    if len(numbers) != stated * channels or not (np.abs(numbers) < MAX_NUMBER).all():
        raise _find_fault(block, line(rate.end()), stated, channels, fail)
    fps = 1 / seconds
    return numbers.reshape(stated, channels), float(round(fps)) if abs(fps / max(1, round(fps)) - 1) < 1e-4 else fps


def _find_fault(block: bytes, line: int, frames: int, channels: int, fail: Fail) -> UserError:
    """Return the error of a damaged motion block, found line by line."""
    found = 0
    for here, content in enumerate(io.BytesIO(block), start=line):  # a list of lines might be far larger than the file
        words = content.decode("utf-8", "replace").split()
        for word in words:
            try:
                good = abs(float(word)) < MAX_NUMBER
            except ValueError:
                good = False
            if not good:
                return fail(here, f"'{word[:40]}' is not a number, or out of range")
        if words and len(words) != channels:
            return fail(here, f"has {len(words)} numbers, but the hierarchy has {channels} channels")
        found += bool(words)
    return fail(line - 1, f"states {frames} frames, but {found} follow")


def _convert(joints: list[Joint], numbers: Array) -> tuple[list[Joint], NDArray[np.float32], Array]:
    """Return joints without empty End Sites, rotations [N, J, 3, 3], and positions [N, J, 3] from the parents."""
    childless = set(range(len(joints))) - {joint.parent for joint in joints}
    drop = {j for j in childless if j and not joints[j].channels and not joints[j].offset.any()}
    kept = [j for j in range(len(joints)) if j not in drop]
    new_index = {old: new for new, old in enumerate(kept)} | {-1: -1}
    rotations = np.tile(np.eye(3, dtype=np.float32), (len(numbers), len(kept), 1, 1))
    positions = np.empty((len(numbers), len(kept), 3))
    for index, joint in enumerate(joints[j] for j in kept):
        positions[:, index] = joint.offset
        for axis, column in joint.columns("position"):
            ours, sign = AXES[axis]
            positions[:, index, ours] = sign * numbers[:, column]
        turned = joint.columns("rotation")
        if turned:
            order = "".join("XYZ"[AXES[axis][0]] for axis, _ in turned)  # upper case: about the moving axes
            angles = numbers[:, [column for _, column in turned]] * [AXES[axis][1] for axis, _ in turned]
            matrices = Rotation.from_euler(order, angles, degrees=True).as_matrix()
            rotations[:, index] = matrices.reshape(-1, 3, 3)
    kept_joints = [joints[j] for j in kept]
    for joint in kept_joints:
        joint.parent = new_index[joint.parent]
    return kept_joints, rotations, positions


def _reach(parents: list[int], lengths: Array) -> float:
    """Return the length of the longest chain of bones from the hips: the first joint with several children."""
    children = [parents.count(joint) for joint in range(len(parents))]
    hips = next((joint for joint, count in enumerate(children) if count > 1), 0)
    away = np.full(len(parents), -np.inf)
    away[hips] = 0.0
    for joint in range(hips + 1, len(parents)):
        away[joint] = away[parents[joint]] + lengths[joint]
    return float(away.max())


def _unit(reach: float) -> float:
    """Guess the metres per unit of a skeleton with this reach."""
    unit = min(_METRES_PER_UNIT, key=lambda unit: abs(np.log(reach * unit / _REACH)))
    return unit if _PLAUSIBLE_REACH[0] < reach * unit < _PLAUSIBLE_REACH[1] else _REACH / reach


# Writing ----------------------------------------------------------------------------------------------------


def _end_sites(clip: SkeletalClip) -> set[int]:
    still = lambda joint: torch.allclose(clip.rotations[:, joint], torch.eye(3), atol=1e-6)
    return {
        joint
        for joint, (name, parent) in enumerate(zip(clip.names, clip.parents, strict=True))
        if parent >= 0 and joint not in clip.parents and name == f"{clip.names[parent]}_end" and still(joint)
    }


def _depth_first(clip: SkeletalClip) -> SkeletalClip:
    """Reorder the joints as a file lists them."""
    order, waiting = [], [0]
    while waiting:
        joint = waiting.pop()
        order.append(joint)
        waiting += [child for child in reversed(range(len(clip.names))) if clip.parents[child] == joint]
    parents = [clip.parents[joint] for joint in order]
    return replace(
        clip,
        names=[clip.names[joint] for joint in order],
        parents=[order.index(parent) if parent >= 0 else -1 for parent in parents],
        offsets=clip.offsets[order],
        rotations=clip.rotations[:, order],
        translations=None if clip.translations is None else clip.translations[:, order],
    )


def _hierarchy(clip: SkeletalClip, ends: set[int]) -> list[str]:
    """Return the lines of the hierarchy of a clip with joints in depth-first order."""
    lines: list[str] = []
    path: list[int] = []
    for joint, (name, parent) in enumerate(zip(clip.names, clip.parents, strict=True)):
        while path and path[-1] != parent:
            lines.append("\t" * (len(path) - 1) + "}")
            path.pop()
        tab = "\t" * len(path)
        offset = clip.offsets[joint] if joint else torch.zeros(3)
        kind = "End Site" if joint in ends else f"{'JOINT' if joint else 'ROOT'} {name}"
        lines += [f"{tab}{kind}", tab + "{", f"{tab}\tOFFSET {_words(offset)}"]
        if joint not in ends:
            moves = joint == 0 or clip.translations is not None
            turns = " ".join(f"{axis}rotation" for axis in _WRITTEN_ORDER)
            lines.append(f"{tab}\tCHANNELS {6 if moves else 3} {'Xposition Yposition Zposition ' * moves}{turns}")
        path.append(joint)
        if joint not in ends and joint not in clip.parents:
            lines += [f"{tab}\tEnd Site", tab + "\t{", f"{tab}\t\tOFFSET 0 0 0", tab + "\t}"]
    return lines + ["\t" * depth + "}" for depth in reversed(range(len(path)))]


def _words(offset: torch.Tensor) -> str:
    return " ".join(f"{value:.5f}" for value in _to_file_axes(offset.double().numpy()) * _CM_PER_METRE)


def _to_file_axes(vectors: Array) -> Array:
    return vectors[..., [0, 2, 1]] * [1.0, 1.0, -1.0]


def _angles(rotations: NDArray[np.float32]) -> Array:
    """Return angles [N, 3] in degrees about the axes of `_WRITTEN_ORDER`."""
    order = "".join("XYZ"[AXES[axis][0]] for axis in _WRITTEN_ORDER)
    with warnings.catch_warnings():  # at gimbal lock any of the solutions will do
        warnings.simplefilter("ignore", UserWarning)
        angles = Rotation.from_matrix(rotations).as_euler(order, degrees=True)
    return angles * [AXES[axis][1] for axis in _WRITTEN_ORDER]
