"""Builds of people who were here before, by the names that they chose: small JSON files in the cache folder."""

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.cache import cache_folder
from ..core.errors import UserError
from ..core.files import atomic_file, disk_errors, read_description

FORMAT_VERSION = 1
_NAME = re.compile(r"\w[\w .-]{0,63}")  # letters of any script; no path
_LARGEST = 100.0  # of an identity's numbers: none of any template goes near


@dataclass(frozen=True)
class Profile:
    """What is remembered of a person."""

    template: str  # name of the body template
    identity: tuple[float, ...]
    neutral_face: tuple[float, ...] | None = None  # see `motion.retarget.Placement`

    @classmethod
    def of(cls, template: BodyTemplate, identity: Tensor, neutral_face: tuple[float, ...] | None) -> "Profile":
        return cls(template.name, tuple(identity.tolist()), neutral_face)

    def save(self, name: str) -> None:
        """Remember the person, in the place of what was remembered of this name.

        Raises:
            UserError: not a name; the disk is full.
        """
        path = _path(name)
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as partial:
            partial.write_text(json.dumps({"format_version": FORMAT_VERSION} | asdict(self)))

    @classmethod
    def load(cls, name: str, template: BodyTemplate) -> "Profile | None":
        """Who is known by this name on this template; None where nobody is.

        Raises:
            UserError: not a name; a damaged file, or one of another format version.
        """
        path = _path(name)
        if not path.is_file():
            return None
        described = read_description(path, "profile", FORMAT_VERSION)
        if described.get("template") != template.name:
            return None
        identity = _numbers(path, described.get("identity"), len(template.identity_names))
        face = described.get("neutral_face")
        return cls(template.name, identity, face and _numbers(path, face, len(template.action_names)))

    def tensor(self) -> Tensor:
        """[I] the identity."""
        return torch.tensor(self.identity)


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' is not a name for a profile: letters, digits, spaces, dots and dashes, at most 64")
    return cache_folder() / "profiles" / f"{name}.json"


def _numbers(path: Path, values: object, count: int) -> tuple[float, ...]:
    fine = isinstance(values, list) and len(values) == count
    if not fine or not all(type(v) in (int, float) and math.isfinite(v) and abs(v) <= _LARGEST for v in values):
        raise UserError(f"{path}: damaged; delete it and calibrate again")
    return tuple(map(float, values))
