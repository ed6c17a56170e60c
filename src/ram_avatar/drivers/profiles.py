"""Identities remembered under names that people chose: small JSON files in the cache folder."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.cache import cache_folder
from ..core.errors import UserError
from ..core.files import atomic_file, disk_errors
from ..core.untrusted.records import read_description

FORMAT_VERSION = 1
_NAME = re.compile(r"\w[\w .-]{0,63}")  # letters of any script; never a path


@dataclass(frozen=True)
class Profile:
    """What is remembered of a person: their identity, and how their face looks at rest."""

    template: str  # name of the body template
    identity: tuple[float, ...]
    neutral_face: tuple[float, ...] | None = None  # facial actions, see `motion.retargeting.retarget.Placement`

    @classmethod
    def of(cls, template: BodyTemplate, identity: Tensor, neutral_face: tuple[float, ...] | None) -> "Profile":
        """Make the profile of an identity [I]."""
        return cls(template.name, tuple(identity.tolist()), neutral_face)

    def save(self, name: str) -> None:
        """Write the profile under a name, replacing an earlier one.

        Raises:
            UserError: not a valid name; the disk is full.
        """
        path = _path(name)
        with disk_errors(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
        with atomic_file(path) as partial:
            partial.touch(0o600)  # a person's build is nobody else's business
            partial.write_text(json.dumps({"format_version": FORMAT_VERSION} | asdict(self)))

    @classmethod
    def load(cls, name: str, template: BodyTemplate) -> "Profile | None":
        """Read the profile of a name; None if there is none, or it is of another template.

        Raises:
            UserError: not a valid name; a damaged file, or one of another format version.
        """
        path = _path(name)
        if not path.is_file():
            return None
        described = read_description(path, "profile", FORMAT_VERSION)
        if described.take("template", str) != template.name:
            return None
        identity = described.take("identity", tuple[float, ...])
        face = described.take("neutral_face", tuple[float, ...] | None, None)
        with described.checked():
            template.check_identity(torch.tensor(identity))
            template.check_face(face)
        return cls(template.name, identity, face)

    def tensor(self) -> Tensor:
        """Return the identity [I]."""
        return torch.tensor(self.identity)


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' is not a name for a profile: letters, digits, spaces, dots and dashes, at most 64")
    return cache_folder() / "profiles" / f"{name}.json"
