import math

import numpy as np
import pytest
import torch

from ram_avatar.motion.conversion.vrm import BONES, FromHumanoid, Humanoid
from ram_avatar.motion.motion import Motion

TURN = math.sqrt(0.5)  # sine and cosine of 45 degrees: quaternions of quarter turns
LEFT_ARM_DOWN = (0.0, 0.0, TURN, TURN)  # a quarter turn about Unity's z takes -x, the left arm's direction, to -y
RIGHT_ARM_FORWARD = (0.0, -TURN, 0.0, TURN)  # a backward quarter turn about y takes +x, the right arm's, to +z


@pytest.fixture(scope="module")
def convert(template):
    return FromHumanoid(template, template.default_identity())


@pytest.fixture(scope="module")
def joints_of(template, convert):
    """A function that returns the template's joint positions by role, for bone rotations in Unity."""

    def pose(rotations=None, **others):
        everything = {bone: (0.0, 0.0, 0.0, 1.0) for bone in BONES} | (rotations or {})
        frame = convert.frame(Humanoid(rotations=everything, **others))
        motion = Motion.of_frames(template.name, 25.0, [frame])
        with torch.no_grad():
            posed = template.body(template.default_identity()).pose(*motion.parameters())
        joints = posed.joints[0, :, :3, 3].numpy()
        return {role: joints[template.joint_of(role)] for role in template.roles}

    return pose


def _direction(joints, start: str, end: str) -> np.ndarray:
    along = joints[end] - joints[start]
    return along / np.linalg.norm(along)


def test_zero_rotations_are_a_t_pose(joints_of):
    joints = joints_of()
    for side, out in (("L", 1.0), ("R", -1.0)):
        for start, end in (("upper_arm", "forearm"), ("forearm", "hand"), ("hand", "middle1"), ("index1", "index3")):
            assert _direction(joints, f"{start}.{side}", f"{end}.{side}") @ [out, 0, 0] > 0.995, (start, side)
        palm = out * np.cross(
            _direction(joints, f"hand.{side}", f"middle1.{side}"),
            _direction(joints, f"little1.{side}", f"index1.{side}"),
        )
        assert palm[2] < -0.9
        assert _direction(joints, f"little1.{side}", f"index1.{side}")[1] < -0.9
        for start, end in (("thigh", "shin"), ("shin", "foot")):
            assert _direction(joints, f"{start}.{side}", f"{end}.{side}") @ [0, 0, -1] > 0.995
        thumb = _direction(joints, f"thumb1.{side}", f"thumb3.{side}")
        assert thumb @ [out, 0, 0] > 0.6 and thumb[1] < -0.6
    assert _direction(joints, "hips", "neck1")[2] > 0.9


def test_bones_rotate_as_in_unity(joints_of):
    joints = joints_of({"leftupperarm": LEFT_ARM_DOWN, "rightupperarm": RIGHT_ARM_FORWARD})
    assert _direction(joints, "upper_arm.L", "hand.L") @ [0, 0, -1] > 0.995
    assert _direction(joints, "upper_arm.R", "hand.R") @ [0, -1, 0] > 0.995
    joints = joints_of({"rightlowerarm": RIGHT_ARM_FORWARD, "leftindexproximal": LEFT_ARM_DOWN})
    assert _direction(joints, "upper_arm.R", "forearm.R") @ [-1, 0, 0] > 0.995
    assert _direction(joints, "forearm.R", "hand.R") @ [0, -1, 0] > 0.995
    assert _direction(joints, "index1.L", "index3.L") @ [0, 0, -1] > 0.97
    assert _direction(joints, "middle1.L", "middle3.L") @ [1, 0, 0] > 0.97
    # A quarter turn about y takes a person who looks along z to their right, which is -x here.
    joints = joints_of({"hips": (0.0, TURN, 0.0, TURN)})
    assert _direction(joints, "foot.L", "toes.L")[0] < -0.9
    # The head nods: a rotation about x takes z to -y.
    joints = joints_of({"head": (0.3, 0.0, 0.0, math.sqrt(1 - 0.09))})
    assert joints["eye.L"][2] < joints_of()["eye.L"][2] - 0.02


def test_the_forearm_takes_the_twist_of_the_hand(template, convert):
    """The hand is rotated by 60 degrees about the arm: the wrist itself does not bend."""
    twisted = Humanoid(rotations={"lefthand": (0.5, 0.0, 0.0, math.sqrt(0.75))})
    still = convert.frame(Humanoid(rotations={"lefthand": (0.0, 0.0, 0.0, 1.0)}))
    frame = convert.frame(twisted)
    rows = [template.pose_roles.index(role) for role in ("forearm_twist.L", "hand.L")]
    change = np.linalg.norm(frame.pose[rows] - still.pose[rows], axis=1)
    assert abs(change[0] - math.radians(60)) < 0.1 and change[1] < 0.15


def test_positions_are_scaled_by_the_legs(template, convert):
    """A humanoid with legs half as long stands half as far away; doubled distances put it at the template's height."""
    legs = {"leftlowerleg": (0.0, -0.2, 0.0), "leftfoot": (0.0, -0.2, 0.0)}
    here, there = (
        convert.frame(Humanoid({"hips": (x, 0.5, z)} | legs, {"hips": (0.0, 0.0, 0.0, 1.0)}))
        for x, z in ((0.0, 0.0), (0.1, 0.2))
    )
    joints = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]
    hip, knee, ankle = (joints[template.joint_of(f"{role}.L")] for role in ("thigh", "shin", "foot"))
    scale = float((hip - knee).norm() + (knee - ankle).norm()) / 0.4
    assert np.allclose(there.root_translation - here.root_translation, [-0.1 * scale, -0.2 * scale, 0.0], atol=1e-3)
    root = Humanoid({"hips": (0.0, 0.5, 0.0)} | legs, {"hips": (0.0, 0.0, 0.0, 1.0)}, root=((0.3, 0, 0), (0, 0, 0, 1)))
    assert np.allclose(convert.frame(root).root_translation - here.root_translation, [-0.3 * scale, 0, 0], atol=1e-3)


def test_faces(template, convert):
    def face(**blends):
        frame = convert.frame(Humanoid(rotations={"hips": (0, 0, 0, 1)}, blends=blends))
        return dict(zip(template.action_names, frame.facial_actions, strict=True)), frame.confidence[3]

    actions, seen = face(jawopen=0.4, eyeblinkleft=1.0, a=1.0)  # perfect sync: presets are not added to it
    assert actions["jawOpen"] == 0.4 and actions["eyeBlinkLeft"] == 1.0 and seen == 1
    actions, _ = face(blink=1.0, aa=0.5, joy=1.0)
    assert actions["eyeBlinkLeft"] == actions["eyeBlinkRight"] == 1.0
    assert 0.2 < actions["jawOpen"] < 0.4 and actions["mouthSmileLeft"] > 0.5
    actions, seen = face()
    assert max(actions.values()) == 0 and seen == 0


def test_values_decide_which_blend_shapes_count(template, convert):
    """A perfect-sync model with lip sync sends all of ARKit's names at 0 and moves only the vowels."""

    def face(**blends):
        silent = {name.lower(): 0.0 for name in template.action_names}
        frame = convert.frame(Humanoid(rotations={"hips": (0, 0, 0, 1)}, blends=silent | blends))
        return dict(zip(template.action_names, frame.facial_actions, strict=True))

    assert face(a=1.0)["jawOpen"] == pytest.approx(0.6)
    assert face(o=1.0)["mouthFunnel"] == pytest.approx(0.6)
    assert face(blink=1.0)["eyeBlinkRight"] == 1.0
    assert face(a=1.0, jawopen=0.2)["jawOpen"] == pytest.approx(0.2)  # ARKit's own values win
    eyes_by_camera = face(a=1.0, eyeblinkleft=0.5, blink=1.0)  # the mouth is driven by lip sync
    assert eyes_by_camera["eyeBlinkLeft"] == 0.5 and eyes_by_camera["eyeBlinkRight"] == 0
    assert eyes_by_camera["jawOpen"] == pytest.approx(0.6)
    assert max(face().values()) == 0


def test_parts_without_data_rest_without_confidence(template, convert):
    frame = convert.frame(Humanoid(rotations={"hips": (0.0, 0.0, 0.0, 1.0), "leftthumbproximal": (0.0, 0.0, 0.0, 1.0)}))
    assert frame.confidence.tolist() == [1, 1, 0, 0, 1, 1, 1, 1]
    row = template.pose_roles.index("index1.R")
    assert np.linalg.norm(frame.pose[row]) > 0.2  # relaxed
