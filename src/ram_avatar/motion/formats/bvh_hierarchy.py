"""The hierarchy of a BVH file: its joints, their offsets and channels."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...core.text import one_line
from ..limits import MAX_JOINTS, check_name

Array = NDArray[np.float64]
Fail = Callable[[int, str], UserError]
"""Makes the error of a line."""

MAX_NUMBER = 1e7
"""Limit of a file's numbers, in its units."""
AXES = {"X": (0, 1.0), "Y": (2, 1.0), "Z": (1, -1.0)}
"""The file's axes as the package's (x left, y back, z up), with signs: (x, y, z) becomes (x, -z, y)."""
_CHANNEL = re.compile(r"([XYZ])(position|rotation)", re.IGNORECASE)


@dataclass
class Joint:
    """A joint, or an End Site."""

    name: str
    parent: int
    offset: Array = field(default_factory=lambda: np.zeros(3))  # [3] in the file's units, the package's axes
    has_offset: bool = False
    channels: list[str] = field(default_factory=list)  # such as "Xposition"
    first: int = 0  # column of its first channel

    def columns(self, kind: str) -> list[tuple[str, int]]:
        """Return axes ("X") and columns of the channels of a kind, in the file's order."""
        return [(c[0].upper(), self.first + k) for k, c in enumerate(self.channels) if c[1:].lower() == kind]


def read_hierarchy(text: str, fail: Fail) -> list[Joint]:
    """Read the joints, the root first and parents before children.

    Args:
        text: the file up to MOTION.
        fail: makes the error of a line.

    Raises:
        UserError: what `fail` returns, where the text is damaged.
    """
    joints: list[Joint] = []
    open_joints: list[int] = []
    taken: set[str] = set()
    begun, line = None, 0
    for line, content in enumerate(text.splitlines(), start=1):
        for statement in re.split(r"([{}])", content):  # a brace may share its line
            words = statement.split()
            match words:
                case [] | ["HIERARCHY"] | ["\ufeffHIERARCHY"]:
                    continue
                case ["ROOT" | "JOINT" | "End", _, *_] if begun is None:
                    if (words[0] == "ROOT") != (not joints):
                        raise fail(line, "a second ROOT" if joints else "the hierarchy must begin with a ROOT")
                    if joints and not open_joints:
                        raise fail(line, f"'{words[0]}' outside of the ROOT")
                    begun = len(joints)
                    if begun >= MAX_JOINTS:
                        raise fail(line, f"more than {MAX_JOINTS} joints")
                    parent = open_joints[-1] if open_joints else -1
                    try:
                        name = _end_name(joints[parent], taken) if words[0] == "End" else _own_name(words, taken)
                    except ValueError as error:
                        raise fail(line, str(error)) from None
                    taken.add(name)
                    joints.append(Joint(name, parent))
                case ["{"] if begun is not None:
                    open_joints.append(begun)
                    begun = None
                case ["}"] if open_joints and begun is None:
                    closed = joints[open_joints.pop()]
                    if not closed.has_offset:
                        raise fail(line, f"'{closed.name}' has no OFFSET")
                case ["OFFSET", *numbers] if open_joints and begun is None:
                    joint = joints[open_joints[-1]]
                    joint.offset, joint.has_offset = _offset(numbers, line, fail), True
                case ["CHANNELS", stated, *channels] if open_joints and begun is None:
                    if stated != str(len(channels)):
                        raise fail(line, f"states {stated[:20]} channels, but names {len(channels)}")
                    distinct = {channel.lower() for channel in channels}
                    if not all(map(_CHANNEL.fullmatch, channels)) or len(distinct) < len(channels):
                        shown = one_line(content, 80)
                        raise fail(line, f"channels must be distinct, and X, Y or Z position or rotation: '{shown}'")
                    joints[open_joints[-1]].channels = channels
                case _:
                    raise fail(line, f"unexpected '{statement.strip()[:60]}'")
    if open_joints or begun is not None:
        name = joints[begun if begun is not None else open_joints[-1]].name
        raise fail(line, f"the hierarchy ends before '{name}' is closed")
    if not joints:
        raise fail(line, "the hierarchy has no ROOT")
    column = 0
    for joint in joints:
        joint.first, column = column, column + len(joint.channels)
    if not column:
        raise fail(line, "the hierarchy has no CHANNELS")
    return joints


def _own_name(words: list[str], taken: set[str]) -> str:
    """Return the name of a joint. Raises ValueError: see `check_name`; or it is taken."""
    name = check_name(" ".join(words[1:]))
    if name in taken:
        raise ValueError(f"a second joint with the name '{name}'")
    return name


def _end_name(parent: Joint, taken: set[str]) -> str:
    """Return the name of an End Site: the parent's with `_end`, and a number from the second one on."""
    numbers = chain([""], map(str, count(2)))
    return next(name for number in numbers if (name := f"{parent.name}_end{number}") not in taken)


def _offset(words: list[str], line: int, fail: Fail) -> Array:
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        numbers = np.array([])
    if numbers.shape != (3,) or not (np.abs(numbers) < MAX_NUMBER).all():
        raise fail(line, f"OFFSET needs three numbers, got '{' '.join(words)[:60]}'")
    return numbers[[0, 2, 1]] * [1.0, -1.0, 1.0]
