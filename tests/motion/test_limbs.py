import numpy as np
import pytest

from ram_avatar.body.kinematics import Kinematics
from ram_avatar.motion.limbs import ARM, LEG, Limb


@pytest.fixture(scope="module")
def kinematics(template):
    return Kinematics(template, template.default_identity())


@pytest.fixture()
def posed(kinematics, random_motion):
    """Local rotations and joints of a body with bent elbows and knees."""
    frame = random_motion(1, seed=3, turn=0.15).frame(0)
    pose = frame.pose.copy()
    for side in "LR":
        pose[kinematics.template.pose_joints.index(f"lowerleg01.{side}"), 0] += 0.8
    local = kinematics.turns(frame.root_rotation, pose)
    return local, kinematics.chain(local, frame.root_translation), frame.root_translation


@pytest.mark.parametrize("roles", [ARM, LEG])
@pytest.mark.parametrize("side", ["L", "R"])
def test_the_end_moves_by_the_shift_and_keeps_its_orientation(template, kinematics, posed, roles, side):
    local, joints, root = posed
    limb, shift = Limb(kinematics, template, roles, side), np.array([0.03, -0.05, 0.04])
    changed = local.copy()
    limb.reach(changed, joints, shift)
    after = kinematics.chain(changed, root)
    assert np.abs(after.positions[limb.end] - joints.positions[limb.end] - shift).max() < 1e-3
    assert np.abs(after.turns[limb.end] - joints.turns[limb.end]).max() < 1e-9
    others = ~kinematics.ancestors[:, limb.upper[0]]
    assert np.array_equal(after.positions[others], joints.positions[others])
    assert np.abs(changed @ changed.transpose(0, 2, 1) - np.eye(3)).max() < 1e-9


def test_a_limb_does_not_stretch(template, kinematics, posed):
    """Half a metre out of reach: the leg is straight, and points there."""
    local, joints, root = posed
    limb = Limb(kinematics, template, LEG, "L")
    hip, ankle = joints.positions[limb.upper[0]], joints.positions[limb.end]
    shift = 0.5 * (ankle - hip) / np.linalg.norm(ankle - hip)
    limb.reach(local, joints, shift)
    reached = kinematics.chain(local, root).positions[limb.end] - hip
    knee = joints.positions[limb.lower[0]]
    assert np.linalg.norm(reached) == pytest.approx(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee), rel=2e-3)
    assert np.linalg.norm(np.cross(reached, shift)) < 1e-3


def test_a_straight_leg_bends_at_the_knee_and_forward(template, kinematics):
    local = kinematics.turns(np.zeros(3), np.zeros((len(template.pose_joints), 3)))
    joints = kinematics.chain(local, np.zeros(3))
    limb = Limb(kinematics, template, LEG, "R")
    limb.reach(local, joints, np.array([0.0, 0.0, 0.15]))
    bent = kinematics.chain(local, np.zeros(3))
    assert bent.positions[limb.end, 2] - joints.positions[limb.end, 2] == pytest.approx(0.15, abs=2e-3)
    assert bent.positions[limb.lower[0], 1] < joints.positions[limb.lower[0], 1] - 0.1  # -y is forward
