"""Several people in one video."""

import cv2
import numpy as np

from ram_avatar.tracking.detection.people import People, find_people
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


def test_a_person_who_walks_across_the_frame_counts_once(shared):
    """From look to look the face moves four times its width, farther than faces are linked over."""
    assert _find_walker(shared, bystander=False).others == 0


def test_a_walker_and_a_bystander_are_two_people(shared):
    assert _find_walker(shared, bystander=True).others == 1


def _find_walker(shared, bystander: bool) -> People:
    """Look at a real head that moves left and right, above one that stays."""
    frame = next(iter(read_frames(shared / "videos" / "bedroom_dance.mp4", stop=1)))
    head = frame[40:400, 160:520]  # the face is about 80 pixels wide

    def looks():
        for look in range(12):
            scene = np.full((720, 1280, 3), 127, np.uint8)
            left = 340 * abs(look % 4 - 2)
            scene[:360, left : left + 360] = head
            if bystander:
                scene[360:, 900:1260] = head
            yield 5 * look, scene

    return find_people(looks())
