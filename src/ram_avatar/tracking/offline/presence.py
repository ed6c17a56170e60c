"""Which frames of a video show the person. The others are left out: tracked, but nothing is learned from them."""

from collections.abc import Sequence

import numpy as np
import torch

from ...capture.capture import NOBODY, OTHER_SCENE, LeftOut
from ..detection.topology import JOINTS
from ..observations import Observations
from .scenes import TRANSITION, runs

PRESENT = 0.1  # mean visibility of the joints, those outside the image counting as 0, if there is anybody


def find_left_out(observations: Observations, scenes: np.ndarray, one_scene: bool) -> list[LeftOut]:
    """Return the frames that do not show the person, in order.

    Args:
        observations: of every frame.
        scenes: [N] from `Scenes.labels`.
        one_scene: keep only the scene that shows the person longest, instead of all that show anybody.
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
    """Return whether each frame shows a person [N] bool, and not just the detector's guess of where they were."""
    size = torch.tensor([observations.width, observations.height])
    joints = observations.topology.indices(JOINTS)
    places = observations.pose[:, joints]
    inside = ((places >= 0) & (places <= size)).all(-1)
    body = (observations.visibility[:, joints] * inside).mean(1) >= PRESENT
    return (observations.seen["body"] & (body | observations.seen["face"])).numpy()


def leave_out(observations: Observations, left_out: Sequence[LeftOut]) -> None:
    """Mark everything in frames that are left out as unseen, and clear their masks, in place."""
    for frames in left_out:
        which = slice(frames.first, frames.last + 1)
        for seen in observations.seen.values():
            seen[which] = False
        observations.masks[which] = 0


def describe(left_out: Sequence[LeftOut], count: int) -> str:
    """Return how many of `count` frames are left out and why, as half a sentence for the user."""
    numbers = {why: sum(len(frames) for frames in left_out if frames.why == why) for why in (NOBODY, OTHER_SCENE)}
    reasons = []
    if numbers[NOBODY]:
        reasons.append(f"{numbers[NOBODY]} show{'s' if numbers[NOBODY] == 1 else ''} nobody")
    if numbers[OTHER_SCENE]:
        reasons.append(f"{numbers[OTHER_SCENE]} belong{'s' if numbers[OTHER_SCENE] == 1 else ''} to another scene")
    total = sum(numbers.values())
    return f"{total} of {count} frames {'is' if total == 1 else 'are'} left out: {', '.join(reasons)}"
