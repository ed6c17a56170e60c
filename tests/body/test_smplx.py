import math
import pickle

import numpy as np
import pytest
import torch
from fake_smplx import JOINTS
from scipy.spatial.transform import Rotation

from ram_avatar.body import SmplxTemplate, load_template
from ram_avatar.body.smpl_joints import SMPL, SMPLH, SMPLX
from ram_avatar.body.smplx import (
    _REFERENCE,
    COMPONENTS,
    EXPRESSION_SCALE,
    JAW_TURNS,
    find_model,
    read_model,
    triangle_atlas,
)
from ram_avatar.body.template import OPTIONAL_ROLES, ROLES
from ram_avatar.core.errors import UserError

VERTICES = 60


def _random_arrays(components: int = 400, seed: int = 0) -> dict[str, np.ndarray]:
    """Make a small model of the right layout, in double precision, as in the file."""
    rng = np.random.default_rng(seed)
    weights = rng.random((VERTICES, 55)) ** 8
    regressor = rng.random((55, VERTICES))
    parents = [JOINTS.index(parent) if parent else 2**32 - 1 for parent in SMPLX.values()]
    return {
        "v_template": rng.normal(size=(VERTICES, 3)),
        "shapedirs": 0.1 * rng.normal(size=(VERTICES, 3, components)),
        "posedirs": 0.01 * rng.normal(size=(VERTICES, 3, 486)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([parents, range(55)], np.uint32),
        "f": rng.integers(0, VERTICES, (30, 3)).astype(np.uint32),
    }


def _write(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def arrays():
    return _random_arrays()


@pytest.fixture(scope="module")
def small(arrays, tmp_path_factory):
    return SmplxTemplate.load(_write(tmp_path_factory.mktemp("model") / "SMPLX_NEUTRAL.npz", arrays))


def _plain_smplx(arrays, betas, expression, theta, translation):
    """Compute vertices [V, 3] and joints [55, 3] in the file's axes: equations 2 to 4 of the paper, joint by joint.

    Args:
        theta: [55, 3] rotation vectors, the root's first.
    """
    first = 300 if arrays["shapedirs"].shape[2] >= 400 else 10
    shaped = arrays["v_template"] + arrays["shapedirs"][:, :, :10] @ betas
    shaped = shaped + arrays["shapedirs"][:, :, first : first + 10] @ expression
    joints = arrays["J_regressor"] @ shaped
    rotations = Rotation.from_rotvec(theta).as_matrix()
    posed = shaped + arrays["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    world = []
    for joint, parent in enumerate(arrays["kintree_table"][0]):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        world.append(world[parent] @ local if joint else local)
    skinned = np.zeros_like(posed)
    for joint, transform in enumerate(world):
        moved = (posed - joints[joint]) @ transform[:3, :3].T + transform[:3, 3]
        skinned += arrays["weights"][:, [joint]] * moved
    return skinned + translation, np.stack([transform[:3, 3] for transform in world]) + translation


@pytest.mark.parametrize("components", [400, 20])
def test_a_pose_against_the_papers_equations(tmp_path, components):
    arrays = _random_arrays(components, seed=components)
    template = SmplxTemplate.load(_write(tmp_path / "m.npz", arrays))
    rng = np.random.default_rng(1)
    betas, weights = rng.normal(size=10), rng.random(23)
    root, place = rng.normal(size=3), rng.normal(size=3)
    pose = 0.6 * rng.normal(size=(53, 3))
    numbers = (root, place, pose, weights)
    inputs = [torch.from_numpy(x[None]).float() for x in numbers]
    body = template.body(torch.from_numpy(betas).float())
    posed = body.pose(*inputs)

    # Our parameters as the paper's: rotations about the axes of the reference pose, itself rotated from the T-pose.
    to_world = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    turned = {}
    for name, parent in SMPLX.items():
        turned[name] = (turned[parent] if parent else Rotation.identity()) * Rotation.from_rotvec(
            _REFERENCE.get(name, (0.0, 0.0, 0.0))
        )
    jaw = weights[:3] @ np.array(list(JAW_TURNS.values()))
    ours = dict(zip(template.pose_joints, pose, strict=True)) | {"pelvis": root, "jaw": jaw}
    theta = np.zeros((55, 3))
    for joint, (name, parent) in enumerate(SMPLX.items()):
        above = turned[parent] if parent else Rotation.identity()
        theta[joint] = (above.inv() * Rotation.from_rotvec(ours[name]) * turned[name]).as_rotvec() @ to_world
    expression = EXPRESSION_SCALE * (weights[3::2] - weights[4::2])
    vertices, joints = _plain_smplx(arrays, betas, expression, theta, np.zeros(3))
    shift = place - to_world @ joints[0]
    assert np.allclose(posed.vertices[0].numpy(), vertices @ to_world.T + shift, atol=2e-5)
    assert np.allclose(posed.joints[0, :, :3, 3].numpy(), joints @ to_world.T + shift, atol=2e-5)


def test_the_root_has_the_given_position_and_rotation(small):
    body = small.body(torch.linspace(-1, 1, COMPONENTS))
    generator = torch.Generator().manual_seed(0)
    pose, actions = 0.3 * torch.randn(1, 53, 3, generator=generator), torch.rand(1, 23, generator=generator)
    place, turn = torch.tensor([[0.3, 2.0, -0.1]]), torch.tensor([[0.0, 0.0, 0.7]])
    still = body.pose(torch.zeros(1, 3), torch.zeros(1, 3), pose, actions)
    turned = body.pose(turn, place, pose, actions)
    rotation = torch.from_numpy(Rotation.from_rotvec(turn[0].numpy()).as_matrix()).float()
    assert torch.allclose(turned.joints[0, 0, :3, 3], place[0])
    assert torch.allclose(turned.vertices, still.vertices @ rotation.T + place[:, None], atol=1e-5)
    assert torch.allclose(turned.turns, rotation @ still.turns, atol=1e-6)
    at_rest = body.at_reference()
    assert torch.allclose(at_rest.turns, torch.eye(3).expand(1, 55, 3, 3), atol=1e-6)


def test_skinning_moves_from_the_rest_joints(small):
    """`joints` times the inverse of `rest_joints` is the skinning transform."""
    body = small.body(torch.zeros(COMPONENTS))
    posed = body.pose(torch.ones(1, 3), torch.ones(1, 3), 0.2 * torch.ones(1, 53, 3), torch.zeros(1, 23))
    moves = posed.joints[0] @ body.rest_joints.inverse()
    corrected = small.model.correctives.norm(dim=(0, 2)).max()
    rest = torch.cat([body.rest_vertices, torch.ones(VERTICES, 1)], 1)
    skinned = torch.einsum("vj,jxy,vy->vx", small.skin_weights, moves[:, :3], rest)
    assert (skinned - posed.vertices[0]).norm(dim=1).max() < 3 * corrected


def test_points_are_mixed_vertices(small):
    regressor = torch.zeros(2, VERTICES)
    regressor[0, 7] = regressor[1, 31] = 1.0
    identity = torch.linspace(1, -1, COMPONENTS)
    inputs = torch.zeros(1, 3), torch.zeros(1, 3), 0.3 * torch.ones(1, 53, 3), 0.5 * torch.eye(23)[:1]
    points = small.points(regressor).body(identity).pose(*inputs)
    whole = small.body(identity).pose(*inputs)
    assert torch.allclose(points.vertices, whole.vertices[:, [7, 31]], atol=1e-6)
    assert torch.allclose(points.joints, whole.joints)


def test_identity_has_gradients_everywhere(small):
    identity = torch.zeros(COMPONENTS, requires_grad=True)
    inputs = (torch.ones(1, *shape) for shape in ((3,), (3,), (53, 3), (23,)))
    small.body(identity).pose(*inputs).vertices.sum().backward()
    assert (identity.grad != 0).all()


def test_roles_of_the_body(small):
    assert set(ROLES) - set(small.roles) == set(OPTIONAL_ROLES)
    assert set(small.roles.values()) == set(JOINTS) - {"jaw"}
    assert small.pose_roles[small.pose_joints.index("left_pinky2")] == "little2.L"


# The person that the fake resembles ---------------------------------------------------------------------------


def test_it_stands_upright_and_faces_forward(smplx):
    posed = smplx.body(smplx.default_identity()).at_reference()
    at = lambda role: posed.joints[0, smplx.joint_of(role), :3, 3]
    assert at("head")[2] > at("thigh.L")[2] > at("foot.L")[2]
    assert at("hand.L")[0] > 0.3 and at("hand.R")[0] < -0.3 and at("eye.L")[1] < at("head")[1]
    for side in "LR":  # arms half lowered, elbows bent forward
        upper, lower = at(f"forearm.{side}") - at(f"upper_arm.{side}"), at(f"hand.{side}") - at(f"forearm.{side}")
        assert -0.8 < upper[2] / upper.norm() < -0.6
        assert lower[1] / lower.norm() < upper[1] / upper.norm() - 0.2
    height = posed.vertices[0, :, 2].max() - posed.vertices[0, :, 2].min()
    assert 1.5 < height < 2.0


def test_facial_actions_do_what_their_names_say(smplx):
    body = smplx.body(smplx.default_identity())
    still = body.at_reference().vertices[0]

    def moved(**weights: float) -> torch.Tensor:
        actions = torch.tensor([[weights.get(name, 0.0) for name in smplx.action_names]])
        return body.pose(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 53, 3), actions).vertices[0] - still

    jaw = smplx.skin_weights[:, smplx.joint("jaw")] > 0.9
    assert moved(jawOpen=1.0)[jaw, 2].mean() < -0.005
    assert moved(jawLeft=1.0)[jaw, 0].mean() > 0.002 and moved(jawRight=1.0)[jaw, 0].mean() < -0.002
    smile, opposite = moved(expression01Plus=1.0), moved(expression01Minus=1.0)
    assert smile.norm(dim=1).max() > 0.003 and torch.allclose(smile, -opposite, atol=1e-5)
    assert moved(expression01Plus=0.4, expression01Minus=0.4).abs().max() < 1e-6


def test_keypoints_and_fingertips_lie_where_their_names_say(smplx):
    surface = smplx.body(smplx.default_identity()).reference_vertices()
    posed = smplx.body(smplx.default_identity()).at_reference()
    place = {name: (surface[where] * weight[:, None]).sum(0) for name, (where, weight) in smplx.keypoints().items()}
    eyes = posed.joint_positions(smplx.joints_of("eye"))[0]
    assert place["nose"][0].abs() < 0.01 and place["nose"][1] < eyes[:, 1].min() - 0.02
    assert place["left_ear"][0] > eyes[0, 0] + 0.03 and place["right_ear"][0] < eyes[1, 0] - 0.03
    for side, letter in (("left", "L"), ("right", "R")):
        ankle = posed.joints[0, smplx.joint_of(f"foot.{letter}"), :3, 3]
        assert place[f"{side}_heel"][1] > ankle[1] + 0.02 and place[f"{side}_big_toe"][1] < ankle[1] - 0.1
        assert place[f"{side}_big_toe"][0].abs() < ankle[0].abs()  # the inner one
    last = posed.joint_positions(smplx.joints_of("index3", side="L"))[0, 0]
    tip = surface[smplx.fingertips[1]].mean(0)
    assert 0.01 < (tip - last).norm() < 0.05


# Files --------------------------------------------------------------------------------------------------------


def _without(key):
    return lambda arrays: arrays.pop(key)


def _with(**changed):
    return lambda arrays: arrays.update({key: change(arrays[key]) for key, change in changed.items()})


def _skeleton_of(joints):
    def change(arrays):
        parents = [list(joints).index(parent) if parent else 2**32 - 1 for parent in joints.values()]
        arrays["kintree_table"] = np.array([parents, range(len(joints))], np.uint32)

    return change


def _infinite(values):
    return np.where(np.arange(values.size).reshape(values.shape) == 5, np.inf, values)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (_without("v_template"), "has no v_template"),
        (_without("posedirs"), "has no posedirs"),
        (_without("kintree_table"), "has no kintree_table"),
        (_skeleton_of(SMPL), "one of SMPL, with 24 joints"),
        (_skeleton_of(SMPLH), r"one of SMPL\+H, with 52 joints"),
        (_with(kintree_table=lambda table: table[:, ::-1]), "not the skeleton of SMPL-X"),
        (_with(v_template=lambda v: v[:-1]), r"shapedirs must be \[59, 3, 0 to 400\], got \[60, 3, 400\]"),
        (_with(shapedirs=lambda s: s[..., :15]), "shapedirs has 15 components"),
        (_with(posedirs=lambda p: p[..., :207]), r"posedirs must be \[60, 3, 486\]"),
        (_with(weights=lambda w: 2 * w), "weights do not sum"),
        (_with(f=lambda f: f + 1000), "f must hold indices below 60"),
        (_with(J_regressor=_infinite), "J_regressor holds numbers that are not finite"),
        (_with(f=lambda f: np.zeros((40_001, 3), np.int8)), r"f must be \[1 to 40000, 3\]"),
        (_with(v_template=lambda v: np.zeros((20_001, 3))), r"v_template must be \[1 to 20000, 3\]"),
        (_with(shapedirs=lambda s: np.zeros((60, 3, 401))), r"shapedirs must be \[60, 3, 0 to 400\]"),
        (_with(posedirs=lambda p: p + 1e6), "posedirs holds numbers that are not finite, or out of range"),
        (_with(weights=lambda w: w.astype(object)), "weights must hold numbers"),
        (_with(v_template=lambda v: v.astype(str)), "v_template must hold numbers"),
    ],
)
def test_invalid_model_files_are_refused(tmp_path, arrays, spoil, cause):
    arrays = dict(arrays)
    spoil(arrays)
    with pytest.raises(UserError, match=rf"m\.npz: not a model file of SMPL-X: .*{cause}"):
        read_model(_write(tmp_path / "m.npz", arrays))


def test_other_files(tmp_path):
    with pytest.raises(UserError, match="pickles are not opened"):
        find_model(tmp_path / "SMPLX_NEUTRAL.pkl")
    with pytest.raises(UserError, match=r"none\.npz: no such file.*smpl-x\.is\.tue\.mpg\.de"):
        find_model(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_bytes(pickle.dumps({"v_template": 1}))
    with pytest.raises(UserError, match=r"text\.npz: not a model file of SMPL-X, or damaged"):
        read_model(tmp_path / "text.npz")


def test_object_arrays_are_not_opened(tmp_path, arrays):
    """The real file also has arrays of objects; one that would run code when unpickled is not opened."""

    class Dangerous:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    path = tmp_path / "m.npz"
    np.savez(path, joint2num=np.array([Dangerous()], object), **arrays)
    assert read_model(path).vertices.shape == (VERTICES, 3)


def test_the_files_own_texture_layout_is_read(tmp_path, arrays):
    own = {"vt": np.random.default_rng(0).random((50, 2)), "ft": arrays["f"] % 50}
    model = read_model(_write(tmp_path / "m.npz", arrays | own))
    assert np.allclose(model.uv.numpy(), own["vt"]) and (model.uv_faces.numpy() == own["ft"]).all()
    with pytest.raises(UserError, match=r"ft must be \[30, 3\], got \[29, 3\]"):
        read_model(_write(tmp_path / "n.npz", arrays | own | {"ft": own["ft"][:-1]}))


@pytest.mark.parametrize("count", [1, 2, 31])
def test_an_atlas_gives_every_triangle_its_own_place(count):
    uv, faces = triangle_atlas(count)
    assert faces.shape == (count, 3) and uv.min() >= 0 and uv.max() <= 1
    corners = uv[faces]
    middles = corners.mean(1)
    side = math.ceil(math.sqrt((count + 1) // 2))
    for triangle in range(count):
        a, b, c = corners[triangle]
        edges = torch.stack([b - a, c - b, a - c])
        inward = (edges[:, 0] * (middles[:, None] - corners[triangle])[..., 1]) - (
            edges[:, 1] * (middles[:, None] - corners[triangle])[..., 0]
        )
        inside = ((inward > 0).all(1) | (inward < 0).all(1)).nonzero().flatten()
        assert inside.tolist() == [triangle]
        assert 0.15 / side**2 < abs(float(torch.linalg.det(torch.stack([b - a, c - a])))) / 2 < 0.5 / side**2


# Names --------------------------------------------------------------------------------------------------------


def test_a_template_is_named_after_its_files_content(tmp_path, arrays, small, monkeypatch):
    other = {**arrays, "v_template": arrays["v_template"] + 0.01}
    again, female = _write(tmp_path / "a.npz", arrays), _write(tmp_path / "b.npz", other)
    monkeypatch.setenv("RAM_AVATAR_SMPLX", str(again))
    assert load_template("smplx").name == small.name and load_template(small.name).name == small.name
    monkeypatch.setenv("RAM_AVATAR_SMPLX", str(female))
    with pytest.raises(UserError, match=rf"b\.npz: holds the body template 'smplx-\w+', but '{small.name}' is needed"):
        load_template(small.name)
    monkeypatch.delenv("RAM_AVATAR_SMPLX")
    with pytest.raises(UserError, match=r"smplx-1234.*needs its model file: get SMPLX_NEUTRAL.*non-commercial"):
        load_template("smplx-1234")
