"""Which frames of a video show the person: the others are tracked through, and nothing is learned from them."""

from collections.abc import Sequence

import numpy as np
import torch

from ...capture.capture import NOBODY, OTHER_SCENE, LeftOut
from ..detection.topology import JOINTS
from ..observations import Observations
from .scenes import TRANSITION, runs

PRESENT = 0.1  # of the joints are seen within the picture, on average, where there is anybody


def find_left_out(observations: Observations, scenes: np.ndarray, one_scene: bool) -> list[LeftOut]:
    """The frames that do not show the person, in order.

    Args:
        observations: of every frame.
        scenes: [N] from `Scenes.labels`.
        one_scene: keep only the scene that shows the person longest, and not all that show anybody.
    """
    present = is_present(observations)
    elsewhere = scenes == TRANSITION
    if one_scene and (present & ~elsewhere).any():
        elsewhere |= scenes != np.bincount(scenes[present & ~elsewhere]).argmax()
    found = []
    for why, frames in ((OTHER_SCENE, elsewhere), (NOBODY, ~present & ~elsewhere)):
        found += [LeftOut(run[0], run[-1], why) for run in runs(np.flatnonzero(frames).tolist())]
    return sorted(found, key=lambda frames: frames.first)


def is_present(observations: Observations) -> np.ndarray:
    """[N] bool: whether somebody is in the picture, and not just a guess of the detector where they were before."""
    size = torch.tensor([observations.width, observations.height])
    joints = observations.topology.indices(JOINTS)
    places = observations.pose[:, joints]
    inside = ((places >= 0) & (places <= size)).all(-1)
    body = (observations.visibility[:, joints] * inside).mean(1) >= PRESENT
    return (observations.seen["body"] & (body | observations.seen["face"])).numpy()


def leave_out(observations: Observations, left_out: Sequence[LeftOut]) -> None:
    """Take what was seen in frames that are left out, masks too, for unseen; in place."""
    for frames in left_out:
        which = slice(frames.first, frames.last + 1)
        for seen in observations.seen.values():
            seen[which] = False
        observations.masks[which] = 0


def describe(left_out: Sequence[LeftOut], count: int) -> str:
    """How many of `count` frames are left out and why, for the user: half a sentence."""
    numbers = {why: sum(len(frames) for frames in left_out if frames.why == why) for why in (NOBODY, OTHER_SCENE)}
    told = []
    if numbers[NOBODY]:
        told.append(f"{numbers[NOBODY]} show{'s' if numbers[NOBODY] == 1 else ''} nobody")
    if numbers[OTHER_SCENE]:
        told.append(f"{numbers[OTHER_SCENE]} belong{'s' if numbers[OTHER_SCENE] == 1 else ''} to another scene")
    total = sum(numbers.values())
    return f"{total} of {count} frames {'is' if total == 1 else 'are'} left out: {', '.join(told)}"
