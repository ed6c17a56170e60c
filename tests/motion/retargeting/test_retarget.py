import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.body.kinematics import Kinematics
from ram_avatar.motion.motion import PARTS, Motion
from ram_avatar.motion.retargeting.retarget import (
    Person,
    Placement,
    Retargeter,
    retarget,
)
from ram_avatar.synthetic.performances import performance, performer_identity

FPS = 25.0


def _other(template, **changes: float) -> torch.Tensor:
    identity = template.default_identity()
    for name, value in changes.items():
        identity[template.identity_names.index(name)] = value
    return identity


@pytest.fixture(scope="module")
def child(template) -> Person:
    """A child, 2.5 metres away, to the left, on another floor."""
    identity = _other(template, age=0.33)
    place = Placement.of(_still(template, 1), template, identity)
    return Person(identity, replace(place, x=0.4, y=2.5, floor=-0.7))


@pytest.fixture(scope="module")
def performer(template) -> Person:
    return Person.of(performance("training", template, 100, FPS), template, performer_identity(template))


def _still(template, frames: int) -> Motion:
    """The performer, standing at ease."""
    return performance("training", template, 1, FPS)[[0] * frames]


def _posed(template, person: Person, motion: Motion):
    return template.body(person.identity).pose(*motion.parameters())


def _soles(template, person: Person, motion: Motion) -> torch.Tensor:
    """Return the height [N] of the lowest vertex above the person's floor."""
    return _posed(template, person, motion).vertices[..., 2].amin(1) - person.placement.floor


def _turned(motion: Motion, template, role: str, frames: slice, vector) -> Motion:
    """Rotate a joint further in some frames."""
    pose = motion.pose.clone()
    pose[frames, template.pose_joints.index(template.roles[role])] += torch.tensor(vector)
    return replace(motion, pose=pose)


# Pose -----------------------------------------------------------------------------------------------------------


def test_retargeting_to_the_same_body_changes_nothing(template, performer):
    motion = performance("driving", template, 60, FPS)
    driven = retarget(motion, template, performer, performer)
    assert (driven.root_translation - motion.root_translation).norm(dim=1).max() < 0.012  # the slack of a foot
    arms = [i for i, role in enumerate(template.pose_roles) if not role.startswith(("thigh", "shin", "foot"))]
    assert torch.allclose(driven.pose[:, arms], motion.pose[:, arms], atol=1e-5)
    assert torch.allclose(driven.facial_actions, motion.facial_actions, atol=1e-5)
    assert torch.equal(driven.root_rotation, motion.root_rotation)


def test_retargeting_is_causal(template, performer, child):
    """No frame depends on future ones: a shortened clip has the same beginning."""
    motion = performance("training", template, 40, FPS)
    whole = retarget(motion, template, performer, child)
    live = Retargeter(template, performer, child, FPS)
    for index, frame in enumerate(motion[:15].frames()):
        made = live.step(frame)
        assert np.allclose(made.pose, whole.pose[index], atol=1e-6)
        assert np.allclose(made.root_translation, whole.root_translation[index], atol=1e-6)


def test_bones_point_where_the_drivers_bones_do(template, performer):
    """On a broad body, whose bones differ in direction by up to three degrees in the reference pose."""
    broad = Person(_other(template, weight=0.95, gender=0.9), performer.placement)
    motion = performance("driving", template, 50, FPS)
    driven = retarget(motion, template, performer, broad)
    plain = _posed(template, broad, motion)
    there, here = _posed(template, performer, motion), _posed(template, broad, driven)
    worst = {}
    for name, posed in (("retargeted", here), ("plain", plain)):
        angles = []
        for side in "LR":
            for start, end in zip(("upper_arm", "forearm", "index1"), ("forearm", "hand", "index2"), strict=True):
                a, b = template.joint_of(f"{start}.{side}"), template.joint_of(f"{end}.{side}")
                ways = [each.joints[:, b, :3, 3] - each.joints[:, a, :3, 3] for each in (there, posed)]
                cosine = torch.nn.functional.cosine_similarity(*ways)
                angles.append(torch.rad2deg(cosine.clamp(max=1).acos()).max())
        worst[name] = float(max(angles))
    assert worst["retargeted"] < 1.0 < 2.0 < worst["plain"]


def test_alignment_comes_before_placement(template, performer, child):
    """An alignment bends the knees: the avatar still stands on its floor."""

    def crouch(frame):
        pose = frame.pose.copy()
        for side in "LR":
            for role, angle in (("thigh", -0.7), ("shin", 1.4), ("foot", -0.7)):
                pose[template.pose_joints.index(template.roles[f"{role}.{side}"]), 0] += angle
        return replace(frame, pose=pose)

    crouch.max_turn = math.inf
    motion = _still(template, 20)
    upright = retarget(motion, template, performer, child)
    bent = retarget(motion, template, performer, child, align=crouch)
    assert (upright.root_translation - bent.root_translation)[:, 2].min() > 0.1
    assert _soles(template, child, bent).abs().max() < 0.005


# The face -------------------------------------------------------------------------------------------------------


def test_a_resting_face_maps_to_the_avatars_resting_face(template, performer, child):
    """The driver smiles slightly at rest, the avatar does not: a full smile stays a full smile."""
    smile = template.action_names.index("mouthSmileLeft")
    blink = template.action_names.index("eyeBlinkLeft")
    motion = _still(template, 3 * 25 + 10)
    motion.facial_actions[:] = 0.0
    motion.facial_actions[:, smile], motion.facial_actions[:, blink] = 0.3, 0.1
    motion.facial_actions[60:, smile], motion.facial_actions[70:, blink] = 1.0, 1.0
    source = Person.of(motion, template, performer.identity)
    assert source.placement.neutral_face[smile] == pytest.approx(0.3, abs=1e-3)
    at_rest = [0.0] * len(template.action_names)
    at_rest[blink] = 0.2
    target = Person(child.identity, replace(child.placement, neutral_face=tuple(at_rest)))
    driven = retarget(motion, template, source, target).facial_actions
    assert driven[:60, smile].max() < 1e-3 and driven[60:, smile].min() > 0.99
    assert driven[:70, blink].sub(0.2).abs().max() < 1e-3 and driven[70:, blink].min() > 0.99
    # An avatar with an unknown resting face takes faces as they are.
    unknown = Person(child.identity, replace(child.placement, neutral_face=None))
    assert torch.equal(retarget(motion, template, source, unknown).facial_actions, motion.facial_actions)


def test_a_resting_face_is_learned_while_it_is_visible(template, performer, child):
    """An unknown driver, live: a permanent smile is slowly taken for rest."""
    smile = template.action_names.index("mouthSmileLeft")
    motion = _still(template, 20 * 25)
    motion.facial_actions[:] = 0.0
    motion.facial_actions[:, smile] = 0.3
    stranger = Person(performer.identity, replace(performer.placement, neutral_face=None))
    target = Person(child.identity, replace(child.placement, neutral_face=(0.0,) * len(template.action_names)))
    driven = retarget(motion, template, stranger, target).facial_actions[:, smile]
    assert driven[0] > 0.28 and driven[-1] < 0.05 and driven.diff().abs().max() < 0.01


# Parts that are not seen ----------------------------------------------------------------------------------------


def test_a_lost_hand_relaxes_and_returns_without_a_jump(template, performer, child):
    """While it is lost, the tracker's output is noise."""
    motion = _still(template, 150)
    fist = [i for i, role in enumerate(template.pose_roles) if role.startswith(("index", "middle")) and role[-1] == "L"]
    motion.pose[:, fist] = torch.tensor([0.0, 0.9, 0.0])
    motion.confidence[40:100, 1] = 0.0
    motion.pose[40:100, fist] += torch.randn(60, len(fist), 3, generator=torch.Generator().manual_seed(0))
    driven = retarget(motion, template, performer, child)
    rest = retarget(motion, template, performer, performer).pose[99, fist]
    assert (driven.pose[39, fist] - driven.pose[45, fist]).abs().max() < 1e-5  # first it is held
    assert (driven.pose[99, fist] - driven.pose[39, fist]).norm(dim=-1).min() > 0.3  # then it relaxes
    assert (rest - driven.pose[99, fist]).norm(dim=-1).max() < 0.05
    assert driven.pose[:, fist].diff(dim=0).norm(dim=-1).max() < 0.2
    assert torch.allclose(driven.pose[125:, fist], driven.pose[:1, fist], atol=1e-5)  # and it is back
    right = [i for i, role in enumerate(template.pose_roles) if role.startswith("index") and role[-1] == "R"]
    assert driven.pose[:, right].diff(dim=0).abs().max() < 1e-5


def test_a_lost_face_goes_to_rest(template, performer, child):
    jaw = template.action_names.index("jawOpen")
    motion = _still(template, 120)
    motion.facial_actions[:, jaw] = 0.8
    motion.confidence[20:, 3] = 0.0
    motion.facial_actions[20:, jaw] = torch.rand(100, generator=torch.Generator().manual_seed(0))
    driven = retarget(motion, template, performer, child).facial_actions[:, jaw]
    assert driven[:25].min() > 0.79 and driven[-1] < 0.02 and driven.diff().abs().max() < 0.08


def test_a_lost_driver_is_held_then_stands_at_ease(template, performer, child):
    motion = performance("training", template, 25 + 125, FPS)  # arms go up in the first second
    motion.confidence[25:, 0] = 0.0
    motion.root_translation[25:] += torch.randn(125, 3, generator=torch.Generator().manual_seed(0))
    driven = retarget(motion, template, performer, child)
    joints = _posed(template, child, driven).joints[:, :, :3, 3]
    wrist, shoulder = template.joint_of("hand.L"), template.joint_of("upper_arm.L")
    steps = joints.diff(dim=0).norm(dim=-1)
    assert steps[25:45].max() < 0.01 and steps[24:].max() < 0.08
    assert joints[25, wrist, 2] > joints[25, shoulder, 2] - 0.2  # raised
    assert joints[-1, wrist, 2] < joints[-1, shoulder, 2] - 0.3  # hangs
    assert _soles(template, child, driven)[-1].abs() < 0.01


@pytest.mark.parametrize("fps", [12.5, 50.0])
def test_timing_does_not_depend_on_the_rate(template, performer, child, fps):
    jaw = template.action_names.index("jawOpen")
    motion = replace(_still(template, round(3 * fps)), fps=fps)
    motion.facial_actions[:, jaw] = 0.8
    motion.confidence[round(fps) :, 3] = 0.0
    driven = retarget(motion, template, performer, child).facial_actions[:, jaw]
    assert float(driven[round(2.1 * fps)]) == pytest.approx(0.21, abs=0.05)


# The place ------------------------------------------------------------------------------------------------------


def test_feet_stand_on_the_avatars_floor(template, performer, child):
    motion = performance("training", template, 60, FPS)
    assert performer.placement.leg_length > 1.15 * child.placement.leg_length
    driven = retarget(motion, template, performer, child)
    assert _soles(template, child, driven).abs().max() < 0.003
    middle = driven.root_translation.median(0).values
    assert abs(float(middle[0]) - 0.4) < 0.05 and abs(float(middle[1]) - 2.5) < 0.05


def test_a_jump_stays_a_jump_and_a_drift_does_not(template, performer, child):
    motion = _still(template, 200)
    flight = torch.zeros(200)
    time = torch.arange(11) / 10
    flight[40:51] = 0.3 * 4 * time * (1 - time)  # 0.4 seconds, 30 cm
    flight[100:] = torch.linspace(0, 0.15, 100)  # a tracker's error for a person coming closer
    motion.root_translation[:, 2] += flight
    height = _soles(template, child, retarget(motion, template, performer, child))
    scale = child.placement.leg_length / performer.placement.leg_length
    assert height.min() > -0.003
    assert float(height[45]) == pytest.approx(0.3 * scale, rel=0.15)
    assert height[:40].max() < 0.003 and height[56:].max() < 0.01


def test_planted_feet_do_not_slide(template, performer):
    """The driver bows and sways over planted feet, on much longer legs."""
    motion = performance("training", template, 335, FPS)[300:]
    tall = _other(template, height=0.95, proportions=0.9, gender=0.0)
    target = Person(tall, Placement.of(_still(template, 1), template, tall))
    driven = retarget(motion, template, performer, target)
    ankles = [template.joint_of(f"foot.{side}") for side in "LR"]
    here = _posed(template, target, driven).joints[:, ankles, :2, 3]
    there = _posed(template, performer, motion).joints[:, ankles, :2, 3]
    slid = lambda ways: float((ways - ways[:1]).norm(dim=-1).max())
    scale = target.placement.leg_length / performer.placement.leg_length
    plain = motion.root_translation - motion.root_translation[:1]
    unheld = replace(motion, root_translation=driven.root_translation[:1] + scale * plain)
    assert slid(there) < 0.005
    assert slid(here) < 0.002 < 0.05 < slid(_posed(template, target, unheld).joints[:, ankles, :2, 3])


def test_steps_follow_the_avatars_scale(template, performer, child):
    """A foot that is lifted and put down elsewhere is released without a jump."""
    motion = performance("training", template, 450, FPS)[380:]  # a step aside and back
    driven = retarget(motion, template, performer, child)
    ankle, scale = template.joint_of("foot.L"), child.placement.leg_length / performer.placement.leg_length
    there, here = (
        _posed(template, person, m).joints[:, ankle, :2, 3] for person, m in ((performer, motion), (child, driven))
    )
    assert (there[-1] - there[0]).norm() > 0.1
    assert float((here - here[:1] - scale * (there - there[:1])).norm(dim=1).max()) < 0.02
    assert here.diff(dim=0).norm(dim=1).max() < 2 * scale * there.diff(dim=0).norm(dim=1).max()


def _upper_body(template, frames: int, way: torch.Tensor) -> Motion:
    """A driver who waves, leans and moves sideways along `way` [N], with legs imagined anew in every frame."""
    motion = performance("training", template, frames, FPS)
    legs = [i for i, role in enumerate(template.pose_roles) if role.startswith(("thigh", "shin", "foot"))]
    motion.pose[:, legs] += 0.4 * torch.randn(frames, len(legs), 3, generator=torch.Generator().manual_seed(0))
    motion.root_translation[:, 0] += way
    motion.root_translation[:, 2] += 0.05 * torch.sin(torch.linspace(0, 40, frames))
    motion.confidence[:, [PARTS.index("left_leg"), PARTS.index("right_leg")]] = 0.0
    return motion


def test_legs_stand_still_while_the_drivers_legs_are_unseen(template, performer, child):
    motion = _upper_body(template, 75, 0.12 * torch.sin(torch.linspace(0, 12, 75)))
    driven = retarget(motion, template, performer, child)
    joints = _posed(template, child, driven).joints[..., :3, 3]
    at = lambda role: joints[:, template.joint_of(role)]
    for side in "LR":
        for start, end in (("thigh", "shin"), ("shin", "foot")):
            along = torch.nn.functional.normalize(at(f"{end}.{side}") - at(f"{start}.{side}"), dim=-1)
            cosine = along @ along.T
            assert torch.rad2deg(cosine.clamp(max=1).acos()).max() < 5, (start, side)
        feet = at(f"foot.{side}")
        assert (feet - feet[:1]).norm(dim=1).max() < 0.03
    assert _soles(template, child, driven)[10:].abs().max() < 0.01
    arms = [template.pose_joints.index(template.roles[f"upper_arm.{side}"]) for side in "LR"]
    assert (driven.pose[:, arms] - driven.pose[:1, arms]).abs().max() > 0.5  # the arms still wave


def test_the_avatar_follows_a_driver_who_walks_away_without_jumps(template, performer, child):
    """Legs unseen for two seconds, a metre and a half to the side, then seen again."""
    way = torch.cat([torch.zeros(25), torch.linspace(0, 1.5, 50), torch.full((50,), 1.5)])
    motion = _still(template, 125)
    motion.root_translation[:, 0] += way
    motion.confidence[25:100, [PARTS.index("left_leg"), PARTS.index("right_leg")]] = 0.0
    driven = retarget(motion, template, performer, child)
    scale = child.placement.leg_length / performer.placement.leg_length
    here = driven.root_translation[:, 0] - driven.root_translation[0, 0]
    assert float(here[74]) == pytest.approx(1.5 * scale, abs=0.3) and float(here[74]) > 0.7
    joints = _posed(template, child, driven).joints[..., :3, 3]
    pace = scale * 1.5 / 50
    assert joints.diff(dim=0).norm(dim=-1).max() < 1.5 * pace


def test_keep_place(template, performer, child):
    motion = performance("training", template, 30, FPS)
    motion.root_translation[:, 0] += torch.linspace(0, 1, 30)
    driven = retarget(motion, template, performer, child, keep_place=True)
    assert torch.allclose(driven.root_translation[:, :2], torch.tensor([[0.4, 2.5]]).expand(30, -1))
    assert _soles(template, child, driven).abs().max() < 0.005


def test_retargeting_works_with_another_template(smplx):
    """An SMPL-X driver on a shorter SMPL-X person: on their floor, bones pointing as the driver's."""
    generator = torch.Generator().manual_seed(0)
    sway = (
        0.1 * torch.randn(1, len(smplx.pose_joints), 3, generator=generator) * torch.linspace(0, 1, 20)[:, None, None]
    )
    motion = Motion(
        template=smplx.name,
        fps=FPS,
        root_rotation=torch.zeros(20, 3),
        root_translation=torch.tensor([[0.0, 3.0, 0.0]]).repeat(20, 1),
        pose=sway,
        facial_actions=torch.zeros(20, len(smplx.action_names)),
        confidence=torch.ones(20, len(PARTS)),
    )
    source, other = smplx.default_identity(), smplx.default_identity()
    other[0] -= 1.5
    people = [Person.of(motion, smplx, identity) for identity in (source, other)]
    assert people[0].placement.leg_length != pytest.approx(people[1].placement.leg_length, rel=0.01)
    driven = retarget(motion, smplx, *people)
    assert _soles(smplx, people[1], driven).abs().max() < 0.01
    a, b = smplx.joint_of("upper_arm.L"), smplx.joint_of("forearm.L")
    ways = [
        joints[:, b, :3, 3] - joints[:, a, :3, 3]
        for joints in (_posed(smplx, who, m).joints for who, m in zip(people, (motion, driven), strict=True))
    ]
    assert torch.nn.functional.cosine_similarity(*ways).min() > np.cos(np.radians(1.0))


# Hands ----------------------------------------------------------------------------------------------------------


def _reaching(template, performer: Person, toward) -> Motion:
    """Arms rise from rest until the hands meet `toward(side)` (a function of the kinematics)."""
    from ram_avatar.motion.limbs import ARM, Limb

    kinematics = Kinematics(template, performer.identity)
    still = _still(template, 1).frame(0)
    frames = []
    for share in np.concatenate([np.linspace(0, 1, 20), np.ones(10), np.linspace(1, 0, 20)]):
        local = kinematics.turns(still.root_rotation, still.pose)
        before, joints = local.copy(), kinematics.chain(local, still.root_translation)
        for side in "LR":
            hand = joints.positions[kinematics.index(template.roles[f"hand.{side}"])]
            way = share * (toward(kinematics, joints, side) - hand)
            Limb(kinematics, template, ARM, side).reach(local, joints, way)
        frames.append(replace(still, pose=kinematics.changed(still.pose, before, local)))
    return Motion.of_frames(template.name, FPS, frames)


def _gap(template, person: Person, motion: Motion, one: str, other: str) -> torch.Tensor:
    """Return the smallest distance [N] between two parts of the body."""
    vertices = _posed(template, person, motion).vertices
    parts = [(template.role_weight(role) > 0.5).nonzero().flatten()[::4] for role in (one, other)]
    return torch.cdist(vertices[:, parts[0]], vertices[:, parts[1]]).amin((1, 2))


@pytest.mark.parametrize("what", ["head", "hand"])
def test_touching_hands_keep_touching(template, performer, what):
    """Hands at the cheeks, and palms together, on a body with long arms and broad shoulders."""

    def cheeks(kinematics, joints, side):
        return joints.positions[kinematics.index("head")] + np.array([0.1 if side == "L" else -0.1, -0.06, -0.05])

    def clap(kinematics, joints, side):
        return joints.positions[kinematics.index("spine01")] + np.array([0.045 if side == "L" else -0.045, -0.3, 0.1])

    motion = _reaching(template, performer, cheeks if what == "head" else clap)
    broad = _other(template, height=0.75, gender=0.1, muscle=0.9)
    broad[template.identity_names.index("measure-upperarm-length-incr")] = 0.8
    broad[template.identity_names.index("measure-shoulder-dist-incr")] = 1.0
    target = Person(broad, Placement.of(_still(template, 1), template, broad))
    driven = retarget(motion, template, performer, target)
    parts = ("hand.L", "head") if what == "head" else ("hand.L", "hand.R")
    gap = {name: _gap(template, *who, *parts)[20:30].max() for name, who in {
        "driver": (performer, motion), "avatar": (target, driven), "plain": (target, motion),
    }.items()}  # fmt: skip
    assert gap["driver"] < 0.04 and gap["avatar"] < gap["driver"] + 0.015 < gap["plain"]
    hands = [template.joint_of(f"hand.{side}") for side in "LR"]
    steps = [
        _posed(template, *who).joints[:, hands, :3, 3].diff(dim=0).norm(dim=-1).max()
        for who in ((performer, motion), (target, driven))
    ]
    assert steps[1] < 2 * steps[0]  # it sets in and ends without a jump
    assert torch.allclose(driven.pose[0], retarget(motion[:1], template, performer, target).pose[0])


# Files ----------------------------------------------------------------------------------------------------------


def test_steps_are_scaled_by_the_legs(template, performer, child):
    """A floating driver, so that feet have no influence."""
    motion = _still(template, 12)
    motion.root_translation[:, 0] += torch.linspace(0, 6, 12)
    driven = retarget(motion, template, performer, child)
    scale = child.placement.leg_length / performer.placement.leg_length
    assert torch.allclose(driven.root_translation[:, 0].diff(), motion.root_translation[:, 0].diff() * scale, atol=1e-4)


def test_a_placement_of_an_older_avatar_has_no_face(template):
    old = Placement(**{"x": 0.0, "y": 3.0, "floor": -1.0, "leg_length": 0.8})
    assert old.neutral_face is None
    known = Placement(0.0, 3.0, -1.0, 0.8, neutral_face=[0.1] * 52)  # as JSON has it
    assert known == Placement(0.0, 3.0, -1.0, 0.8, neutral_face=(0.1,) * 52)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [({"x": float("nan")}, "x: "), ({"leg_length": 0.0}, "leg_length"), ({"neutral_face": (1e6,)}, "neutral_face")],
)
def test_impossible_placements_are_refused(changes, cause):
    with pytest.raises(ValueError, match=cause):
        Placement(**{"x": 0.0, "y": 3.0, "floor": -1.0, "leg_length": 0.8} | changes)
