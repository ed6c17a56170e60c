import numpy as np
import pytest

from ram_avatar.drivers.mirroring import Mirror
from ram_avatar.drivers.played_motion import PlayedMotion, standing
from ram_avatar.drivers.settings import Settings
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.retargeting.retarget import Person


def test_at_rest_the_avatar_stands_on_its_floor_in_its_place(avatar):
    motion = Motion.of_frames(avatar.template.name, 25.0, [standing(avatar)])
    vertices = avatar.template.body(avatar.identity).pose(*motion.parameters()).vertices[0]
    assert float(vertices[:, 2].min()) == pytest.approx(avatar.placement.floor, abs=1e-4)
    assert float(vertices[:, 1].mean()) == pytest.approx(avatar.placement.y, abs=0.2)


def test_a_motion_plays_at_its_own_rate_in_a_loop(avatar, random_motion):
    motion = random_motion(10)  # 25 frames a second
    played = PlayedMotion(motion, Person.of(motion, avatar.template, avatar.identity), avatar)
    assert [played.index(100 + t) for t in (0.0, 0.041, 0.2, 0.399, 0.4, 0.85)] == [0, 1, 5, 9, 0, 1]
    played.reset()
    assert played.index(7.0) == 0


def test_a_played_motion_is_mirrored_if_set(avatar, random_motion):
    motion = random_motion(4, turn=0.05)
    played = PlayedMotion(motion, Person.of(motion, avatar.template, avatar.identity), avatar)
    mirror = Mirror(avatar.template, 0.0)
    plain, mirrored = (
        (played.adjust(Settings(mirror=on)), played.reset(), played.drive(None, 0.0))[2].frame for on in (False, True)
    )
    arms = [avatar.template.pose_joints.index(f"upperarm01.{side}") for side in "LR"]
    assert np.allclose(mirrored.pose[arms], mirror(plain).pose[arms], atol=0.02)
    assert not np.allclose(mirrored.pose[arms], plain.pose[arms], atol=0.02)
