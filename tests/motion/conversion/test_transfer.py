"""A synthetic person with given bone directions and odd joint axes, as files have them, transferred to the template."""

import math
from dataclasses import replace

import pytest
import roma
import torch
from torch import Tensor

from ram_avatar.core.errors import UserError
from ram_avatar.motion.conversion.calibration import Reference, swing
from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton
from ram_avatar.motion.conversion.transfer import to_template
from ram_avatar.motion.joint_map import JointMap
from ram_avatar.motion.skeleton import SkeletalClip

# Joint, parent, and position from its parent in a T-pose (left, back, up; centimetres), with Mixamo's names.
_MIDDLE = [
    ("Hips", "", (0, 0, 0)),
    ("Spine", "Hips", (0, 1, 10)),
    ("Spine1", "Spine", (0, 1, 13)),
    ("Spine2", "Spine1", (0, 1, 13)),
    ("Neck", "Spine2", (0, -2, 18)),
    ("Head", "Neck", (0, -3, 9)),
]
_LEFT = [
    ("Shoulder", "Spine2", (5, -1, 13)),
    ("Arm", "Shoulder", (12, 1, 0)),
    ("ForeArm", "Arm", (27, 0, 0)),
    ("Hand", "ForeArm", (26, 0, 0)),
    ("UpLeg", "Hips", (9, 0, -6)),
    ("Leg", "UpLeg", (0, -1, -43)),
    ("Foot", "Leg", (0, 1, -42)),
    ("ToeBase", "Foot", (0, -13, -7)),
]
_FINGERS = {"Thumb": -4.0, "Index": -2.5, "Middle": 0.0, "Ring": 2.0, "Pinky": 4.0}  # offsets to the back
FRAMES = 12


def _joints() -> list[tuple[str, str, tuple[float, float, float]]]:
    fingers = []
    for finger, back in _FINGERS.items():
        first = (3.0, back, 0.0) if finger == "Thumb" else (9.0, back, 0.0)
        along = (2.2, -2.2, 0.0) if finger == "Thumb" else (3.0, 0.0, 0.0)
        places = [first, along, along, along]
        fingers += [
            (f"Hand{finger}{k}", f"Hand{finger}{k - 1}" if k > 1 else "Hand", place)
            for k, place in enumerate(places, start=1)
        ]
    found = [*_MIDDLE]
    middle = {name for name, _, _ in _MIDDLE}
    for side, sign in (("Left", 1), ("Right", -1)):
        for name, parent, (x, y, z) in [*_LEFT, *fingers]:
            found.append((side + name, parent if parent in middle else side + parent, (sign * x, y, z)))
    return found


def _about(axis: tuple[float, float, float], degrees: Tensor | float) -> Tensor:
    angle = torch.as_tensor(degrees, dtype=torch.float32).deg2rad().reshape(-1, 1)
    return roma.rotvec_to_rotmat(angle * torch.nn.functional.normalize(torch.tensor(axis).float(), dim=0))


def person() -> SkeletalClip:
    """A person who stands, turns and bends, moves arms and legs, and makes fists."""
    joints = _joints()
    names = [name for name, _, _ in joints]
    clip = SkeletalClip(
        names=names,
        parents=[names.index(parent) if parent else -1 for _, parent, _ in joints],
        offsets=torch.tensor([place for _, _, place in joints]) / 100,
        rotations=torch.eye(3).repeat(FRAMES, len(names), 1, 1),
        root=torch.tensor([0.3, -2.0, 0.98]).repeat(FRAMES, 1),
        fps=30.0,
    )
    wave = torch.sin(torch.linspace(0, 2 * math.pi, FRAMES))
    turn = lambda name, axis, degrees: clip.rotations[:, clip.joint(name)].copy_(_about(axis, degrees))
    turn("Hips", (0, 0, 1), 40 + 20 * wave)
    turn("Spine1", (1, 0, 0), 15 * wave)
    turn("Head", (0, 0, 1), 30 * wave)
    for side, sign in (("Left", 1), ("Right", -1)):
        turn(f"{side}Arm", (0.2, sign * 1.0, 0), 60 + 25 * wave)  # roughly hanging
        turn(f"{side}ForeArm", (0, 0, -sign), 60 + 40 * wave)
        turn(f"{side}Hand", (0, 1, 0.3), 20 * wave)
        turn(f"{side}UpLeg", (1, 0, 0), sign * 30 * wave)
        turn(f"{side}Leg", (-1, 0, 0), 35 + 20 * wave)
        for finger in _FINGERS:
            for k in (1, 2, 3):
                turn(f"{side}Hand{finger}{k}", (0, sign, 0), 25 + 20 * wave)
    return clip


def with_rest(clip: SkeletalClip, axes: Tensor) -> SkeletalClip:
    """Return the same motion of a skeleton whose joints have other axes [J, 3, 3] at rest, in an arbitrary pose."""
    above = axes[[max(parent, 0) for parent in clip.parents]]
    rotations = above.mT @ clip.rotations @ axes
    rotations[:, 0] = clip.rotations[:, 0] @ axes[0]
    return replace(clip, rotations=rotations, offsets=(above.mT @ clip.offsets[..., None])[..., 0])


def _t_pose(clip: SkeletalClip) -> Tensor:
    return torch.eye(3).repeat(len(clip.names), 1, 1)


def _all_along_x(clip: SkeletalClip) -> Tensor:
    """Return axes as in Bandai-Namco's files: all bones along one axis."""
    axes = _t_pose(clip)
    for joint in range(len(axes)):
        if joint in clip.parents:
            bone = clip.offsets[clip.parents.index(joint)]
            axes[joint] = swing(torch.tensor([[1.0, 0, 0]]), (bone / bone.norm())[None])[0]
    return axes


def _any(clip: SkeletalClip) -> Tensor:
    torch.manual_seed(3)
    return roma.random_rotmat(len(clip.names))


RESTS = {"T-pose": _t_pose, "all along x": _all_along_x, "anyhow": _any}


@pytest.fixture(scope="module")
def reference(template):
    return Reference(template)


def _joint_places(template, motion) -> dict[str, Tensor]:
    """Return the joint positions that `Body.pose` gives, by name."""
    posed = template.body(template.default_identity()).pose(*motion.parameters())
    return dict(zip(template.joint_names, posed.joints[..., :3, 3].unbind(1), strict=True))


def _degrees(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(torch.acos(torch.cosine_similarity(a.double(), b.double(), dim=-1).clamp(-1, 1)))


def _bones(mapping: JointMap) -> list[tuple[str, str, str, str]]:
    """Return bones by the names of their end joints, in the source and in the template."""
    limbs = [
        ("upper_arm", "forearm", "upperarm01", "lowerarm01"),
        ("forearm", "hand", "lowerarm01", "wrist"),
        ("hand", "middle", "wrist", "finger3-1"),
        ("thigh", "shin", "upperleg01", "lowerleg01"),
        ("shin", "foot", "lowerleg01", "foot"),
    ]
    bones = [
        (mapping[f"{a}.{side}"], mapping[f"{b}.{side}"], f"{c}.{side}", f"{d}.{side}")
        for a, b, c, d in limbs
        for side in "LR"
    ]
    for number, finger in enumerate(("thumb", "index", "middle", "ring", "little"), start=1):
        for side in "LR":
            chain = mapping.joints[f"{finger}.{side}"]
            bones += [
                (chain[k - 1], chain[k], f"finger{number}-{k}.{side}", f"finger{number}-{k + 1}.{side}") for k in (1, 2)
            ]
    return bones


@pytest.mark.parametrize("rest", RESTS)
def test_bones_point_where_the_source_bones_do(template, reference, rest):
    clip = person()
    truth = dict(zip(clip.names, clip.forward()[1].unbind(1), strict=True))
    strange = with_rest(clip, RESTS[rest](clip))
    assert torch.allclose(strange.forward()[1], clip.forward()[1], atol=1e-4)
    mapping = JointMap.find(clip.names)
    at = _joint_places(template, to_template(strange, mapping, reference))
    for a, b, c, d in _bones(mapping):
        assert _degrees(truth[b] - truth[a], at[d] - at[c]).max() < 2.0, (a, b)
    middle = lambda places, joint, sides: 0.5 * (places[joint.format(sides[0])] + places[joint.format(sides[1])])
    trunk = truth["Neck"] - middle(truth, "{}UpLeg", ("Left", "Right"))
    assert _degrees(trunk, at["neck01"] - middle(at, "upperleg01.{}", "LR")).max() < 2.0
    across = lambda places, joint, sides: places[joint.format(sides[0])] - places[joint.format(sides[1])]
    for joint, own in (("{}UpLeg", "upperleg01.{}"), ("{}Arm", "upperarm01.{}")):  # hips and shoulders
        assert _degrees(across(truth, joint, ("Left", "Right")), across(at, own, "LR")).max() < 3.0, joint


@pytest.mark.parametrize("rest", ["all along x", "anyhow"])
def test_the_rest_pose_does_not_matter(template, reference, rest):
    """Rotations of trunk, head and feet, which positions do not show, are those relative to the T-pose."""
    clip = person()
    mapping = JointMap.find(clip.names)
    body = template.body(template.default_identity())
    plain, strange = (
        body.pose(*to_template(version, mapping, reference).parameters())
        for version in (clip, with_rest(clip, RESTS[rest](clip)))
    )
    for name in ("root", "spine03", "spine01", "neck01", "head", "wrist.L", "lowerarm02.R", "upperleg01.L"):
        joint = template.joint_names.index(name)
        away = roma.rotmat_geodesic_distance(plain.turns[:, joint], strange.turns[:, joint]).rad2deg()
        assert away.max() < 4.0, name


def test_lengths_and_positions_are_scaled_to_the_template(template, reference):
    """The path is scaled by the legs; a skeleton of twice the size gives the same motion."""
    clip = person()
    clip.root[:, 1] = torch.linspace(0, -1.7, FRAMES)
    mapping = JointMap.find(clip.names)
    one = to_template(clip, mapping, reference)
    two = to_template(replace(clip, offsets=2 * clip.offsets, root=2 * clip.root), mapping, reference)
    assert torch.allclose(one.pose, two.pose, atol=1e-4)
    assert torch.allclose(one.root_translation, two.root_translation, atol=1e-4)
    scale = reference.leg_length() / (math.hypot(0.43, 0.01) + math.hypot(0.42, 0.01))
    walked = float((one.root_translation[-1] - one.root_translation[0])[1])
    assert abs(walked + 1.7 * scale) < 0.02 * scale
    assert one.confidence[0].tolist() == [1, 1, 1, 0, 1, 1, 1, 1] and (one.facial_actions == 0).all()


def test_a_hand_without_fingers_is_at_rest(reference):
    clip = person()
    keep = [joint for joint, name in enumerate(clip.names) if "LeftHandRing" not in name and "RightHand" not in name]
    keep.append(clip.joint("RightHand"))
    keep.sort()
    bare = replace(
        clip,
        names=[clip.names[j] for j in keep],
        parents=[keep.index(clip.parents[j]) if j else -1 for j in keep],
        offsets=clip.offsets[keep],
        rotations=clip.rotations[:, keep],
    )
    motion = to_template(bare, JointMap.find(bare.names), reference)
    assert motion.confidence[0].tolist() == [1, 1, 0, 0, 1, 1, 1, 1]
    names = reference.template.pose_joints
    for finger in ("finger2-2.R", "finger4-1.L"):  # a right hand without fingers, a left hand without ring finger
        joint = names.index(finger)
        assert torch.equal(motion.pose[:, joint], reference.at_rest[joint].expand(FRAMES, 3))
    assert (
        motion.pose[:, names.index("finger2-2.L")] - reference.at_rest[names.index("finger2-2.L")]
    ).abs().max() > 0.1


def test_a_straightening_arm_does_not_flip(reference):
    """An elbow straightens and opens again: where no plane is defined, the last one is kept."""
    clip = person()
    frames = 60
    clip = clip[torch.zeros(frames, dtype=torch.long)]
    bend = 40 * torch.cos(torch.linspace(0, 4 * math.pi, frames)).abs()
    clip.rotations[:, clip.joint("LeftForeArm")] = _about((0, 0, -1), bend)
    motion = to_template(clip, JointMap.find(clip.names), reference)
    steps = roma.rotmat_geodesic_distance(
        *(roma.rotvec_to_rotmat(motion.pose[part]) for part in (slice(1, None), slice(-1)))
    )
    driver = bend.diff().abs().max()
    assert steps.rad2deg().max() < 2 * driver


def test_a_single_frame(reference):
    clip = person()[4:5]
    motion = to_template(clip, JointMap.find(clip.names), reference)
    assert len(motion) == 1 and all(torch.isfinite(values).all() for values in motion.parameters())


@pytest.mark.parametrize("bone", ["LeftLeg", "RightForeArm", "LeftFoot"])
def test_a_bone_without_length_is_named(reference, bone):
    clip = person()
    clip.offsets[clip.joint(bone)] = 0.0
    with pytest.raises(UserError, match=r"bone at '\w+' or its other side has no length"):
        to_template(clip, JointMap.find(clip.names), reference)


def test_the_templates_own_skeleton_keeps_its_motion(template, reference, random_motion):
    """Through the general transfer, too, not only when recognized by names: the mesh's joints stay in place."""
    motion = random_motion(8, turn=0.1)
    clip = TemplateSkeleton(reference).clip(motion)
    again = to_template(clip, JointMap.find(clip.names), reference)
    before, after = _joint_places(template, motion), _joint_places(template, again)
    for start, end in (("upperarm01.L", "lowerarm01.L"), ("lowerleg01.R", "foot.R"), ("finger2-1.L", "finger2-2.L")):
        assert _degrees(before[end] - before[start], after[end] - after[start]).max() < 0.5
