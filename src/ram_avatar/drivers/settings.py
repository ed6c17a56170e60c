"""Controls that a user can change while the avatar moves."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..core.errors import UserError

BACKGROUNDS = ("captured", "picture", "transparent")
FINGERS = tuple(
    f"{side} {finger}" for side in ("left", "right") for finger in ("thumb", "index", "middle", "ring", "little")
)
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """The state of the page's controls. `changed` checks what the page sends."""

    mirror: bool = True
    """Move like a mirror image: the person's right hand is on the right of the image."""
    remember: bool = False
    """Keep what is learned of the person's build for the next time."""
    smoothing: float = 0.5
    """0 follows every jitter; 1 is calm, but lags."""
    alignment: float = 0.5
    """How far unseen poses move towards those in the avatar's training video, 0 to 1."""
    background: str = "captured"
    """One of `BACKGROUNDS`, or a color #rrggbb."""
    face: Mapping[str, float] = field(default_factory=dict)
    """Facial actions set by sliders, 0 to 1; they replace the driver's."""
    fingers: Mapping[str, float] = field(default_factory=dict)
    """Fingers (`FINGERS`) set by sliders, 0 straight to 1 bent."""

    def changed(self, changes: Mapping[str, object], actions: Iterable[str]) -> "Settings":
        """Return the settings with changes from the page; `face` and `fingers` are replaced whole.

        Args:
            actions: names of the facial actions that the avatar has.

        Raises:
            UserError: an unknown name, or a value out of its range.
        """
        names = {"face": set(actions), "fingers": set(FINGERS)}
        known = {f.name for f in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise UserError(f"there is no setting '{name}'")
            if name in ("mirror", "remember"):
                if not isinstance(value, bool):
                    raise UserError(f"{name} is on or off")
                checked[name] = value
            elif name == "background":
                if value not in BACKGROUNDS and not (isinstance(value, str) and _COLOUR.fullmatch(value)):
                    raise UserError(f"background is {', '.join(BACKGROUNDS)} or a colour as #00b140, not '{value}'")
                checked[name] = value
            elif name in names:
                checked[name] = _sliders(name, value, names[name])
            else:
                checked[name] = _share(name, value)
        return replace(self, **checked)


def _sliders(group: str, values: object, names: set[str]) -> dict[str, float]:
    if not isinstance(values, dict):
        raise UserError(f"{group} must be an object of values by name")
    unknown = sorted(set(values) - names)
    if unknown:
        raise UserError(f"{group} has no '{unknown[0]}'")
    return {name: _share(name, value) for name, value in values.items()}


def _share(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:  # NaN is not
        return float(value)
    raise UserError(f"{name} must be between 0 and 1")
