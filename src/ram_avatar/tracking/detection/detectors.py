"""Which detectors there are, and which one is the default: all that a new detector changes besides its own module."""

from collections.abc import Callable

from .landmarks import LandmarkDetector, StillDetector
from .mediapipe import MEDIAPIPE, HolisticDetector, MediaPipeStills
from .topology import Topology

DEFAULT_TOPOLOGY = MEDIAPIPE  # that of `open_detector`
_STILLS: dict[str, Callable[[], StillDetector]] = {MEDIAPIPE.name: MediaPipeStills}


def open_detector(*, masks: bool = True, separate: bool = False) -> LandmarkDetector:
    """Open the default detector.

    Args:
        masks: find the person's mask, too; otherwise masks are empty, which is faster.
        separate: the images do not follow each other, so detect afresh in each.
    """
    return HolisticDetector(masks=masks, separate=separate)


def open_stills(topology: Topology) -> StillDetector:
    """Open the detector of a topology for single images.

    Raises:
        KeyError: no detector has this topology.
    """
    return _STILLS[topology.name]()
