"""Acclaim motions: a skeleton (`.asf`) and its joint angles (`.amc`), as in CMU's motion capture database.

Format: J. Lander, "Working with Motion Capture File Formats", Game Developer, January 1998; units and frame rate:
mocap.cs.cmu.edu, "FAQs" and "Info".
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.errors import UserError
from ...core.files import disk_errors
from ...core.progress import Progress
from ...core.untrusted.files import read_lines
from ...core.untrusted.records import named
from ..limits import MAX_JOINTS, check_frames, check_name
from ..motion import Motion
from ..skeleton import SkeletalClip
from .options import ReadOptions
from .skeletal import SkeletonReader

CMU_FPS = 120.0
_INCH = 0.0254  # metres
_MAX_NUMBER = 1e7
_LONGEST_NUMBER = 9  # digits of a frame's number
_MAX_SKELETON, _MAX_MOTION = 1 << 20, 1 << 28  # bytes; CMU's largest are 8 kB and 20 MB
# Columns: directions of the file's x (left), y (up) and z (front) in the package's axes.
_TO_WORLD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class _Line(NamedTuple):
    number: int
    words: list[str]


@dataclass
class _Bone:
    """A bone, which rotates about its start (its parent's end). In the file's axes."""

    name: str
    vector: np.ndarray  # [3] metres, at rest
    axes: np.ndarray  # [3, 3] columns: axes of its joint angles, at rest
    channels: list[str]  # tx ... rz, in the motion file's order


@dataclass
class _Skeleton:
    bones: list[_Bone]  # the root first, parents before children
    parents: list[int]
    position: np.ndarray  # [3] metres, of the root
    unit: float  # metres per unit of length
    degrees: bool


@dataclass
class _JointAngles:
    channels: dict[str, np.ndarray]  # [N, C] of every bone, in the file's units
    degrees: bool


def read(
    path: Path, template: BodyTemplate, identity: Tensor | None, options: ReadOptions, progress: Progress
) -> Motion:
    """Read an Acclaim motion as a motion of the template.

    The format has no frame rate: CMU's 120 is assumed, and `options.fps` resamples.

    Raises:
        UserError: see `read_amc`; or a skeleton that cannot be mapped.
    """
    reader = SkeletonReader(path, template, identity, options, progress)
    clip = read_amc(path)
    mapping = reader.joint_map(clip)
    return reader.motion(reader.upright(clip, mapping)[0], mapping)


def read_amc(path: str | Path, skeleton: str | Path | None = None, fps: float = CMU_FPS) -> SkeletalClip:
    """Read an Acclaim motion.

    Every bone becomes a joint at its start, where it rotates; joints at the ends of the last bones are named
    `<bone>_end`. Lengths are inches divided by the skeleton's `length` (0.45 at CMU), y is up and z is the front.

    Args:
        skeleton: the `.asf` file. By default the one in the motion's folder with the longest name that the motion's
            name begins with (`03.asf` for `03_01.amc`), or the only one there.
        fps: frame rate, which the format does not store.

    Raises:
        UserError: no such file, no skeleton, too large, or damaged; the message names the line or the frame.
    """
    path = Path(path)
    skeleton = Path(skeleton) if skeleton else _find_skeleton(path)
    with _damage(skeleton):
        rig = _parse_skeleton(_lines(skeleton, _MAX_SKELETON, "an Acclaim skeleton"))
    with _damage(path):
        motion = _parse_motion(_lines(path, _MAX_MOTION, "an Acclaim motion"), rig)
        # Each bone may have an end, which becomes a joint, too.
        check_frames(len(motion.channels["root"]), 2 * len(rig.bones), path.stat().st_size)
        return _clip(rig, motion, fps)


def _find_skeleton(path: Path) -> Path:
    with disk_errors(path):
        beside = {p.stem.lower(): p for p in path.absolute().parent.iterdir() if p.suffix.lower() == ".asf"}
    stem = path.stem.lower()
    named = [name for name in beside if stem.startswith(name) and not _cuts_number(stem, len(name))]
    if named:
        return beside[max(named, key=len)]
    if len(beside) == 1:
        return next(iter(beside.values()))
    raise UserError(f"{path}: needs its skeleton; put {path.stem.split('_')[0]}.asf beside it")


def _cuts_number(stem: str, length: int) -> bool:
    """Return whether a prefix ends within a number: `1.asf` is not the skeleton of `10_02.amc`."""
    return stem[length - 1 : length + 1].isdecimal() and len(stem) > length


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _lines(path: Path, most: int, kind: str) -> Iterator[_Line]:
    """Yield the lines that are neither empty nor comments. See `read_lines`."""
    for number, line in enumerate(read_lines(path, most, kind), start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield _Line(number, words)


def _numbers(line: _Line, words: list[str], count: int) -> np.ndarray:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"line {line.number}: '{' '.join(line.words)[:60]}' should hold numbers") from None
    if len(values) != count or not all(abs(value) < _MAX_NUMBER for value in values):
        raise ValueError(f"line {line.number}: needs {count} finite numbers, '{' '.join(line.words)[:60]}'")
    return np.array(values)


def _parse_skeleton(lines: Iterator[_Line]) -> _Skeleton:
    sections: dict[str, list[_Line]] = {}
    section: list[_Line] = []
    for line in lines:
        if line.words[0].startswith(":"):
            section = sections[line.words[0].lower()] = []
        else:
            section.append(line)
    for name in (":root", ":bonedata", ":hierarchy"):
        if name not in sections:
            raise ValueError(f"not an Acclaim skeleton, it has no section {name}")
    units = {line.words[0]: line for line in sections.get(":units", [])}
    scale = _numbers(units["length"], units["length"].words[1:], 1)[0] if "length" in units else 1.0
    if scale <= 0:
        raise ValueError(f"line {units['length'].number}: length must be positive")
    unit = _INCH / scale
    degrees = "angle" not in units or units["angle"].words[1:] != ["rad"]
    root, position = _parse_root(sections[":root"], unit, degrees)
    bones = {"root": root, **_parse_bones(sections[":bonedata"], unit, degrees)}
    order = _parse_hierarchy(sections[":hierarchy"], bones)
    index = {name: number for number, name in enumerate(order)}
    parents = [-1 if parent is None else index[parent] for parent in order.values()]
    return _Skeleton([bones[name] for name in order], parents, position, unit, degrees)


def _parse_root(lines: list[_Line], unit: float, degrees: bool) -> tuple[_Bone, np.ndarray]:
    fields = {line.words[0]: line for line in lines}
    order = fields["order"].words[1:] if "order" in fields else ["TX", "TY", "TZ", "RX", "RY", "RZ"]
    vectors = {
        key: _numbers(fields[key], fields[key].words[1:], 3) if key in fields else np.zeros(3)
        for key in ("position", "orientation")
    }
    axes = _euler(_order(fields["axis"]) if "axis" in fields else "XYZ", vectors["orientation"], degrees)
    return _Bone("root", np.zeros(3), axes, _channels(order)), vectors["position"] * unit


def _parse_bones(lines: list[_Line], unit: float, degrees: bool) -> dict[str, _Bone]:
    bones: dict[str, _Bone] = {}
    fields: dict[str, _Line] = {}
    for line in lines:
        key = line.words[0]
        if key == "begin":
            fields = {}
        elif key != "end":
            fields[key] = line  # further lines of `limits` get names that are never looked up
        else:
            absent = [k for k in ("name", "direction", "length", "axis") if k not in fields]
            if absent:
                raise ValueError(f"line {line.number}: a bone without {absent[0]}")
            name = _name(fields["name"], bones)
            length = _numbers(fields["length"], fields["length"].words[1:], 1)[0]
            direction = _numbers(fields["direction"], fields["direction"].words[1:], 3)
            axis = fields["axis"]
            axes = _euler(_order(axis), _numbers(axis, axis.words[1:-1], 3), degrees)
            channels = _channels(fields["dof"].words[1:]) if "dof" in fields else []
            if any(c[0] != "r" for c in channels):
                raise ValueError(f"line {fields['dof'].number}: bones that translate are not supported")
            bones[name] = _Bone(name, direction * length * unit, axes, channels)
    return bones


def _name(line: _Line, bones: Mapping[str, _Bone]) -> str:
    """Return the name of another bone. Raises ValueError: it is wrong or taken, or there are too many bones."""
    name = line.words[-1]
    if name in bones or name == "root":
        raise ValueError(f"line {line.number}: a second bone with the name {name}")
    if len(bones) >= MAX_JOINTS // 2:  # each may have an end, which is a joint, too
        raise ValueError(f"line {line.number}: more than {MAX_JOINTS // 2} bones")
    with named(f"line {line.number}"):
        return check_name(name)


def _parse_hierarchy(lines: list[_Line], bones: dict[str, _Bone]) -> dict[str, str | None]:
    """Return the bones, parents before children, each with its parent."""
    children: dict[str, list[str]] = {}
    for line in lines:
        if line.words[0] not in ("begin", "end"):
            unknown = [word for word in line.words if word not in bones]
            if unknown:
                raise ValueError(f"line {line.number}: there is no bone {unknown[0][:60]}")
            children.setdefault(line.words[0], []).extend(line.words[1:])
    order: dict[str, str | None] = {}
    stack: list[tuple[str, str | None]] = [("root", None)]
    while stack:
        name, parent = stack.pop()
        if name in order:
            raise ValueError(f"the bone {name} has two parents")
        order[name] = parent
        stack += [(child, name) for child in reversed(children.get(name, []))]
    if len(order) < len(bones):
        raise ValueError(f"the bone {next(name for name in bones if name not in order)} is not in the hierarchy")
    return order


def _order(line: _Line) -> str:
    """Return the order of axes that a line ends with."""
    order = line.words[-1].upper()
    if sorted(order) != ["X", "Y", "Z"]:
        raise ValueError(f"line {line.number}: needs an order of axes such as XYZ, '{' '.join(line.words)[:60]}'")
    return order


def _channels(words: list[str]) -> list[str]:
    channels = [word.lower() for word in words]
    if not set(channels) <= {"tx", "ty", "tz", "rx", "ry", "rz"} or len(set(channels)) < len(channels):
        raise ValueError(f"'{' '.join(words)[:60]}' are not the degrees of freedom of a joint")
    return channels


def _parse_motion(lines: Iterator[_Line], skeleton: _Skeleton) -> _JointAngles:
    degrees = skeleton.degrees  # unless the motion states otherwise
    columns, width = {}, 0
    for bone in skeleton.bones:
        columns[bone.name] = slice(width, width + len(bone.channels))
        width += len(bone.channels)
    rows: list[np.ndarray] = []
    first = 0

    def check_complete() -> None:  # at once, so that memory does not outgrow the file
        if (missing := np.isnan(rows[-1])).any():
            name = next(name for name, column in columns.items() if missing[column].any())
            raise ValueError(f"frame {first + len(rows) - 1} has no angles of {name}")

    for line in lines:
        name, *values = line.words
        if name.startswith(":"):
            if name.upper() in (":DEGREES", ":RADIANS"):
                degrees = name.upper() == ":DEGREES"
        elif not values and name.isdecimal():
            if len(name) > _LONGEST_NUMBER:
                raise ValueError(f"line {line.number}: the frame's number is too large")
            first = first if rows else int(name)
            if int(name) != first + len(rows):
                raise ValueError(f"line {line.number}: frame {name}, but {first + len(rows)} comes next")
            if rows:
                check_complete()
            rows.append(np.full(width, np.nan))
        elif not rows or name not in columns:
            raise ValueError(f"line {line.number}: there is no bone {name[:60]} in the skeleton")
        else:
            column = columns[name]
            rows[-1][column] = _numbers(line, values, column.stop - column.start)
    if not rows:
        raise ValueError("not an Acclaim motion, it has no frames")
    check_complete()
    table = np.stack(rows)
    return _JointAngles({name: table[:, column] for name, column in columns.items()}, degrees)


def _clip(skeleton: _Skeleton, motion: _JointAngles, fps: float) -> SkeletalClip:
    bones = skeleton.bones
    names, parents = [bone.name for bone in bones], list(skeleton.parents)
    offsets = [np.zeros(3)] + [bones[parent].vector for parent in parents[1:]]
    turns = [_turns(bone, motion.channels[bone.name], motion.degrees) for bone in bones]
    for index, bone in enumerate(bones):
        if index not in skeleton.parents and index:
            names.append(f"{bone.name}_end")
            parents.append(index)
            offsets.append(bone.vector)
            turns.append(torch.eye(3).expand(len(turns[0]), 3, 3))
    channels, values = bones[0].channels, motion.channels["root"]
    way = np.zeros((len(values), 3))
    for axis, channel in enumerate(("tx", "ty", "tz")):
        if channel in channels:
            way[:, axis] = values[:, channels.index(channel)] * skeleton.unit
    return SkeletalClip(
        names=names,
        parents=parents,
        offsets=torch.from_numpy(np.stack(offsets) @ _TO_WORLD.T).float(),
        rotations=torch.stack(turns, 1),
        root=torch.from_numpy((way + skeleton.position) @ _TO_WORLD.T).float(),
        fps=fps,
    )


def _turns(bone: _Bone, motion: np.ndarray, degrees: bool) -> Tensor:
    """Return rotations [N, 3, 3] from rest in the package's axes: C M C^-1, with the bone's axes C and rotation M."""
    angles = [(channel[1], motion[:, i]) for i, channel in enumerate(bone.channels) if channel[0] == "r"]
    to_world = _TO_WORLD @ bone.axes
    if not angles:
        return torch.eye(3).expand(len(motion), 3, 3)
    order, values = "".join(axis for axis, _ in angles), np.stack([value for _, value in angles], 1)
    return torch.from_numpy(to_world @ _euler(order, values, degrees) @ to_world.T).float()


def _euler(order: str, angles: np.ndarray, degrees: bool) -> np.ndarray:
    """Convert angles to rotations [..., 3, 3]: extrinsic, the first angle of the order applied first."""
    return Rotation.from_euler(order.lower(), angles, degrees=degrees).as_matrix()
