"""A driver with lost parts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ram_avatar.body.kinematics import Kinematics
from ram_avatar.motion.motion import LIMBS, PARTS, Frame
from ram_avatar.motion.resting import at_ease, seat
from ram_avatar.motion.retargeting.fallback import Fallback

SECONDS = 1 / 25
LEFT_LEG, RIGHT_LEG = PARTS.index("left_leg"), PARTS.index("right_leg")


@pytest.fixture(scope="module")
def kinematics(template):
    return Kinematics(template, template.default_identity())


@pytest.fixture()
def standing(template, kinematics):
    return Frame(
        root_rotation=np.zeros(3),
        root_translation=np.array([0.0, 3.0, 0.0]),
        pose=at_ease(template, kinematics),
        facial_actions=np.zeros(len(template.action_names)),
        confidence=np.ones(len(PARTS)),
    )


@pytest.fixture()
def through(template, kinematics):
    """A function that sends frames through one `Fallback`."""

    def run(frames):
        fallback = Fallback(template, kinematics)
        return [fallback.step(frame, SECONDS, None) for frame in frames]

    return run


@pytest.fixture()
def bone(template, kinematics):
    """A function that returns the world directions [N, 3] of a bone."""

    def along(frames, role: str, end: str) -> np.ndarray:
        rows = [kinematics.index(template.roles[each]) for each in (role, end)]
        joints = [kinematics.pose(f.root_rotation, f.root_translation, f.pose).positions[rows] for f in frames]
        ways = np.array([end - start for start, end in joints])
        return ways / np.linalg.norm(ways, axis=1, keepdims=True)

    return along


def _angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1)))


def _lose(frame: Frame, *parts: int) -> Frame:
    confidence = frame.confidence.copy()
    confidence[list(parts)] = 0.0
    return replace(frame, confidence=confidence)


def _lift(template, frame: Frame, role: str, angle: float) -> Frame:
    pose = frame.pose.copy()
    pose[template.pose_joints.index(template.roles[role]), 0] -= angle
    return replace(frame, pose=pose)


def test_a_lost_leg_is_held_then_stands_and_returns_without_a_jump(template, standing, through, bone):
    """It is lifted when it is lost; from then on the tracker's output is noise."""
    draw = np.random.default_rng(0)
    lifted = _lift(template, standing, "thigh.L", 1.0)
    noise = [_lose(_lift(template, standing, "thigh.L", draw.normal(0, 1)), LEFT_LEG) for _ in range(125)]
    made = through([lifted] * 10 + noise + [lifted] * 30)
    thigh, upright = bone(made, "thigh.L", "shin.L"), bone([standing], "thigh.L", "shin.L")[0]
    held = _angles(thigh, bone([lifted], "thigh.L", "shin.L")[0])
    assert held[:30].max() < 0.01  # held for a second
    assert _angles(thigh[134], upright) < 2 and held[-15:].max() < 0.01
    assert _angles(thigh[1:], thigh[:-1]).max() < 10  # degrees per frame, of 57 in total
    other = template.pose_joints.index(template.roles["thigh.R"])
    assert all(np.array_equal(f.pose[other], standing.pose[other]) for f in made)


def test_a_limb_is_lost_on_its_own(template, standing, through, bone):
    """The other three limbs and the trunk keep moving."""
    frames = []
    for k in range(50):
        frame = replace(standing, root_rotation=np.array([0.2 * math.sin(k / 4), 0.0, 0.0]))
        frames.append(_lose(_lift(template, frame, "upper_arm.R", 0.5 * math.sin(k / 3)), RIGHT_LEG))
    made = through(frames)
    lost = [role for role in template.pose_roles if role.endswith(".R") and role.startswith(("thigh", "shin", "foot"))]
    kept = [row for row, role in enumerate(template.pose_roles) if role not in lost]
    for frame, shown in zip(frames, made, strict=True):
        assert np.array_equal(frame.pose[kept], shown.pose[kept])
        assert np.array_equal(frame.root_rotation, shown.root_rotation)


def test_unseen_legs_stand_still_under_swaying_hips(template, standing, through, bone):
    def swaying(k: int) -> Frame:
        turn = Rotation.from_rotvec([0.3 * math.sin(k / 3), 0.15 * math.sin(k / 5), 0.0])
        return replace(standing, root_rotation=turn.as_rotvec())

    made = through([_lose(swaying(k), LEFT_LEG, RIGHT_LEG) for k in range(60)])
    for side in "LR":
        for start, end in (("thigh", "shin"), ("shin", "foot")):
            along = bone(made, f"{start}.{side}", f"{end}.{side}")
            assert _angles(along[:, None], along).max() < 0.1  # degrees
            assert _angles(along[0], bone([standing], f"{start}.{side}", f"{end}.{side}")[0]) < 0.1


def test_legs_turn_with_the_driver(template, standing, through, bone):
    made = through([_lose(replace(standing, root_rotation=np.array([0, 0, k / 20])), LEFT_LEG) for k in range(40)])
    toes = [Rotation.from_rotvec(f.root_rotation) * Rotation.from_rotvec(f.pose[template.pose_joints.index(
        template.roles["thigh.L"])]) for f in made]  # fmt: skip
    assert np.allclose([turn.as_rotvec() for turn in toes], [f.root_rotation for f in made], atol=1e-6)


def test_unseen_legs_stay_seated(template, standing, through, bone):
    sitting = replace(standing, pose=seat(standing.pose, template, 1.0))
    made = through([sitting] * 25 + [_lose(sitting, LEFT_LEG)] * 25 + [_lose(sitting, LEFT_LEG, RIGHT_LEG)] * 100)
    for side in "LR":
        thigh = bone(made, f"thigh.{side}", f"shin.{side}")
        assert (-thigh[:, 1]).min() > 0.95 and _angles(thigh[:, None], thigh).max() < 3


def test_limbs_are_lost_with_the_body(template, standing, through):
    arm = template.pose_joints.index(template.roles["upper_arm.L"])
    raised = _lift(template, standing, "upper_arm.L", 2.0)
    made = through([raised] * 5 + [_lose(raised, PARTS.index("body"))] * 150)
    assert np.abs(made[20].pose[arm] - raised.pose[arm]).max() < 1e-6
    assert np.abs(made[-1].pose[arm] - standing.pose[arm]).max() < 0.05


def test_visible_parts_are_unchanged(template, standing, kinematics):
    fallback = Fallback(template, kinematics)
    frame = replace(standing, confidence=np.full(len(PARTS), 0.9))
    assert fallback.step(frame, SECONDS, None) is frame
    assert fallback.legs_seen == (True, True) and len(LIMBS) == 4
    fallback.step(_lose(frame, RIGHT_LEG), SECONDS, None)
    assert fallback.legs_seen == (True, False)
