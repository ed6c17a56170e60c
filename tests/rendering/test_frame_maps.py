from dataclasses import fields

import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.rendering.condition_maps import ConditionMapper, MeshMaps
from ram_avatar.rendering.filmed_poses import FilmedPoses
from ram_avatar.rendering.frame_maps import FrameMapper
from ram_avatar.rendering.rasterizer import rasterize
from ram_avatar.rendering.rectangles import Window

SIZE = 96
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.fixture(scope="module")
def made(template, random_motion):
    """Make the slow and the fast mapper of one person."""
    texture = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    identity = template.default_identity()
    filmed = FilmedPoses.of(template, template.body(identity), random_motion(4, seed=9)).directions
    arguments = (template, identity, Camera.default(SIZE, SIZE), texture, filmed)
    return ConditionMapper(*arguments), FrameMapper(*arguments)


def box(shown: torch.Tensor) -> Window:
    """Return the bounding window of what is true in [H, W]."""
    rows, columns = (shown.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return Window(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("distance", [3.0, 1.2])
def test_it_matches_the_condition_mapper(made, template, random_motion, device, distance):
    slow = made[0]
    at = (template.default_identity(), slow.texture.levels[0], slow.filmed.directions)
    identity, texture, filmed = (tensor.to(device) for tensor in at)
    fast = FrameMapper(template.to(device), identity, slow.camera, texture, filmed)
    for seed in range(2):
        motion = random_motion(1, seed=seed, turn=0.5, distance=distance)
        wanted, found = slow(motion), fast(motion.map(lambda tensor: tensor.to(device)))
        covered = wanted.position[:, 3].mean()
        assert covered > 0.03 and wanted.novelty.any()
        for field in fields(MeshMaps):
            difference = (getattr(wanted, field.name) - getattr(found, field.name).cpu()).abs().amax(1)
            # A different order of summation may move a triangle's edge across a pixel centre.
            assert (difference > 2e-3).float().mean() < 0.002 * covered, field.name


@pytest.mark.parametrize("device", DEVICES)
def test_positions_and_weights_match_plain_rasterization(made, template, random_motion, device):
    slow, motion = made[0], random_motion(1, seed=4, turn=0.4)
    here = motion.map(lambda tensor: tensor.to(device))
    fast = FrameMapper(template.to(device), template.default_identity().to(device), slow.camera)
    posed, weights = slow.body.pose(*motion.parameters()), template.role_weight("forearm", "hand")
    drawn = rasterize(slow.camera.project(posed.vertices), template.faces, SIZE, SIZE)
    wanted = torch.cat([drawn.interpolate(weights[:, None], template.faces)[..., 0], drawn.mask.float()])
    found = fast.weight(fast.pose(here), weights.to(device)).cpu()[0]
    assert 0.05 < (wanted[0] > 0.5).sum() / wanted[1].sum() < 0.6
    for one, other in ((wanted, found), (slow.positions(motion)[0], fast.positions(here).cpu()[0])):
        assert one.shape == other.shape
        assert ((one - other).abs().amax(0) > 2e-3).float().mean() < 0.002 * wanted[1].mean()


@pytest.mark.parametrize("device", DEVICES)
def test_the_surface_matches_the_condition_mappers_at_any_size(made, template, random_motion, device):
    slow, motion = made[0], random_motion(1, seed=3, turn=0.4)
    identity, texture = (tensor.to(device) for tensor in (template.default_identity(), slow.texture.levels[0]))
    fast = FrameMapper(template.to(device), identity, slow.camera, texture)
    for camera in (Camera.default(200, 200), Camera.default(SIZE, 2 * SIZE).part(20, 30, 50, 120)):
        wanted = slow.surface(slow.body.pose(*motion.parameters()), camera)
        found = fast.surface(fast.pose(motion.map(lambda tensor: tensor.to(device))), camera).cpu()
        assert found.shape == wanted.shape == (1, 4, camera.height, camera.width)
        covered = wanted[:, 3].mean()
        assert covered > 0.03 and wanted[:, :3].abs().max() > 0.5
        assert ((wanted - found).abs().amax(1) > 2e-3).float().mean() < 0.002 * covered


def test_without_a_texture_the_surface_is_only_covered(made, template, random_motion):
    slow, motion = made[0], random_motion(1)
    bare = FrameMapper(template, template.default_identity(), slow.camera)
    surface = bare.surface(bare.pose(motion), slow.camera)
    assert not surface[:, :3].any() and torch.equal(surface[:, 3:], made[1](motion).position[:, 3:])


def test_the_maps_are_zero_outside_their_bounds(made, random_motion):
    for seed in range(3):
        maps, places = made[1].draw(made[1].pose(random_motion(1, seed=seed, turn=0.3)))
        person = box((maps.position[0, 3] > 0) | (maps.expanded[0, 3] > 0))
        face, hands = box((maps.face[0] != 0).any(0)), (maps.hands[0] > 0).any(0)
        assert places.person.joined(person) == places.person and places.face.joined(face) == places.face
        for hand in places.hands:
            hands[hand.slices] = False
        assert len(places.hands) == 2 and not hands.any()
        # and not much larger
        assert places.person.height <= person.height + 6 and places.person.width <= person.width + 6


def test_a_person_outside_the_image_has_no_bounds(made, random_motion):
    motion = random_motion(1)
    motion.root_translation[:, 0] = 50.0
    maps, places = made[1].draw(made[1].pose(motion))
    assert places.person is None and places.face is None and places.hands == []
    assert not any(getattr(maps, field.name).any() for field in fields(MeshMaps))


def test_of_a_person_around_the_camera_the_part_in_front_is_drawn(made, random_motion):
    motion = random_motion(1, distance=0.1)
    wanted, (found, places) = made[0](motion), made[1].draw(made[1].pose(motion))
    assert places.person == Window.whole(SIZE)
    torch.testing.assert_close(found.position[:, 3].mean(), wanted.position[:, 3].mean(), rtol=0, atol=0.002)


def test_without_a_texture_there_is_no_colour_and_without_poses_no_novelty(made, template, random_motion):
    slow = made[0]
    bare = FrameMapper(template, template.default_identity(), slow.camera)
    maps = bare(random_motion(1))
    assert not maps.color.any() and not maps.novelty.any() and maps.position.any()
