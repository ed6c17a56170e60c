"""Several people in one video."""

import cv2
import numpy as np

from ram_avatar.tracking.detection.people import find_people
from ram_avatar.video import read_frames


def test_the_larger_of_two_people_is_followed(shared):
    """Two real clips side by side, one of them much smaller."""
    large = read_frames(shared / "videos" / "bedroom_dance.mp4", stop=40)
    small = read_frames(shared / "videos" / "stage_dance.mp4", stop=40)
    frames = []
    for a, b in zip(large, small, strict=True):
        a = cv2.resize(a, (450, 720))
        b = cv2.resize(b, (330, 587))
        frames.append(np.concatenate([a, cv2.copyMakeBorder(b, 0, 133, 0, 0, cv2.BORDER_REPLICATE)], 1))
    people = find_people((i, frames[i]) for i in range(0, 40, 5))
    assert people.others == 1
    alone = people.isolate(20, frames[20])
    assert (alone[:, 600:] == 127).all() and (alone[:, :400] == frames[20][:, :400]).all()


def test_one_person_counts_once(shared):
    frames = list(read_frames(shared / "videos" / "bedroom_dance.mp4", stop=10))
    people = find_people(enumerate(frames))
    assert people.others == 0 and people.isolate(3, frames[3]) is frames[3]
