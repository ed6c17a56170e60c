"""What a user can set while the avatar moves."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

from ..core.errors import UserError

BACKGROUNDS = ("captured", "picture", "transparent")
FINGERS = tuple(
    f"{side} {finger}" for side in ("left", "right") for finger in ("thumb", "index", "middle", "ring", "little")
)
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """One state of the page's controls. What the page sends is checked by `changed`."""

    mirror: bool = True
    """Move as a mirror would: the person's right hand is on the right of the picture."""
    smoothing: float = 0.5
    """0 follows every tremble, 1 is calm and late."""
    alignment: float = 0.5
    """How far poses that the avatar never learned are brought towards ones that it did, 0 to 1."""
    background: str = "captured"
    """One of `BACKGROUNDS`, or a colour #rrggbb."""
    face: Mapping[str, float] = field(default_factory=dict)
    """Facial actions moved by hand, 0 to 1: they replace the driver's."""
    fingers: Mapping[str, float] = field(default_factory=dict)
    """Fingers bent by hand (`FINGERS`), 0 straight to 1 bent."""

    def changed(self, changes: Mapping, actions: Iterable[str]) -> "Settings":
        """The settings with what the page changed; `face` and `fingers` are replaced whole.

        Args:
            actions: the facial actions that there are.

        Raises:
            UserError: an unknown name, or a value out of its range.
        """
        known = {f.name for f in fields(self)}
        checked = {}
        for name, value in changes.items():
            if name not in known:
                raise UserError(f"there is no setting '{name}'")
            if name == "mirror":
                if not isinstance(value, bool):
                    raise UserError("mirror is on or off")
                checked[name] = value
            elif name == "background":
                if value not in BACKGROUNDS and not (isinstance(value, str) and _COLOUR.fullmatch(value)):
                    raise UserError(f"background is {', '.join(BACKGROUNDS)} or a colour as #00b140, not '{value}'")
                checked[name] = value
            elif name in ("face", "fingers"):
                checked[name] = _sliders(name, value, set(actions if name == "face" else FINGERS))
            else:
                checked[name] = _share(name, value)
        return replace(self, **checked)


def _sliders(group: str, values: object, names: set[str]) -> dict[str, float]:
    if not isinstance(values, dict):
        raise UserError(f"{group} wants a value by name")
    unknown = sorted(set(values) - names)
    if unknown:
        raise UserError(f"{group} has no '{unknown[0]}'")
    return {name: _share(name, value) for name, value in values.items()}


def _share(name: str, value: object) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 <= value <= 1:
        raise UserError(f"{name} lies between 0 and 1")
    return float(value)
