import pytest
import roma
import torch
from safetensors.torch import save_file

from ram_avatar.body import load_template
from ram_avatar.body.anny import AnnyTemplate
from ram_avatar.core.cache import cache_folder
from ram_avatar.core.errors import UserError


def _random_identity(template, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    identity = 0.3 * torch.randn(len(template.identity_names), generator=generator)
    identity[: template.phenotype_count] = torch.rand(template.phenotype_count, generator=generator)
    return identity


def test_template_is_upright_and_faces_forward(template):
    posed = template.body(template.default_identity()).at_reference()
    at = lambda name: posed.joints[0, template.joint(name), :3, 3]
    assert at("head")[2] > at("upperleg01.L")[2] > at("foot.L")[2]  # z is up
    assert at("wrist.L")[0] > 0.2 and at("wrist.R")[0] < -0.2  # x is to its left
    assert at("eye.L")[1] < at("head")[1]  # facing -y
    height = posed.vertices[0, :, 2].max() - posed.vertices[0, :, 2].min()
    assert 1.5 < height < 2.0
    assert torch.allclose(template.skin_weights.sum(1), torch.ones(len(template.skin_weights)), atol=1e-4)


def test_skinning_against_a_plain_twin(template, random_motion):
    """Each vertex is moved by each of its joints in turn, in float64, without batching."""
    body, motion = template.body(_random_identity(template)), random_motion(1)
    posed = body.pose(*motion.parameters())
    moves = posed.joints[0].double() @ body.rest_joints.double().inverse()
    vertices = torch.randperm(len(template.skin_weights), generator=torch.Generator().manual_seed(1))[:200]
    for v in vertices.tolist():
        rest = body.rest_vertices[v].double()
        for action, weight in enumerate(motion.facial_actions[0]):
            rest = rest + weight * template.rig.action_shapes[action, v]
        moved = sum(
            w * (moves[j, :3, :3] @ rest + moves[j, :3, 3]) for j, w in enumerate(template.skin_weights[v]) if w > 0
        )
        assert torch.allclose(posed.vertices[0, v].double(), moved, atol=2e-5)


def test_rotating_the_root_rotates_everything(template, random_motion):
    body, motion = template.body(template.default_identity()), random_motion(1)
    _, shift, pose, actions = motion.parameters()
    turn = torch.tensor([[0.0, 0.0, 0.7]])
    still = body.pose(torch.zeros(1, 3), torch.zeros(1, 3), pose, actions).vertices
    turned = body.pose(turn, shift, pose, actions).vertices
    assert torch.allclose(turned, still @ roma.rotvec_to_rotmat(turn)[0].T + shift[:, None], atol=1e-5)


def test_points_are_mixed_vertices(template, random_motion):
    """Points that are single vertices move exactly as those do."""
    picked = torch.tensor([10, 2000, 9000, 13000])
    regressor = torch.zeros(4, len(template.skin_weights))
    regressor[torch.arange(4), picked] = 1
    identity, motion = _random_identity(template, 2), random_motion(2)
    points = template.points(regressor).body(identity).pose(*motion.parameters()).vertices
    assert torch.allclose(points, template.body(identity).pose(*motion.parameters()).vertices[:, picked], atol=1e-6)


def test_identity_has_gradients_everywhere(template):
    identity = _random_identity(template, 3).clamp(0.05, 0.95).requires_grad_()
    template.body(identity).rest_vertices.square().sum().backward()
    assert (identity.grad != 0).all()


def test_left_and_right_are_tied(template):
    identity = template.default_identity()
    change = template.identity_names.index("upperarm-fat-incr")
    identity[change] = 0.8
    moved = template.body(identity).rest_vertices - template.body(template.default_identity()).rest_vertices
    for side in "LR":
        arm = template.part_weight(f"upperarm01.{side}") > 0.5
        assert moved[arm].norm(dim=1).max() > 0.003


def test_fingertips_are_at_the_ends(template):
    body = template.body(template.default_identity()).at_reference()
    tips = body.vertices[0, template.fingertips].mean(1)
    for row, name in enumerate(f"finger{f}-3.{s}" for s in "LR" for f in range(1, 6)):
        gap = (tips[row] - body.joints[0, template.joint(name), :3, 3]).norm()
        assert 0.01 < gap < 0.05, name


def test_an_unknown_template_is_refused():
    with pytest.raises(UserError, match="smpl-9"):
        load_template("smpl-9")


@pytest.mark.parametrize("damage", ["half a file", "a folder", "other tensors", "flipped bits"])
def test_a_damaged_cache_is_rebuilt(template, tmp_path, monkeypatch, listener, damage):
    """What lies in the cache is not trusted; rebuilding is announced."""
    built = cache_folder() / AnnyTemplate.file_name
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))
    path = tmp_path / AnnyTemplate.file_name
    if damage == "half a file":
        path.write_bytes(b"half a file")
    elif damage == "a folder":
        (path / "deep").mkdir(parents=True)
    elif damage == "other tensors":
        save_file({"vertices": torch.zeros(2)}, path)
    else:
        content = bytearray(built.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    monkeypatch.setattr(AnnyTemplate, "_build", staticmethod(lambda path: path.symlink_to(built)))
    assert AnnyTemplate.load(listener).joint_names == template.joint_names
    [note] = listener.notes
    assert str(path) in note and "damaged" in note
    assert "once on this machine" in listener.waits[0]
    AnnyTemplate.load(listener)
    assert len(listener.notes) == len(listener.waits) == 1


@pytest.mark.slow
def test_parity_with_anny_itself(template, random_motion, tmp_path):
    """The whole rig compared with Anny's own forward pass, identity included."""
    import anny
    from anny.paths import get_anny_cache_path, set_anny_cache_path

    kept = get_anny_cache_path()
    set_anny_cache_path(tmp_path)
    try:
        model = anny.Anny(facial_actions="all", local_changes="default", skinning_method="lbs").to(torch.float32)
    finally:
        set_anny_cache_path(kept)
    identity, motion = _random_identity(template, 4), random_motion(2)
    ours = template.body(identity).pose(*motion.parameters())
    turns = torch.eye(3).repeat(2, len(template.joint_names), 1, 1)
    turns[:, template.pose_indices] = roma.rotvec_to_rotmat(motion.pose)
    turns[:, 0] = roma.rotvec_to_rotmat(motion.root_rotation)
    shifts = torch.zeros(2, len(template.joint_names), 3)
    shifts[:, 0] = motion.root_translation
    count = template.phenotype_count
    theirs = model(
        pose_parameters=roma.Rigid(turns, shifts).to_homogeneous(),
        phenotype_kwargs=identity[None, :count],
        local_changes_kwargs=identity[count:][template._tie][None],
        facial_actions=motion.facial_actions,
    )
    assert torch.allclose(ours.vertices, theirs["vertices"], atol=1e-5)
    assert torch.allclose(ours.joints, theirs["bone_poses"], atol=1e-5)
