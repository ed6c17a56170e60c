import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ram_avatar.body.kinematics import Kinematics
from ram_avatar.motion.motion import LIMBS
from ram_avatar.motion.resting import (
    at_ease,
    lift,
    limb_rows,
    lying,
    seat,
    seated,
    standing_axes,
)

DOWN = np.array([0.0, 0.0, -1.0])


@pytest.fixture(scope="module")
def kinematics(template):
    return Kinematics(template, template.default_identity())


def _direction(template, kinematics, pose, start: str, end: str) -> np.ndarray:
    joints = kinematics.pose(np.zeros(3), np.zeros(3), pose).positions
    along = joints[kinematics.index(template.roles[end])] - joints[kinematics.index(template.roles[start])]
    return along / np.linalg.norm(along)


@pytest.mark.parametrize("side", ["L", "R"])
def test_arms_hang_at_ease_and_thighs_lift_when_seated(template, kinematics, side):
    pose = at_ease(template, kinematics)
    at = lambda pose, start, end: _direction(template, kinematics, pose, f"{start}.{side}", f"{end}.{side}")
    assert at(pose, "upper_arm", "forearm") @ DOWN > 0.95 and at(pose, "forearm", "hand") @ DOWN > 0.9
    assert at(pose, "thigh", "shin") @ DOWN > 0.98
    sitting = seat(pose, template, 1.0)
    thigh = at(sitting, "thigh", "shin")
    assert thigh @ [0, -1, 0] > 0.95  # forward
    assert at(sitting, "shin", "foot") @ DOWN > 0.98
    assert np.allclose(lift(at(pose, "thigh", "shin"), 1.0), thigh, atol=1e-6)
    assert seated(at(pose, "thigh", "shin")) == 0 and seated(thigh) == 1


def test_a_leg_lifted_sideways_or_back_is_not_seated():
    aside, back = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.9, -0.4])
    assert seated(np.stack([aside, back])).max() < 0.01


def test_limbs_rest_relative_to_the_room_unless_the_person_lies():
    heading, lean = Rotation.from_rotvec([0, 0, 1.2]), Rotation.from_rotvec([0.5, 0.2, 0])
    axes = standing_axes((heading * lean).as_rotvec())
    assert (axes.inv() * heading).magnitude() < 1e-6  # the lean is gone, the heading stays
    flat = heading * Rotation.from_rotvec([-np.pi / 2, 0, 0])
    assert (standing_axes(flat.as_rotvec()).inv() * flat).magnitude() < 1e-6
    assert lying(np.stack([lean.as_rotvec(), flat.as_rotvec()])).tolist() == [0, 1]


def test_every_limb_has_its_joints(template):
    rows = dict(zip(LIMBS, limb_rows(template), strict=True))
    roles = {limb: [template.pose_roles[row] for row in own] for limb, own in rows.items()}
    assert roles["left_leg"] == ["thigh.L", "thigh_twist.L", "shin.L", "foot.L"]
    assert roles["right_arm"] == ["upper_arm.R", "upper_arm_twist.R", "forearm.R", "forearm_twist.R", "hand.R"]
