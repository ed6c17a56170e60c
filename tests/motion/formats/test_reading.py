import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats import ReadOptions
from ram_avatar.motion.formats.arkit import write_live_link
from ram_avatar.motion.formats.bvh import write_bvh
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.formats.skeletal import facing_camera


def _forward(motion) -> torch.Tensor:
    import roma

    return roma.rotvec_to_rotmat(motion.root_rotation) @ torch.tensor([0.0, -1.0, 0.0])


def test_our_own_file_is_exact(template, random_motion, tmp_path):
    motion = random_motion(4)
    motion.save(tmp_path / "m.npz")
    again = read_motion(tmp_path / "m.npz", template)
    for name in ("root_rotation", "root_translation", "pose", "facial_actions", "confidence"):
        assert torch.equal(getattr(again, name), getattr(motion, name)), name


def test_amass_walks_upright_and_faces_the_camera(template, tmp_path):
    """A T-pose that stands with its back to the camera is turned around."""
    poses = np.zeros((20, 165))
    upright, away = np.pi / 2, np.pi
    from scipy.spatial.transform import Rotation

    root = Rotation.from_euler("z", away) * Rotation.from_euler("x", upright)
    poses[:, :3] = root.as_rotvec()
    np.savez(tmp_path / "a.npz", poses=poses, trans=np.zeros((20, 3)), betas=np.zeros(16), mocap_frame_rate=120.0)
    motion = read_motion(tmp_path / "a.npz", template)
    assert motion.fps == 30.0 and len(motion) in (5, 6)
    assert torch.allclose(_forward(motion), torch.tensor([0.0, -1.0, 0.0]), atol=0.2)
    posed = template.body(template.default_identity()).pose(*motion[:1].parameters())
    height = {name: float(posed.joints[0, i, 2, 3]) for i, name in enumerate(template.joint_names)}
    assert height["head"] > height["wrist.L"] > height["foot.L"]
    assert abs(height["wrist.L"] - height["upperarm01.L"]) < 0.1  # arms stretched out


def test_a_facial_recording_moves_only_the_face(template, tmp_path):
    actions = torch.rand(90, len(template.action_names))
    write_live_link(tmp_path / "f.csv", actions, template.action_names, 30.0)
    motion = read_motion(tmp_path / "f.csv", template)
    assert torch.allclose(motion.facial_actions, actions, atol=1e-3)
    assert motion.confidence[0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


def test_facing_camera_only_rotates_about_the_vertical(random_motion):
    """A rotation about the vertical: distances and heights stay, and applying it twice changes nothing."""
    motion = random_motion(7, turn=0.8)
    turned = facing_camera(motion)
    assert abs(float(_forward(turned)[3, 0])) < 1e-4 and _forward(turned)[3, 1] < 0
    assert torch.allclose(turned.root_translation[:, 2], motion.root_translation[:, 2], atol=1e-5)
    step = lambda m: (m.root_translation[1:] - m.root_translation[:-1]).norm(dim=1)
    assert torch.allclose(step(turned), step(motion), atol=1e-5)
    assert torch.allclose(facing_camera(turned).root_translation, turned.root_translation, atol=1e-4)


@pytest.mark.parametrize(("name", "content"), [("a.fbx", b""), ("a.bvh", None), ("a.npz", b"no archive")])
def test_refusals_name_the_file(template, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_motion(tmp_path / name, template)


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_clips(template, stranger, tmp_path, frames):
    write_bvh(tmp_path / "a.bvh", stranger(frames))
    poses = np.zeros((frames, 156))
    poses[:, 0] = np.pi / 2
    np.savez(tmp_path / "a.npz", poses=poses, trans=np.zeros((frames, 3)), mocap_framerate=30.0, dmpls=np.zeros(1))
    for name in ("a.bvh", "a.npz"):
        motion = read_motion(tmp_path / name, template)
        assert len(motion) == frames and all(torch.isfinite(values).all() for values in motion.parameters()), name


def test_clips_are_resampled(template, stranger, tmp_path):
    clip = stranger(41)
    write_bvh(tmp_path / "a.bvh", clip)
    assert len(read_motion(tmp_path / "a.bvh", template, options=ReadOptions(fps=50.0))) == 81
    clip.fps = 120.0
    write_bvh(tmp_path / "fast.bvh", clip)
    assert read_motion(tmp_path / "fast.bvh", template).fps == 30.0
    assert read_motion(tmp_path / "fast.bvh", template, options=ReadOptions(fps=120.0)).fps == 120.0
    clip.fps = 0.02
    write_bvh(tmp_path / "slow.bvh", clip)
    with pytest.raises(UserError, match=r"slow\.bvh: .*too many frames"):
        read_motion(tmp_path / "slow.bvh", template, options=ReadOptions(fps=1000.0))


@pytest.mark.parametrize("fps", [0.0, -1.0, 1001.0, float("nan"), float("inf")])
def test_impossible_rates_are_refused(fps):
    with pytest.raises(UserError, match="frames a second are not possible"):
        ReadOptions(fps=fps)


def test_options_without_a_use_are_refused(template, random_motion, tmp_path):
    random_motion(4).save(tmp_path / "m.npz")
    write_live_link(tmp_path / "f.csv", torch.rand(90, len(template.action_names)), template.action_names, 30.0)
    for name in ("m.npz", "f.csv"):
        with pytest.raises(UserError, match=rf"{name}: --up is for skeletons"):
            read_motion(tmp_path / name, template, options=ReadOptions(up="z"))
    with pytest.raises(UserError, match="up is one of x, y, z"):
        ReadOptions(up="w")


def test_the_rate_of_a_file_without_one(template, tmp_path):
    """It is given, and nothing is resampled: the number of frames stays."""
    poses = np.zeros((10, 72))
    poses[:, 0] = np.pi / 2
    np.savez(tmp_path / "a.npz", poses=poses, trans=np.tile([0, 0, 0.95], (10, 1)))
    with pytest.raises(UserError, match=r"a\.npz: has no frame rate .*--fps"):
        read_motion(tmp_path / "a.npz", template)
    for fps in (20.0, 120.0):
        motion = read_motion(tmp_path / "a.npz", template, options=ReadOptions(fps=fps))
        assert (len(motion), motion.fps) == (10, fps)


def test_errors_about_skeletons_name_the_file(template, stranger, tmp_path):
    clip = stranger()
    clip.names[clip.joint("LeftForeArm")] = "Tentacle"
    write_bvh(tmp_path / "odd.bvh", clip)
    with pytest.raises(UserError, match=r"odd\.bvh: .*no joint was found for forearm\.L") as error:
        read_motion(tmp_path / "odd.bvh", template)
    assert "\n" not in str(error.value)


def test_errors_about_bones_name_the_file(template, stranger, tmp_path):
    clip = stranger()
    for name in ("lowerleg02.R", "RightFoot"):  # between knee and ankle
        if name in clip.names:
            clip.offsets[clip.joint(name)] = 0.0
    write_bvh(tmp_path / "flat.bvh", clip)
    with pytest.raises(UserError, match=r"flat\.bvh: .*'LeftLeg' or its other side has no length"):
        read_motion(tmp_path / "flat.bvh", template)


def test_other_templates_and_sizes_are_refused(template, random_motion, tmp_path):
    motion = random_motion(2)
    replace(motion, pose=motion.pose[:, :50]).save(tmp_path / "few.npz")
    with pytest.raises(UserError, match=r"few\.npz: not 58 joints"):
        read_motion(tmp_path / "few.npz", template)
    replace(motion, template="smpl").save(tmp_path / "other.npz")
    with pytest.raises(UserError, match=r"other\.npz: a motion of template 'smpl'"):
        read_motion(tmp_path / "other.npz", template)


_FRAMES = 20_000
_PEAK = """
import resource, sys
from ram_avatar.body import load_template
from ram_avatar.motion.formats.reading import read_motion
template, peak = load_template(), lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_motion(sys.argv[1], template)
before = peak()
print(len(read_motion(sys.argv[2], template)), (peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".bvh", ".npz"])
def test_long_clips_take_bounded_memory(stranger, tmp_path, suffix):
    """Under 20 kB per frame, so under 2 GB for 100,000 frames, an hour: BVH with 59 joints, AMASS with 52."""
    for name, frames in (("short", 20), ("long", _FRAMES)):
        if suffix == ".npz":
            poses = np.zeros((frames, 156))
            poses[:, 0] = np.pi / 2
            arrays = {"poses": poses, "trans": np.zeros((frames, 3)), "dmpls": np.zeros(1)}
            np.savez(tmp_path / f"{name}.npz", mocap_framerate=30.0, **arrays)
        else:
            write_bvh(tmp_path / "few.bvh", stranger(20))
            head, rows = (tmp_path / "few.bvh").read_text().split("Frame Time: ")
            time, *rows = rows.splitlines()
            head = head.replace("Frames: 20", f"Frames: {frames}")
            text = "\n".join([f"{head}Frame Time: {time}", *(rows * (frames // 20))])
            (tmp_path / f"{name}.bvh").write_text(f"{text}\n")
    files = [str(tmp_path / f"{name}{suffix}") for name in ("short", "long")]
    done = subprocess.run([sys.executable, "-c", _PEAK, *files], capture_output=True, text=True, check=True)
    frames, megabytes = map(int, done.stdout.split())
    assert frames == _FRAMES and megabytes < _FRAMES * 20e3 / 2**20


def test_real_bvh_and_amc_files_stand_upright(template, shared, tmp_path):
    with zipfile.ZipFile(shared / "motions" / "bandai_namco_subset.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".bvh")]
        files = [archive.extract(name, tmp_path) for name in (names[0], names[-1])]
    with tarfile.open(shared / "motions" / "cmu_asf_amc_subset.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    files.append(sorted(tmp_path.rglob("*.amc"))[0])
    body = template.body(template.default_identity())
    for file in files:
        motion = read_motion(file, template)
        few = motion[torch.linspace(0, len(motion) - 1, 8).long()]
        posed = body.pose(*few.parameters())
        joint = lambda name: posed.joints[:, template.joint_names.index(name), :3, 3]  # noqa: B023
        assert (joint("head")[:, 2] > joint("foot.L")[:, 2] + 0.7).float().mean() > 0.7, file
        assert torch.isfinite(posed.vertices).all()
