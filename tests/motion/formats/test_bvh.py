import time
import zipfile

import numpy as np
import pytest
import roma
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats.bvh import read_bvh, write_bvh
from ram_avatar.motion.skeleton import SkeletalClip

GOOD = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Arm {
    OFFSET 0 50 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 60 0 0
    }
  }
  JOINT Leg
  {
    OFFSET 10 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT Foot
    {
      OFFSET 0 -90 0
      CHANNELS 3 Zrotation Yrotation Xrotation
      End Site
      {
        OFFSET 0 0 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
0 100 0 0 0 0 0 0 0 0 0 0 0 0 0
10 100 20 0 0 90 0 0 90 0 0 0 0 0 0
"""


@pytest.fixture()
def read(tmp_path):
    """A function that reads text as a file."""

    def read(text: str | bytes, **options) -> SkeletalClip:
        path = tmp_path / "clip.bvh"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_bvh(path, **options)

    return read


def random_clip(frames: int, moving: bool) -> SkeletalClip:
    torch.manual_seed(1)
    names = ["Hips", "Spine", "LeftLeg", "Head", "LeftFoot", "Head_end"]  # not depth first
    offsets = torch.tensor([[0, 0, 0], [0, 0, 0.4], [0.1, 0, -0.4], [0, 0, 0.3], [0.02, 0, -0.7], [0, 0, 0.2]])
    rotations = roma.random_rotmat((frames, 6))
    rotations[:, 5] = torch.eye(3)
    translations = offsets + 0.05 * torch.randn(frames, 6, 3) if moving else None
    if moving:
        translations[:, 5] = offsets[5]  # an end site has no channels
    return SkeletalClip(names, [-1, 0, 0, 1, 2, 3], offsets, rotations, torch.randn(frames, 3), 25.0, translations)


def test_joint_positions_follow_from_the_file(read):
    clip = read(GOOD)
    assert clip.names == ["Hips", "Arm", "Arm_end", "Leg", "Foot"] and clip.fps == 30.0
    _, positions = clip.forward()
    at_rest = torch.tensor([[0, 0, 1.0], [0, 0, 1.5], [0.6, 0, 1.5], [0.1, 0, 1.0], [0.1, 0, 0.1]])
    assert torch.allclose(positions[0], at_rest, atol=1e-6)
    # 90 degrees about the vertical rotate left to back; the arm's own rotation then lifts its end.
    turned = torch.tensor([[0.1, -0.2, 1.0], [0.1, -0.2, 1.5], [0.1, -0.2, 2.1], [0.1, -0.1, 1.0], [0.1, -0.1, 0.1]])
    assert torch.allclose(positions[1], turned, atol=1e-6)


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_any_order_of_channels(read, order):
    channels = " ".join(f"{axis}rotation" for axis in order)
    angles = {"X": 20.0, "Y": -50.0, "Z": 110.0}
    text = GOOD.replace("Yrotation Xrotation Zrotation", channels)
    text = text.replace("0 0 90 0 0 90", "0 0 0 " + " ".join(str(angles[axis]) for axis in order))
    axes = {"X": [1.0, 0, 0], "Y": [0, 0, 1.0], "Z": [0, -1.0, 0]}  # the file's, in world axes
    expected = torch.eye(3)
    for axis in order:
        expected = expected @ roma.rotvec_to_rotmat(torch.tensor(axes[axis]) * np.radians(angles[axis]).item())
    assert torch.allclose(read(text).rotations[1, 1], expected, atol=1e-6)


def test_positions_of_a_joint_replace_its_offset(read):
    six = GOOD.replace("CHANNELS 3 Yrotation Xrotation Zrotation", "CHANNELS 4 Xposition Yrotation Xrotation Zrotation")
    still = six.replace("\n0 100 0 0 0 0 0", "\n0 100 0 0 0 0 0 0").replace(
        "\n10 100 20 0 0 90 0", "\n10 100 20 0 0 90 0 0"
    )
    assert read(still).translations is None
    moved = read(still.replace("\n0 100 0 0 0 0 0", "\n0 100 0 0 0 0 25"))
    assert torch.allclose(moved.forward()[1][0, 1], torch.tensor([0.25, 0, 1.5]), atol=1e-6)


@pytest.mark.parametrize("scale", [0.01, 1 / 2.54, 1.0, 10.0, 0.45 / 2.54, 37.0])
def test_units_are_guessed(read, scale):
    """Metres, inches, centimetres, millimetres, CMU's unit, and an unknown one."""
    scaled = []
    for line in GOOD.splitlines():
        words = line.split()
        scaled.append(f"OFFSET {' '.join(str(scale * float(w)) for w in words[1:])}" if "OFFSET" in line else line)
    reach = read("\n".join(scaled)).offsets.norm(dim=-1)[3:].sum()
    assert abs(float(reach) - (1.2 * (10 + 90) / 110 if scale == 37.0 else 1.0)) < 0.02
    assert abs(float(read("\n".join(scaled), metres_per_unit=0.01).offsets[4].norm()) - 0.9 * scale) < 1e-4


def test_unusual_but_valid_files(read):
    assert read(GOOD.replace("\n", "\r\n")).names[1] == "Arm"
    assert read(b"\xef\xbb\xbf" + GOOD.replace("Frames: ", "Frames:\t").encode()).fps == 30.0
    assert abs(read(GOOD.replace("0.0333333", "0.0416")).fps - 1 / 0.0416) < 1e-9
    assert read(GOOD.replace("0.0333333", "0.008333")).fps == 120.0


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("HIERARCHY", "HIERACHY", "not a BVH file"),
        ("MOTION", "MOTIN", "no MOTION"),
        ("ROOT Hips", "JOINT Hips", "line 2: the hierarchy must begin with a ROOT"),
        ("JOINT Leg", "ROOT Leg", "line 14: a second ROOT"),
        ("JOINT Leg", "JOINT Arm", "line 14: a second joint with the name 'Arm'"),
        ("}\nMOTION", "MOTION", "line 27: the hierarchy ends before 'Hips' is closed"),
        ("}\nMOTION", "}\n}\nMOTION", "line 29: unexpected '}'"),
        ("CHANNELS 6", "CHANNELS 5", "line 5: states 5 channels, but names 6"),
        ("Yrotation Xrotation Zrotation", "Yrotation Wrotation Zrotation", "line 8: channels must be"),
        ("Yrotation Xrotation Zrotation", "Yrotation Yrotation Zrotation", "line 8: channels must be"),
        ("OFFSET 0 50 0", "OFFSET 0 50", "line 7: OFFSET needs three numbers"),
        ("OFFSET 0 50 0", "OFFSET 0 nan 0", "line 7: OFFSET needs three numbers"),
        ("    OFFSET 0 50 0\n", "", "line 12: 'Arm' has no OFFSET"),
        ("Frames: 2", "Frames: 0", "line 30: expected 'Frames:'"),
        ("Frames: 2", "Frames: -1", "line 30: expected 'Frames:'"),
        ("Frames: 2", "Frames: 3", "states 3 frames, but 2 follow"),
        ("Frames: 2", "Frames: 1", "states 1 frames, but 2 follow"),
        ("Frames: 2", "Frames: 999999999", "but 2 follow"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "line 31: expected 'Frame Time:'"),
        ("Frame Time: 0.0333333", "Frame Rate: 30", "line 31: expected 'Frame Time:'"),
        ("10 100 20", "10 ten 20", "line 33: 'ten' is not a number"),
        ("10 100 20", "10 nan 20", "line 33: 'nan' is not a number"),
        ("10 100 20", "10 1e300 20", "line 33: '1e300'"),
        ("10 100 20", "100 20", "line 33: has 14 numbers, but the hierarchy has 15"),
    ],
)
def test_errors_name_the_line(read, old, new, cause):
    assert old in GOOD
    with pytest.raises(UserError, match=r"clip\.bvh.*" + cause.replace("(", r"\(")) as error:
        read(GOOD.replace(old, new, 1))
    assert "\n" not in str(error.value)


def test_a_joint_may_have_many_end_sites(read):
    ends = "End Site\n{\nOFFSET 0 60 0\n}\n" * 990
    clip = read(GOOD.replace("End Site", ends + "End Site", 1))
    assert [name for name in clip.names if name.startswith("Arm")][:4] == ["Arm", "Arm_end", "Arm_end2", "Arm_end3"]
    assert len(clip.names) == 4 + 991


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("Arm", "Arm" * 100_000, "line 6: a joint's name must have 1 to 200"),
        ("Arm", "Arm\x1b[2J", "line 6: a joint's name must have 1 to 200"),
        ("3 Yrotation", "4 yrotation Yrotation", "line 8: channels must be distinct"),
        ("3 Yrotation Xrotation Zrotation", "4 Xrotation Yrotation Zrotation xrotation", "line 8: channels must be"),
        ("3 Yrotation", "9" * 5000 + " Yrotation", "line 8: states 9{20} channels"),
        ("HIERARCHY", "HIERARCHY" + "\n" * 2**20, "its hierarchy is larger than 1 MB"),
        ("JOINT Arm", "JOINT x {\nOFFSET 0 0 0\n}\n" * 1000 + "JOINT Arm", "line 9: a second joint with the name 'x'"),
    ],
)
def test_hierarchies_made_to_hurt(read, old, new, cause):
    start = time.process_time()
    with pytest.raises(UserError, match=rf"clip\.bvh: {cause}"):
        read(GOOD.replace(old, new, 1))
    assert time.process_time() - start < 2


def test_joints_without_channels_cannot_take_much_memory(read):
    joints = "".join(f"JOINT j{k}\n{{\nOFFSET 0 1 0\n}}\n" for k in range(900))
    text = f"HIERARCHY\nROOT r\n{{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n{joints}}}\nMOTION\n"
    with pytest.raises(UserError, match=r"has 50000 frames of 901 joints, too many for a file of \d+ kB"):
        read(text + "Frames: 50000\nFrame Time: 0.04\n" + "0\n" * 50_000)


def test_bones_without_length_are_refused(read):
    flat = "\n".join("OFFSET 0 0 0" if "OFFSET" in line else line for line in GOOD.splitlines())
    with pytest.raises(UserError, match="none of its bones"):
        read(flat)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x13" * 50, GOOD.encode()[:300], b"HIERARCHY\nMOTION\n", b"HIERARCHY " + b"{" * 9000]
)
def test_junk_is_refused(read, content):
    with pytest.raises(UserError, match=r"clip\.bvh"):
        read(content)


def test_truncated_files_are_refused(read):
    for length in range(0, len(GOOD) - 3, 7):
        with pytest.raises(UserError, match=r"clip\.bvh"):
            read(GOOD[:length])


def test_absent_and_too_large(tmp_path):
    with pytest.raises(UserError, match=r"none\.bvh"):
        read_bvh(tmp_path / "none.bvh")
    with (tmp_path / "huge.bvh").open("wb") as file:
        file.truncate(2**30)  # sparse
    with pytest.raises(UserError, match=r"huge\.bvh.*too large"):
        read_bvh(tmp_path / "huge.bvh")


@pytest.mark.parametrize("moving", [False, True])
def test_written_files_read_back(tmp_path, moving):
    clip = random_clip(50, moving)
    write_bvh(tmp_path / "a.bvh", clip)
    again = read_bvh(tmp_path / "a.bvh")
    order = [again.joint(name) for name in clip.names]
    (turns, positions), (turns_again, positions_again) = clip.forward(), again.forward()
    assert again.fps == clip.fps and len(again) == len(clip)
    assert (positions_again[:, order] - positions).abs().max() < 1e-4
    assert torch.rad2deg(roma.rotmat_geodesic_distance(turns_again[:, order], turns)).max() < 0.1
    assert list(tmp_path.iterdir()) == [tmp_path / "a.bvh"]


def test_writing_to_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"a\.bvh|nowhere"):
        write_bvh(tmp_path / "nowhere" / "a.bvh", random_clip(2, False))


@pytest.fixture()
def archive(shared):
    with zipfile.ZipFile(shared / "motions" / "bandai_namco_subset.zip") as archive:
        yield archive


def test_real_files(archive, read):
    for name in archive.namelist()[::150]:
        content = archive.read(name)
        clip = read(content)
        _, positions = clip.forward()
        height = positions[:, clip.joint("Head"), 2].median()
        assert clip.fps == 30.0 and len(clip.names) == 22 and 1.0 < height < 1.6, name


@pytest.mark.slow
def test_all_real_files(archive, read):
    longest = 0.0
    for name in archive.namelist():
        content = archive.read(name)
        start = time.process_time()
        clip = read(content)
        longest = max(longest, time.process_time() - start)
        positions = clip.forward()[1]
        legs = positions[:, clip.joint("UpperLeg_L")] - positions[:, clip.joint("LowerLeg_L")]
        assert 0.3 < legs.norm(dim=-1).median() < 0.5, name
    assert longest < 0.5  # seconds of processor time
