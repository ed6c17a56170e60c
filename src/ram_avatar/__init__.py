"""RAM-Avatar: from one video of one person, learn an avatar with full control of body, hands and face.

from ram_avatar import Motion, create, render

avatar = create("me.mp4", "me")
for frame in render(avatar, Motion.load("dance.npz")):
    ...
"""

from importlib import import_module

__version__ = "0.1.0"
_HOMES = {
    "Avatar": "avatar",
    "Capture": "capture.capture",
    "CreateOptions": "creation.options",
    "Motion": "motion.motion",
    "Person": "motion.retargeting.retarget",
    "TrackOptions": "tracking.offline.options",
    "TrainOptions": "creation.options",
    "UserError": "core.errors",
    "animate": "animation.animate",
    "create": "creation.create",
    "load_template": "body",
    "retarget": "motion.retargeting.retarget",
    "track": "tracking.offline.track",
    "render": "inference.render",
    "train": "creation.train",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    # Imported on first use: torch and the detector take seconds.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
