"""RAM-Avatar: from one video of one person, an avatar with full control of body, hands and face.

from ram_avatar import Avatar, Motion, create

avatar = create("me.mp4", "me")
for frame in avatar.render(Motion.load("dance.npz")):
    ...
"""

from importlib import import_module

__version__ = "0.1.0"
_HOMES = {
    "Avatar": "avatar",
    "Capture": "tracking.capture",
    "Motion": "motion.motion",
    "Person": "motion.retarget",
    "UserError": "errors",
    "animate": "animate",
    "create": "create",
    "load_template": "body",
    "retarget": "motion.retarget",
    "track": "tracking.track",
    "train": "create",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    # Imported when asked for: torch and the detector take seconds.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
