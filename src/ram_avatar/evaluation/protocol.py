"""How an evaluation was done, in words for its reader."""

from collections.abc import Collection, Mapping

from ..avatar import Avatar
from ..core.device import describe_machine, describe_versions
from .document import METHODS, method_label
from .metrics import unavailable


def describe_protocol(avatar: Avatar, size: int, methods: Collection[str], facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts of an evaluation by topic.

    Args:
        size: side of the pictures, pixels.
        methods: what was compared, see `METHODS`.
        facts: those of this kind of evaluation.
    """
    trained = avatar.training
    packages = (
        "ram-avatar",
        "torch",
        "mediapipe",
        "anny",
        "stlpips_pytorch",
        "opencv-contrib-python",
        "flip-evaluator",
    )
    described = {
        "preset": avatar.preset,
        "training": f"{trained['step']} of {trained['steps']} steps on {trained['frames']} frames of "
        f"{trained['source']}, {trained['seconds']:.0f} s",
        "pictures": f"close-ups that follow the person, {size} x {size} pixels, painted at {avatar.size}; 8 bits per "
        "channel",
        **facts,
        "baselines": ", ".join(
            f"{method_label(method)}: {METHODS[method][1]}"
            for method in METHODS
            if method in methods and method != "avatar"
        ),
        "versions": describe_versions(*packages),
        "machine": describe_machine(),
    }
    return described | {f"not measured: {name}": why for name, why in unavailable().items()}
