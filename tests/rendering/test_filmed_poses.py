import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.rendering import filmed_poses
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.filmed_poses import FAMILIAR, LIMBS, NOVEL, FilmedPoses


@pytest.fixture(scope="module")
def body(template):
    return template.body(template.default_identity())


def turned(motion, template, role: str, angle: float, axis: int = 1):
    """Turn one joint of a motion by an angle about one of its axes."""
    pose = motion.pose.clone()
    pose[:, template.pose_roles.index(role), axis] += angle
    return replace(motion, pose=pose)


def on(template, novelty: torch.Tensor, role: str) -> float:
    """Return the novelty of the vertices that follow a bone alone."""
    return float(novelty[0, template.role_weight(role, role.replace(".", "_twist.")) > 0.999].mean())


def plain(poses: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return the angle of both bones of each limb [4, 2] to the nearest of the poses [K, 4, 2, 3], loop by loop."""
    found = np.full((4, 2), np.inf)
    for limb in range(4):
        for filmed in poses[:, limb]:
            upper, lower = (math.acos(np.clip(filmed[bone] @ pose[limb, bone], -1, 1)) for bone in (0, 1))
            found[limb] = np.minimum(found[limb], [upper, max(upper, lower)])
    return found


def test_filmed_poses_are_familiar_and_others_are_not(template, body, random_motion):
    motion = random_motion(6, turn=0.05)
    poses = FilmedPoses.of(template, body, motion)
    joints = lambda motion: body.pose(*motion.parameters()).joints
    assert not poses.novelty(joints(motion)).any()
    far = poses.novelty(joints(turned(motion[[2]], template, "upper_arm.L", math.radians(120))))
    for role, wanted in (("upper_arm.L", 1), ("forearm.L", 1), ("hand.L", 1), ("upper_arm.R", 0), ("head", 0)):
        assert on(template, far, role) == pytest.approx(wanted, abs=1e-3), role
    bent = poses.novelty(joints(turned(motion[[2]], template, "forearm.R", math.radians(100), axis=2)))
    assert on(template, bent, "upper_arm.R") < 0.01 and on(template, bent, "forearm.R") > 0.5
    near = poses.novelty(joints(turned(motion[[2]], template, "upper_arm.L", FAMILIAR / 2)))
    assert near.max() < 1e-6


def test_novelty_is_that_of_a_plain_loop(template, body, random_motion):
    filmed, drawn = random_motion(5, turn=0.3), random_motion(4, seed=1, turn=0.8)
    poses = FilmedPoses.of(template, body, filmed)
    joints = body.pose(*drawn.parameters()).joints
    for frame, given in enumerate(poses._directions(joints).numpy()):
        angle = plain(poses.directions.numpy(), given)
        ramp = np.clip((angle - FAMILIAR) / (NOVEL - FAMILIAR), 0, 1)
        wanted = ramp**2 * (3 - 2 * ramp)
        novelty = poses.novelty(joints)[[frame]]
        for limb, (kind, side) in enumerate(LIMBS):
            for bone, role in enumerate(filmed_poses.BONES[kind][:2]):
                assert on(template, novelty, f"{role}.{side}") == pytest.approx(wanted[limb, bone], abs=1e-3)


def test_a_long_video_is_remembered_in_part(template, body, random_motion, monkeypatch):
    motion = random_motion(9)
    every = FilmedPoses.of(template, body, motion).directions
    monkeypatch.setattr(filmed_poses, "MOST_POSES", 3)
    torch.testing.assert_close(FilmedPoses.of(template, body, motion).directions, every[[0, 4, 8]])


def test_the_map_shows_novelty_on_the_limb_and_its_clothes(template, body, random_motion):
    """It extends beyond the template's outline, as colours do."""
    motion = random_motion(1, turn=0.0)
    filmed = FilmedPoses.of(template, body, motion).directions
    mapper = ConditionMapper(template, template.default_identity(), Camera.default(96, 96), None, filmed)
    maps = mapper(turned(motion, template, "upper_arm.L", math.radians(90)))
    novel, inside = maps.novelty[0, 0] > 0.5, maps.position[0, 3] > 0
    assert 0.02 < (novel & inside).sum() / inside.sum() < 0.3
    assert (novel & ~inside).sum() > 30


def test_legs_under_a_skirt_are_never_novel(template, body, random_motion):
    motion = random_motion(3, turn=0.05)
    poses = FilmedPoses.of(template, body, motion, legs=False)
    assert FilmedPoses.of(template, body, motion).legs and not poses.legs
    for role, wanted in (("thigh.L", 0), ("upper_arm.L", 1)):
        posed = turned(motion[[0]], template, role, math.radians(120))
        assert poses.novelty(body.pose(*posed.parameters()).joints).max() == pytest.approx(wanted, abs=1e-3)
