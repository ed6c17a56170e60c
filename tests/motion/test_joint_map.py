import re
from pathlib import Path

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.motion.joint_map import (
    FINGERS,
    JointMap,
    JointTable,
    shipped_tables,
)

MIXAMO = [
    *("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head", "HeadTop_End"),
    *(side + bone for side in ("Left", "Right") for bone in ("Shoulder", "Arm", "ForeArm", "Hand")),
    *(side + bone for side in ("Left", "Right") for bone in ("UpLeg", "Leg", "Foot", "ToeBase", "Toe_End")),
    *(
        f"{side}Hand{finger}{k}"
        for side in ("Left", "Right")
        for finger in ("Thumb", "Index", "Middle", "Ring", "Pinky")
        for k in range(1, 5)
    ),
]


# Bruce Hahne's conversion of CMU's motions for MotionBuilder (cgspeed).
CGSPEED = [
    *("Hips", "LHipJoint", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase"),
    *("RHipJoint", "RightUpLeg", "RightLeg", "RightFoot", "RightToeBase"),
    *("LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head"),
    *("LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "LeftFingerBase", "LeftHandIndex1", "LThumb"),
    *("RightShoulder", "RightArm", "RightForeArm", "RightHand", "RightFingerBase", "RightHandIndex1", "RThumb"),
]
ROKOKO = [
    *("Hips", "Spine1", "Spine2", "Spine3", "Spine4", "Neck", "Head"),
    *(side + bone for side in ("Left", "Right") for bone in ("Shoulder", "Arm", "ForeArm", "Hand")),
    *(side + bone for side in ("Left", "Right") for bone in ("Thigh", "Shin", "Foot", "Toe")),
    *(
        f"{side}Finger{finger}{bone}"
        for side in ("Left", "Right")
        for finger in range(1, 6)
        for bone in ("Metacarpal", "Proximal", "Medial", "Distal", "Tip")
        if (finger, bone) != (1, "Medial")
    ),
]
BANDAI_NAMCO = [
    *("joint_Root", "Hips", "Spine", "Chest", "Neck", "Head"),
    *(f"{bone}_{side}" for side in "LR" for bone in ("Shoulder", "UpperArm", "LowerArm", "Hand")),
    *(f"{bone}_{side}" for side in "LR" for bone in ("UpperLeg", "LowerLeg", "Foot", "Toes")),
]


# A data set with Biovision's names and some of cgspeed's joints between them; and Biovision's own names.
BIOVISION = [
    *("Hips", "LHipJoint", "LeftHip", "LeftKnee", "LeftAnkle", "LeftToe"),
    *("RHipJoint", "RightHip", "RightKnee", "RightAnkle", "RightToe"),
    *("lowerback", "Chest", "Chest2", "lowerneck", "Neck", "Head"),
    *(side + bone for side in ("Left", "Right") for bone in ("Collar", "Shoulder", "Elbow", "Wrist")),
    *("lhand", "LFingers", "LThumb", "rhand", "RFingers", "RThumb"),
]
BIOVISION_OF_OLD = [
    *("Hips", "Chest", "Neck", "Head"),
    *(side + bone for side in ("Left", "Right") for bone in ("Collar", "UpArm", "LowArm", "Hand")),
    *(side + bone for side in ("Left", "Right") for bone in ("Hip", "Knee", "Ankle", "Toe")),
]


def names_of(table: JointTable) -> list[str]:
    """Return every name in a table."""
    return [
        pattern.replace("{side}", side)
        for patterns in table.parts.values()
        for pattern in patterns
        for side in (table.sides if "{side}" in pattern else ("",))
    ]


@pytest.mark.parametrize("table", shipped_tables(), ids=lambda table: table.name)
def test_every_table_finds_its_own_skeleton(table):
    mapping = JointMap.find(names_of(table))
    assert mapping.table == table.name
    assert mapping["forearm.L"] != mapping["forearm.R"]
    assert {part.split(".")[0] for part in mapping.joints} == set(table.parts)


def test_shipped_tables():
    expected = {"anny", "bandai_namco", "biovision", "cmu_asf", "daz", "motionbuilder", "rokoko", "smpl", "smpl_fbx"}
    assert {table.name for table in shipped_tables()} == expected


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig1:", "mixamorig", "Character1_", "rig|mixamorig:"])
def test_prefixes_do_not_matter(prefix):
    mapping = JointMap.find([prefix + name for name in MIXAMO])
    assert mapping.joints["spine"] == tuple(prefix + name for name in ("Spine", "Spine1", "Spine2"))
    assert mapping["thigh.R"] == prefix + "RightUpLeg"
    assert all(len(mapping.joints[f"{finger}.L"]) == 4 for finger in FINGERS)


@pytest.mark.parametrize(
    ("names", "table", "spine", "elbow", "fingers"),
    [
        (MIXAMO, "motionbuilder", ("Spine", "Spine1", "Spine2"), "LeftForeArm", True),
        (["mixamorig:" + name for name in MIXAMO], "motionbuilder", 3, "mixamorig:LeftForeArm", True),
        (CGSPEED, "motionbuilder", ("LowerBack", "Spine", "Spine1"), "LeftForeArm", False),
        (ROKOKO, "rokoko", ("Spine1", "Spine2", "Spine3", "Spine4"), "LeftForeArm", True),
        (BANDAI_NAMCO, "bandai_namco", ("Spine", "Chest"), "LowerArm_L", False),
        (BIOVISION, "biovision", ("Chest", "Chest2"), "LeftElbow", False),
        (BIOVISION_OF_OLD, "biovision", ("Chest",), "LeftLowArm", False),
    ],
    ids=["Mixamo", "Mixamo's prefix", "CMU by cgspeed", "Rokoko", "Bandai-Namco", "Biovision", "Biovision of old"],
)
def test_names_of_programs(names, table, spine, elbow, fingers):
    """Joints of these programs' files, in order."""
    mapping = JointMap.find(names)
    assert mapping.table == table and mapping["forearm.L"] == elbow
    assert mapping.joints["spine"] == spine or len(mapping.joints["spine"]) == spine
    for part in ("toes.L", "clavicle.R", "neck", "shin.R"):
        assert part in mapping
    assert all((f"{finger}.{side}" in mapping) == fingers for finger in FINGERS for side in "LR")


def test_a_finger_of_one_bone_does_not_count():
    names = [name for name in MIXAMO if not name.endswith(("2", "3", "4")) or "Hand" not in name]
    assert not any(f"{finger}.L" in JointMap.find(names) for finger in FINGERS)


def test_missing_joints_are_named():
    names = [name for name in MIXAMO if name not in ("LeftForeArm", "Head")]
    with pytest.raises(UserError, match=r"no joint was found for head, forearm\.L;") as error:
        JointMap.find(names)
    assert "\n" not in str(error.value)
    assert "--joint-names" in str(error.value)
    with pytest.raises(UserError, match=r"for hips, head, upper_arm.L, upper_arm.R and 10 more; ") as error:
        JointMap.find([f"{k}{'x' * 190}" for k in range(50)])
    assert len(str(error.value)) < 250
    with pytest.raises(UserError, match="hips"):
        JointMap.find(["tail"])


@pytest.mark.parametrize(
    ("name", "other"), [("Hips", "pelvis"), ("Neck", "neck01"), ("Spine", "Chest"), ("Hips", "hip")]
)
def test_trunk_joints_may_have_another_programs_names(name, other):
    mapping = JointMap.find([other if known == name else known for known in MIXAMO])
    part = {"Hips": "hips", "Neck": "neck", "Spine": "spine"}[name]
    assert mapping.table == "motionbuilder" and (other in mapping.joints[part] or part == "spine")


def test_a_users_table_extends_the_shipped_ones(tmp_path):
    names = [name.replace("ForeArm", "Elbow").replace("Head", "Skull") for name in MIXAMO]
    with pytest.raises(UserError, match="forearm"):
        JointMap.find(names)
    own = tmp_path / "mine.yaml"
    own.write_text("sides: [Left, Right]\njoints: {forearm: '{side}Elbow', head: [Cranium, Skull]}")
    mapping = JointMap.find(names, own)
    assert (mapping.table, mapping["forearm.R"], mapping["head"]) == ("mine", "RightElbow", "Skull")
    assert mapping["upper_arm.L"] == "LeftArm"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("joints: [", "not a table of joint names"),
        ("- 1", "must be a mapping"),
        ("joints: {hips: Hips}", "sides is missing"),
        ("sides: [L, R]", "joints is missing"),
        ("sides: [L, R, X]\njoints: {hips: Hips}", "sides: expected 2 values, found 3"),
        ("sides: [L, R]\njoints: {tail: Tail}", "no part 'tail'"),
        ("sides: [L, R]\njoints: {hand: Hand}", "hand: its names need {side}"),
        ("sides: [L, R]\njoints: {hips: }", "hips: expected a name or a list"),
        ("sides: [L, R]\njoints: {hips: 3}", "hips: expected a name or a list"),
        ("sides: [L, R]\njoints: {hips: [1, 2]}", "hips: expected a text, found 1"),
        (f"sides: [L, R]\njoints: {{hips: [{'a, ' * 101}]}}", "hips: .* at most 100 names"),
        (f"sides: [L, R]\njoints: {{hips: {'a' * 256}}}", "hips: expected at most 255 characters"),
        ('sides: [L, R]\njoints: {hips: "\\e[2J"}', "hips: holds characters that cannot be printed"),
        ("sides: [L, R]\njoints: {head: !!int ''}", "tags"),
        ("sides: &a [L, R]\njoints: {head: *a}", "aliases and anchors"),
    ],
)
def test_errors_in_a_table_name_the_cause(tmp_path, text, cause):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"own\.yaml.*{cause}"):
        JointMap.find(MIXAMO, path)
    with pytest.raises(UserError, match=r"none\.yaml"):
        JointTable.load(tmp_path / "none.yaml")


def test_the_documented_table_is_valid(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    path = tmp_path / "documented.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", page, re.S)[1])
    table = JointTable.load(path)
    assert table.match(["LeftElbow", "Skull", "Waist", "Chest"]) == {
        "forearm.L": ("LeftElbow",),
        "head": ("Skull",),
        "spine": ("Waist", "Chest"),
    }
