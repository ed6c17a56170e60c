import math
import tracemalloc

import numpy as np
import pytest
import roma
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats import amass
from ram_avatar.motion.formats.amass import (
    SMPL,
    SMPLH,
    SMPLX,
    read_amass,
)

UPRIGHT = (math.pi / 2, 0.0, 0.0)  # root rotation of a person facing -y in a z-up world


@pytest.fixture()
def write(tmp_path):
    """A function that writes an archive of an upright person, with arrays added, changed or left out (None)."""

    def make(frames: int = 2, width: int = 156, root=UPRIGHT, **changes):
        poses = np.zeros((frames, width))
        poses[:, :3] = root
        arrays = {"poses": poses, "trans": np.tile([0.5, 1.0, 0.9], (frames, 1)), "mocap_framerate": np.array(120.0)}
        arrays |= {"gender": np.array("neutral"), "betas": np.zeros(16)} | changes
        np.savez(tmp_path / "m.npz", **{name: array for name, array in arrays.items() if array is not None})
        return tmp_path / "m.npz"

    return make


def bent(joints: dict[str, str], name: str, rotvec) -> np.ndarray:
    poses = np.zeros((1, 3 * len(joints)))
    poses[0, :3] = UPRIGHT
    start = 3 * list(joints).index(name)
    poses[0, start : start + 3] = rotvec
    return poses


@pytest.mark.parametrize(("joints", "fingers"), [(SMPL, 0), (SMPLH, 30), (SMPLX, 30)])
def test_a_person_stands_upright_and_faces_forward(write, joints, fingers):
    clip = read_amass(write(3, 3 * len(joints)))
    assert (len(clip), clip.fps, clip.names) == (3, 120.0, list(joints))
    assert sum(name[-1] in "123" and "spine" not in name for name in clip.names) == fingers
    assert torch.allclose(clip.rotations, torch.eye(3).expand_as(clip.rotations), atol=1e-6)
    _, positions = clip.forward()
    at = lambda name: positions[0, clip.joint(name)]
    assert torch.allclose(at("pelvis"), torch.tensor([0.5, 1.0, 0.9]))
    assert at("left_wrist")[0] > at("left_hip")[0] > 0.5 > at("right_hip")[0] > at("right_wrist")[0]
    assert at("left_foot")[1] < at("left_ankle")[1] - 0.05 and at("left_ankle")[2] < at("left_knee")[2] - 0.3
    assert 1.4 < at("head")[2] - at("left_foot")[2] < 1.6


def test_lengths_are_shares_of_the_height(write):
    clip = read_amass(write())
    length = lambda name: float(clip.offsets[clip.joint(name)].norm()) / amass.HEIGHT
    for name, share in {"left_elbow": 0.186, "left_wrist": 0.146, "left_knee": 0.245, "left_ankle": 0.246}.items():
        assert length(name) == pytest.approx(share, abs=1e-4), name
    assert length("left_middle2") == pytest.approx(0.108 * 0.266, abs=1e-4)
    mirror = torch.tensor([-1.0, 1, 1])
    for left in (n for n in clip.names if n.startswith("left_")):
        right = clip.joint(left.replace("left_", "right_"))
        assert torch.equal(clip.offsets[clip.joint(left)], clip.offsets[right] * mirror), left


@pytest.mark.parametrize(
    ("turned", "rotvec", "child", "direction"),
    [
        ("left_knee", (math.pi / 2, 0, 0), "left_ankle", (0, 1, 0)),  # the heel to the back
        ("left_hip", (-math.pi / 2, 0, 0), "left_knee", (0, -1, 0)),  # the thigh to the front
        ("left_elbow", (0, -math.pi / 2, 0), "left_wrist", (0, -1, 0)),  # the forearm to the front
        ("right_elbow", (0, math.pi / 2, 0), "right_wrist", (0, -1, 0)),
        ("left_shoulder", (0, 0, -math.pi / 2), "left_elbow", (0, 0, -1)),  # the arm to the side of the body
        ("right_middle1", (0, 0, math.pi / 2), "right_middle2", (0, 0, -1)),  # the finger to the palm
    ],
)
def test_one_rotated_joint(write, turned, rotvec, child, direction):
    clip = read_amass(write(1, poses=bent(SMPLH, turned, rotvec)))
    _, positions = clip.forward()
    bone = positions[0, clip.joint(child)] - positions[0, clip.joint(turned)]
    assert torch.allclose(bone / bone.norm(), torch.tensor(direction, dtype=torch.float32), atol=1e-3)


def test_a_person_turns_about_the_vertical(write):
    turned = roma.rotvec_to_rotmat(torch.tensor([0, 0, math.pi / 2])) @ roma.rotvec_to_rotmat(torch.tensor(UPRIGHT))
    clip = read_amass(write(root=roma.rotmat_to_rotvec(turned).numpy()))
    turns, _ = clip.forward()
    assert torch.allclose(-turns[0, 0, :, 1], torch.tensor([1.0, 0, 0]), atol=1e-5)  # from -y to x


@pytest.mark.parametrize(
    ("up", "root", "place"),
    [("z", UPRIGHT, (0.5, 1.0, 0.9)), ("y", (0, 0, 0), (0.5, -0.9, 1.0)), ("-y", (math.pi, 0, 0), (0.5, 0.9, -1.0))],
)
def test_up_axis(write, up, root, place):
    """Given, or detected from an upright person; AMASS's own files have z up, even for people who lie."""
    for clip in (read_amass(write(root=root)), read_amass(write(root=root), up=up)):
        assert torch.allclose(clip.rotations, torch.eye(3).expand_as(clip.rotations), atol=1e-5)
        assert torch.allclose(clip.root[0], torch.tensor(place))
    clip = read_amass(write(root=root, dmpls=np.zeros((2, 8))))
    assert torch.allclose(clip.root[0], torch.tensor([0.5, 1.0, 0.9]))


def test_parts_are_joined(write):
    """The order of the joints in a file: body, jaw, eyes, left hand, right hand."""
    poses = 0.3 * np.random.default_rng(0).standard_normal((4, 165))
    poses[:, :3] = UPRIGHT
    whole = read_amass(write(4, poses=poses))
    parts = np.split(poses, np.cumsum([3, 63, 3, 3, 3, 45]), axis=1)
    names = ("global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose", "right_hand_pose")
    arrays = dict(zip(names, parts, strict=True)) | {"transl": np.tile([0.5, 1.0, 0.9], (4, 1)), "trans": None}
    apart = read_amass(write(4, poses=None, **arrays, expression=np.zeros((4, 10))))
    assert apart.names == whole.names and torch.equal(apart.rotations, whole.rotations)
    assert torch.equal(apart.root, whole.root)
    arrays["body_pose"] = arrays["body_pose"].reshape(4, 21, 3)
    few = read_amass(write(4, poses=None, **{**arrays, "jaw_pose": None, "left_hand_pose": None}))
    still = [few.joint(name) for name in ("jaw", "left_index1", "left_thumb3")]
    assert torch.allclose(few.rotations[:, still], torch.eye(3).expand(4, 3, 3, 3))
    assert torch.equal(few.rotations[:, few.joint("right_thumb3")], whole.rotations[:, few.joint("right_thumb3")])


def test_the_parts_of_amass(write):
    """AMASS's own part names; SMPL+H has no jaw and no eyes."""
    poses = 0.3 * np.random.default_rng(0).standard_normal((4, 165))
    poses[:, :3] = UPRIGHT
    names = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
    parts = dict(zip(names, np.split(poses, np.cumsum([3, 63, 3, 6]), axis=1), strict=True))
    whole, apart = read_amass(write(4, poses=poses)), read_amass(write(4, poses=None, **parts))
    assert apart.names == whole.names and torch.equal(apart.rotations, whole.rotations)
    few = read_amass(write(4, poses=None, **{**parts, "pose_jaw": None, "pose_eye": None}))
    assert torch.equal(few.rotations[:, few.joint("left_thumb3")], whole.rotations[:, few.joint("left_thumb3")])
    assert torch.allclose(few.rotations[:, few.joint("jaw")], torch.eye(3), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 69), (4, 23, 3)])
def test_the_parts_of_smpl(write, shape):
    poses = 0.3 * np.random.default_rng(0).standard_normal((4, 72))
    poses[:, :3] = UPRIGHT
    parts = {"poses": None, "global_orient": poses[:, :3], "body_pose": poses[:, 3:].reshape(shape)}
    whole, apart = read_amass(write(4, poses=poses)), read_amass(write(4, **parts))
    assert apart.names == list(SMPL) and torch.equal(apart.rotations, whole.rotations)
    with pytest.raises(UserError, match=r"body_pose is SMPL's, .* has no left_hand_pose"):
        read_amass(write(4, **parts, left_hand_pose=np.zeros((4, 45))))


def test_frame_rates(write):
    assert read_amass(write(mocap_framerate=None, mocap_frame_rate=np.array(30))).fps == 30
    assert read_amass(write(mocap_framerate=None, fps=np.array([25.0]))).fps == 25
    assert read_amass(write(mocap_framerate=None), fps=59.94).fps == 59.94
    assert read_amass(write(), fps=59.94).fps == 120  # the file's own rate takes precedence
    with pytest.raises(UserError, match=r"m\.npz: has no frame rate \(mocap_framerate.*--fps"):
        read_amass(write(mocap_framerate=None))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"poses": None}, "neither poses nor global_orient and body_pose"),
        ({"poses": None, "global_orient": np.zeros((2, 3))}, "neither poses nor"),
        ({"trans": None}, "has no trans"),
        ({"poses": np.zeros((2, 66))}, r"poses must be \[frames, 72 or 156 or 165\], got \[2, 66\]"),
        ({"poses": np.zeros(156)}, r"poses must be .*got \[156\]"),
        ({"trans": np.zeros((2, 2))}, r"trans must be \[frames, 3\]"),
        ({"trans": np.zeros((3, 3))}, "2 frames of poses, but 3 of the position"),
        ({"trans": np.full((2, 3), np.nan)}, "trans holds numbers that are not finite"),
        ({"trans": np.full((2, 3), 1e300)}, "trans holds numbers that are not finite"),
        ({"trans": np.array([["a", "b", "c"]] * 2)}, "trans must hold numbers"),
        ({"poses": np.array([[{"an": "object"}] * 72] * 2)}, "poses must hold numbers"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "has no frames"),
        ({"mocap_framerate": np.array(1e-300)}, "mocap_framerate must be from 0.01 to 10000"),
        ({"trans": np.full((2, 3), 1e7)}, "trans holds numbers that are not finite, or out of range"),
        ({"poses": np.zeros((2, 2, 3, 3, 13))}, "poses must be"),
        ({"mocap_framerate": np.array(0.0)}, "mocap_framerate must be from 0.01 to 10000"),
        ({"mocap_framerate": np.array([1.0, 2.0])}, "mocap_framerate must be one number"),
    ],
)
def test_errors_name_the_cause(write, changes, cause):
    with pytest.raises(UserError, match=rf"m\.npz: .*{cause}"):
        read_amass(write(**changes))


def test_inconsistent_parts_are_refused(write):
    parts = {"poses": None, "global_orient": np.zeros((2, 3)), "body_pose": np.zeros((2, 63))}
    with pytest.raises(UserError, match="has 5 frames of jaw_pose, but 2 of the position"):
        read_amass(write(**parts, jaw_pose=np.zeros((5, 3))))
    with pytest.raises(UserError, match=r"left_hand_pose must be \[frames, 45\], got \[2, 12\]"):
        read_amass(write(**parts, left_hand_pose=np.zeros((2, 12))))


def test_a_small_file_cannot_take_much_memory(write, tmp_path):
    """Arrays of zeros, which deflate to a thousandth."""
    frames = 1_000_000
    poses, trans = np.zeros((frames, 156), np.int8), np.zeros((frames, 3), np.int8)
    np.savez_compressed(tmp_path / "m.npz", poses=poses, trans=trans, fps=30)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"m\.npz: has 1000000 frames of 55 joints, too many for a file of \d+ kB"):
        read_amass(tmp_path / "m.npz")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_other_files_are_refused(write, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"absent\.npz: there is no such file"):
        read_amass(tmp_path / "absent.npz")
    path = write()
    whole = path.read_bytes()
    for content in (b"", b"not a zip", whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"m\.npz: not a motion, or damaged"):
            read_amass(path)
    damaged = bytearray(whole)
    damaged[400] ^= 0xFF  # in the middle of the poses
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"m\.npz: .*damaged"):
        read_amass(path)
    for field in (6, 42):  # of the first directory entry: required version, and offset
        table = bytearray(whole)
        start = whole.index(b"PK\x01\x02") + field
        table[start : start + 2] = b"\xff\xff"
        path.write_bytes(table)
        with pytest.raises(UserError, match=r"m\.npz: .*damaged"):
            read_amass(path)
    path.write_bytes(whole)
    monkeypatch.setattr(amass, "_MAX_BYTES", 1 << 10)
    with pytest.raises(UserError, match="too large for a motion"):
        read_amass(path)
