import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.motion.motion import PARTS, Motion
from ram_avatar.rendering.condition_maps import EXPANSION, ConditionMapper

SIZE = 96


@pytest.fixture(scope="module")
def mapper(template):
    identity = template.default_identity()
    texture = torch.zeros(3, 64, 64)
    texture[0] = torch.linspace(-1, 1, 64)  # red grows with u
    return ConditionMapper(template, identity, Camera.default(SIZE, SIZE), texture)


def test_shapes_and_ranges(mapper, random_motion):
    maps = mapper(random_motion(2))
    for name, channels in (("position", 4), ("expanded", 4), ("face", 3), ("hands", 5), ("color", 3), ("novelty", 1)):
        tensor = getattr(maps, name)
        assert tensor.shape == (2, channels, SIZE, SIZE) and torch.isfinite(tensor).all()
        assert tensor.abs().max() <= 1 + 1e-5
    outside = maps.position[:, 3:] == 0
    for tensor in (maps.position[:, :3], maps.face):
        assert (tensor * outside == 0).all()
    assert (maps.color * outside).any()  # colours extend beyond the outline


def test_canonical_coordinates_do_not_depend_on_the_pose(mapper, random_motion):
    """A surface point keeps its coordinate: look one up in two poses by projecting its vertex."""
    motion = random_motion(2, turn=0.1)
    maps, body = mapper(motion), mapper.body
    points = mapper.camera.project(body.pose(*motion.parameters()).vertices)
    belly = int((mapper.canonical - torch.tensor([0.0, -0.1, 0.1])).norm(dim=1).argmin())
    for i in range(2):
        x, y = points[i, belly, :2].floor().long().tolist()
        drawn = maps.position[i, :3, y, x]
        assert (drawn - mapper.canonical[belly]).norm() < 0.06
    assert mapper.canonical.abs().max() == pytest.approx(1.0, abs=1e-5)


def test_the_expanded_map_reaches_further(mapper, random_motion):
    maps = mapper(random_motion(1))
    inner, outer = maps.position[:, 3] > 0, maps.expanded[:, 3] > 0
    grown = outer.float().sum() - inner.float().sum()
    # Roughly the outline's length times the expansion in pixels.
    assert 0 < grown < inner.sum() * 0.5 and (inner & ~outer).sum() < 0.01 * inner.sum()
    assert EXPANSION == 0.01


def test_the_face_map_shows_only_the_head_and_its_expression(mapper, template, random_motion):
    motion = random_motion(1, turn=0.0)
    motion.facial_actions.zero_()
    close = ConditionMapper(template, template.default_identity(), Camera(900, SIZE / 2, SIZE / 2 + 306, SIZE, SIZE))
    motion.root_translation[:] = torch.tensor([0.0, 2.0, 0.0])
    neutral = close(motion).face
    motion.facial_actions[:, template.action_names.index("jawOpen")] = 1.0
    opened = close(motion).face
    assert (neutral != 0).any(1).float().mean() > 0.05
    assert (neutral - opened).abs().amax(1).gt(0.2).float().mean() > 0.005
    whole = mapper(random_motion(1))
    assert 0 < (whole.face != 0).any(1).sum() < 0.2 * whole.position[:, 3].sum()


def test_hands_have_a_channel_per_finger(mapper, template, random_motion):
    motion = random_motion(1, turn=0.0)
    before = mapper(motion).hands
    motion.pose[:, template.pose_joints.index("finger2-1.L")] = torch.tensor([0.0, 0.0, 0.9])
    after = mapper(motion).hands
    changed = (before - after).abs().amax((0, 2, 3))
    assert changed[1] > 0.3 and changed[[0, 2, 3, 4]].max() < 1e-4


def test_colors_come_from_the_texture(mapper, random_motion):
    """Red grows with u, so the drawn colour is the interpolated texture coordinate."""
    color = mapper(random_motion(1)).color
    drawn = color[:, 0][color[:, 0] != 0]
    assert drawn.max() - drawn.min() > 0.5 and (color[:, 1:] == 0).all()


def test_a_template_without_the_optional_roles_has_all_maps(smplx):
    zeros = torch.zeros
    motion = Motion(
        smplx.name, 25.0, zeros(1, 3), zeros(1, 3), zeros(1, 53, 3), zeros(1, 23), torch.ones(1, len(PARTS))
    )
    motion.root_translation[:, 1] = 4.0
    identity = smplx.default_identity()
    eye = smplx.body(identity).pose(*motion.parameters()).joint_positions([smplx.joint_of("eye.L")])
    x, y = Camera(900, 0, 0, SIZE, SIZE).project(eye)[0, 0, :2].tolist()
    close = Camera(900, 0, 0, SIZE, SIZE).crop(x - 8, y - 8, 16, SIZE)  # 7 cm about the eye
    face = ConditionMapper(smplx, identity, close)(motion).face[0]
    white, iris = (face > 0.8).all(0), (face < -0.8).all(0)
    assert white.sum() > 10 and iris.sum() > 10
    whole = ConditionMapper(smplx, identity, Camera.default(SIZE, SIZE))(motion)
    assert (whole.hands.amax((0, 2, 3)) > 0.5).all()
    assert 0 < (whole.face != 0).any(1).sum() < 0.2 * whole.position[:, 3].sum()
