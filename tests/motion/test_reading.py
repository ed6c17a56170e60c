import tarfile
import zipfile

import numpy as np
import pytest
import torch

from ram_avatar.errors import UserError
from ram_avatar.motion.arkit import write_live_link
from ram_avatar.motion.reading import facing_camera, read_motion


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
    """A T-pose that stands with its back to the camera is turned about."""
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


def test_a_face_moves_alone(template, tmp_path):
    actions = torch.rand(90, len(template.action_names))
    write_live_link(tmp_path / "f.csv", actions, template.action_names, 30.0)
    motion = read_motion(tmp_path / "f.csv", template)
    assert torch.allclose(motion.facial_actions, actions, atol=1e-3)
    assert motion.confidence[0].tolist() == [0, 0, 0, 1]


def test_facing_camera_keeps_what_happens(random_motion):
    """A turn about the vertical: distances walked and heights stay, and doing it twice changes nothing."""
    motion = random_motion(7, turn=0.8)
    turned = facing_camera(motion)
    assert abs(float(_forward(turned)[3, 0])) < 1e-4 and _forward(turned)[3, 1] < 0
    assert torch.allclose(turned.root_translation[:, 2], motion.root_translation[:, 2], atol=1e-5)
    step = lambda m: (m.root_translation[1:] - m.root_translation[:-1]).norm(dim=1)  # noqa: E731
    assert torch.allclose(step(turned), step(motion), atol=1e-5)
    assert torch.allclose(facing_camera(turned).root_translation, turned.root_translation, atol=1e-4)


@pytest.mark.parametrize(("name", "content"), [("a.fbx", b""), ("a.bvh", None), ("a.npz", b"no archive")])
def test_refusals_name_the_file(template, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_motion(tmp_path / name, template)


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
        joint = lambda name: posed.joints[:, template.joint_names.index(name), :3, 3]  # noqa: B023, E731
        assert (joint("head")[:, 2] > joint("foot.L")[:, 2] + 0.7).float().mean() > 0.7, file
        assert torch.isfinite(posed.vertices).all()
