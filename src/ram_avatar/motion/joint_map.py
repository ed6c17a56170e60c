"""Which joint of a file is the elbow: tables of the joint names of tools and data sets."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..body.template import FINGERS
from ..core.errors import UserError
from ..core.text import one_line
from ..core.untrusted.documents import read_yaml
from ..core.untrusted.records import Description, as_type, named

_MIDDLE_PARTS = ("hips", "spine", "neck", "head")
_SIDE_PARTS = ("clavicle", "upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toes", *FINGERS)
_NEEDED = ("hips", "head", *(f"{part}.{side}" for part in _SIDE_PARTS[1:7] for side in "LR"))
_CHAINS = ("spine", "neck", *FINGERS)  # parts of several joints, from the trunk outward
_PARTS = (*_MIDDLE_PARTS, *_SIDE_PARTS)
_MOST_NAMES = 100  # of a part
_SHOWN = 4  # missing parts that a message names
_FEWEST_FINGER_JOINTS = 3


@dataclass(frozen=True)
class JointTable:
    """Joint names by body part. `{side}` in a name stands for each of `sides`.

    A part's names are alternatives; the first that a skeleton has is used. Names of the spine, the neck and the fingers
    follow one another along the chain. A part is the bone that begins at the joint: `forearm` is the elbow joint.
    """

    name: str
    sides: tuple[str, str]  # left, right
    parts: dict[str, tuple[str, ...]]

    @classmethod
    def load(cls, path: str | Path) -> "JointTable":
        """Read a YAML file with `sides: [Left, Right]` and `joints: {part: name or [names]}`.

        Raises:
            UserError: no such file, not such YAML, or unknown parts.
        """
        path = Path(path)
        table = Description(read_yaml(path, "a table of joint names"), path)
        sides, joints = table.take("sides", tuple[str, str]), table.take("joints", dict)
        if not joints:
            raise UserError(f"{path}: joints: expected names by part of the body")
        parts = {}
        for part, names in joints.items():
            if part not in _PARTS:
                raise UserError(f"{path}: there is no part '{one_line(str(part), 20)}'; parts are {', '.join(_PARTS)}")
            with table.checked(), named(part):
                parts[part] = _names(names, "{side}" if part in _SIDE_PARTS else "")
        return cls(path.stem, sides, parts)

    def match(self, names: list[str]) -> dict[str, tuple[str, ...]]:
        """Return the joints among `names` by part, with `.L` and `.R` for the sides. Missing parts are left out."""
        found = {}
        known = {_plain(name): name for name in reversed(_without_prefix(names))}
        original = dict(zip(_without_prefix(names), names, strict=True))
        for part, patterns in self.parts.items():
            sides = zip((".L", ".R"), self.sides, strict=True) if part in _SIDE_PARTS else [("", "")]
            for suffix, side in sides:
                plain = (_plain(pattern.replace("{side}", side)) for pattern in patterns)
                joints = tuple(original[known[name]] for name in plain if name in known)
                if joints and not (part in FINGERS and len(joints) < _FEWEST_FINGER_JOINTS):
                    found[part + suffix] = joints if part in _CHAINS else joints[:1]
        return found


@dataclass(frozen=True)
class JointMap:
    """A skeleton's joints by part: `hips`, `spine` (a chain), `neck` (a chain), `head`, and with `.L` and `.R`
    `clavicle`, `upper_arm`, `forearm`, `hand`, `thigh`, `shin`, `foot`, `toes`, `thumb` ... `little` (chains)."""

    table: str  # name of the table that the names come from
    joints: dict[str, tuple[str, ...]]

    @classmethod
    def find(cls, names: list[str], path: str | Path | None = None) -> "JointMap":
        """Map a skeleton's joints by the table that matches most of them.

        Args:
            path: a user's table, which takes precedence; the shipped table fills in the parts it lacks.

        Raises:
            UserError: a required joint is not found, or the file at `path` is wrong.
        """
        found = ((table.match(names), table.name) for table in shipped_tables())
        (joints, table), *others = sorted(found, key=_matches, reverse=True)
        for other, _ in others:  # names of the trunk mean the same in all tables
            joints = {part: other[part] for part in _MIDDLE_PARTS if part in other} | joints
        if path is not None:
            own = JointTable.load(path)
            joints, table = {**joints, **own.match(names)}, own.name
        missing = [part for part in _NEEDED if part not in joints]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise UserError(
                f"this skeleton's joints are not known ({', '.join(one_line(name, 16) for name in names[:4])}, ...): "
                f"no joint was found for {', '.join(missing[:_SHOWN])}{more}; "
                "name them in a .yaml table and pass it as --joint-names"
            )
        return cls(table, joints)

    def __getitem__(self, part: str) -> str:
        """Return the name of a part's joint; the first one of a chain."""
        return self.joints[part][0]

    def __contains__(self, part: str) -> bool:
        return part in self.joints


def _names(value: Any, needed: str) -> tuple[str, ...]:
    """Return the names of a part, a text or a list of texts. Raises ValueError: see `as_type`."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not 0 < len(values) <= _MOST_NAMES:
        raise ValueError(f"expected a name or a list of at most {_MOST_NAMES} names")
    names: tuple[str, ...] = as_type(tuple[str, ...], values)
    if not all(needed in name for name in names):
        raise ValueError(f"its names need {needed} in place of the side")
    return names


@cache
def shipped_tables() -> list[JointTable]:
    """Return the tables that ship with the package."""
    folder = Path(str(resources.files(__package__) / "joint_maps"))
    return [JointTable.load(path) for path in sorted(folder.glob("*.yaml"))]


def _matches(found: tuple[dict[str, tuple[str, ...]], str]) -> tuple[int, int]:
    """Rank a match: required parts first, then all joints."""
    joints, _ = found
    return sum(part in joints for part in _NEEDED), sum(map(len, joints.values()))


def _plain(name: str) -> str:
    """Normalize a name for comparison: no case, spaces, punctuation or namespace."""
    return re.sub(r"[\s_.\-]", "", name.rsplit(":", 1)[-1].rsplit("|", 1)[-1]).lower().removeprefix("mixamorig")


def _without_prefix(names: list[str]) -> list[str]:
    """Strip what all names begin with, up to an underscore: a character's name."""
    common = names[0]
    while not all(name.startswith(common) for name in names):
        common = common[:-1]
    start = common.rfind("_") + 1 if len(names) > 1 else 0
    return [name[start:] for name in names]
