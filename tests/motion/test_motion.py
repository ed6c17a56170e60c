import tracemalloc

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from ram_avatar.core.errors import UserError
from ram_avatar.motion.motion import PARTS, Motion, confidence_of


def test_round_trip_is_exact(random_motion, tmp_path):
    motion = random_motion(7)
    motion.save(tmp_path / "m.npz")
    again = Motion.load(tmp_path / "m.npz")
    assert (again.template, again.fps, len(again)) == (motion.template, motion.fps, 7)
    for mine, theirs in zip(motion.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(motion.confidence, again.confidence)


def test_slices_are_motions(random_motion):
    motion = random_motion(7)
    assert len(motion[2:5]) == 3 and torch.equal(motion[2:5].pose, motion.pose[2:5])
    assert torch.equal(motion[[3]].pose, motion.pose[3:4])


def test_tensors_of_different_lengths_are_refused(random_motion):
    motion = random_motion(4)
    with pytest.raises(ValueError, match="facial_actions"):
        Motion(**{**vars(motion), "facial_actions": motion.facial_actions[:3]})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda a: a.pop("pose"), "pose"),
        (lambda a: a.update(format_version=99), "format 99"),
        (lambda a: a["pose"].__setitem__((0, 0, 0), np.nan), "finite"),
        (lambda a: a.update(pose=np.array([[[{"an": "object"}] * 3]] * 2)), "pose must hold numbers"),
        (lambda a: a.update(pose=np.zeros((2, 1001, 3))), "pose must be"),
        (lambda a: a.update(fps=0.0), "fps must be from 0.01 to 10000"),
        (lambda a: a.update(fps=1e-300), "fps must be"),
        (lambda a: a.update(fps=np.nan), "fps must be"),
        (lambda a: a.update(template="\x1b[2Jx"), "template holds characters that cannot be printed"),
        (lambda a: a.update(template="x" * 256), "template must hold short texts"),
    ],
)
def test_errors_name_the_cause(random_motion, tmp_path, change, cause):
    random_motion(2).save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = {name: np.array(file[name]) for name in file.files}
    change(arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=rf"bad\.npz.*{cause}"):
        Motion.load(tmp_path / "bad.npz")


def test_version_1_limbs_are_as_confident_as_the_body(random_motion, tmp_path):
    random_motion(3).save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as file:
        arrays = {name: np.array(file[name]) for name in file.files}
    old = np.array([[0.9, 0.1, 0.2, 0.3]] * 3, np.float32)
    np.savez(tmp_path / "old.npz", **arrays | {"format_version": 1, "confidence": old})
    confidence = Motion.load(tmp_path / "old.npz").confidence
    assert torch.allclose(confidence[0], torch.tensor([0.9, 0.1, 0.2, 0.3, 0.9, 0.9, 0.9, 0.9]))
    for version, columns in ((1, 8), (1, 3), (2, 4)):
        np.savez(tmp_path / "x.npz", **arrays | {"format_version": version, "confidence": np.ones((3, columns))})
        with pytest.raises(UserError, match=r"x\.npz.*confidence"):
            Motion.load(tmp_path / "x.npz")


def test_confidence_has_a_column_for_every_part(random_motion):
    motion = random_motion(2)
    with pytest.raises(ValueError, match="8 columns"):
        Motion(**{**vars(motion), "confidence": torch.ones(2, 4)})
    made = dict(zip(PARTS, confidence_of(0.8, 0.1, face=0.3, left_leg=0.0), strict=True))
    assert made == {"body": 0.8, "left_hand": 0.1, "right_hand": 0.0, "face": 0.3, "left_arm": 0.8, "right_arm": 0.8,
                    "left_leg": 0.0, "right_leg": 0.8}  # fmt: skip
    with pytest.raises(TypeError, match="tail"):
        confidence_of(1.0, tail=1.0)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz"):
        Motion.load(tmp_path / "x.npz")
    with pytest.raises(UserError, match="no such file"):
        Motion.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("encrypted", "is encrypted"), ("method", "compressed in a way that is not read"), ("stream", "is damaged")],
)
def test_damaged_archives_are_refused_in_one_line(random_motion, tmp_path, kind, cause):
    """Archives that claim encryption or an unknown compression method, and a compressed stream with wrong bytes."""
    random_motion(3).save(tmp_path / "m.npz")
    content = bytearray((tmp_path / "m.npz").read_bytes())
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    if kind == "encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    elif kind == "method":
        content[local + 8] = content[central + 10] = 99
    else:
        start = content.index(b"PK\x03\x04", local + 4) + 60
        content[start : start + 8] = b"\xff" * 8
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(UserError, match=rf"m\.npz: .*{cause}") as error:
        Motion.load(tmp_path / "m.npz")
    assert "\n" not in str(error.value)


def test_a_small_file_cannot_take_much_memory(random_motion, tmp_path):
    random_motion(2).save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = dict(file)
    arrays |= {"pose": np.zeros((500_000, 200, 3), np.int8), "facial_actions": np.zeros((500_000, 52), np.int8)}
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    del arrays
    tracemalloc.start()
    with pytest.raises(UserError, match=r"m\.npz: its arrays take more than 256 MB"):
        Motion.load(tmp_path / "m.npz")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_the_rate_of_a_motion_comes_back_exactly(random_motion, tmp_path):
    motion = random_motion(2)
    motion.fps = 30000 / 1001
    motion.save(tmp_path / "m.npz")
    assert Motion.load(tmp_path / "m.npz").fps == 30000 / 1001


def test_a_slow_motion_cannot_be_resampled_to_too_many_frames(random_motion):
    motion = random_motion(100)
    motion.fps = 0.01
    with pytest.raises(UserError, match="too many frames"):
        motion.resampled(60.0)


def test_a_motion_is_rebuilt_from_its_frames(random_motion):
    motion = random_motion(4)
    again = Motion.of_frames(motion.template, motion.fps, motion.frames())
    for name, tensor in vars(motion).items():
        assert torch.equal(getattr(again, name), tensor) if isinstance(tensor, torch.Tensor) else True
    motion.frame(0).pose[:] = 9.0
    assert motion.pose.abs().max() < 9


@pytest.mark.parametrize("fps", [12.5, 24.0, 60.0])
def test_resampling_keeps_the_timing(random_motion, fps):
    """Compared with a plain loop over frames that uses SciPy's slerp."""
    motion = random_motion(26, turn=1.2)
    again = motion.resampled(fps)
    assert again.fps == fps and abs((len(again) - 1) / fps - 1.0) < 1 / fps + 1e-6
    for index in range(len(again)):
        time = index / fps * motion.fps
        before = min(int(time + 1e-9), len(motion) - 2)
        share = min(time - before, 1.0)
        for joint in (0, 7, 40):
            turns = Rotation.from_rotvec(motion.pose[before : before + 2, joint].numpy())
            between = Slerp([0, 1], turns)(share)
            assert (between.inv() * Rotation.from_rotvec(again.pose[index, joint].numpy())).magnitude() < 1e-3
        for name in ("root_translation", "facial_actions", "confidence"):
            start, end = getattr(motion, name)[before : before + 2]
            assert torch.allclose(getattr(again, name)[index], start + share * (end - start), atol=1e-4), name


def test_resampling_to_the_same_rate_changes_nothing(random_motion):
    motion = random_motion(5)
    assert motion.resampled(25.0) is motion
    one = motion[:1].resampled(60.0)
    assert len(one) == 1 and torch.allclose(one.pose, motion.pose[:1], atol=1e-5)


def test_an_infinite_rate_is_refused(random_motion, tmp_path):
    motion = random_motion(2)
    motion.fps = float("inf")
    motion.save(tmp_path / "m.npz")
    with pytest.raises(UserError, match=r"m\.npz"):
        Motion.load(tmp_path / "m.npz")


def test_a_failed_write_leaves_nothing(random_motion, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        random_motion(2).save(tmp_path / "nowhere" / "m.npz")
    assert list(tmp_path.iterdir()) == []
