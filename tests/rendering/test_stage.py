from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.motion.conversion.calibration import Reference
from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton
from ram_avatar.rendering.shading import shaded
from ram_avatar.rendering.stage import Stage

SIZE = 96
RED = (220.0, 60.0, 60.0)


@pytest.fixture()
def walk(random_motion):
    """A walk five metres to the left and two back, with small rotations of every joint."""
    motion = random_motion(25, turn=0.08)
    motion.root_translation[:, 0] += torch.linspace(0, 5, 25)
    motion.root_translation[:, 1] += torch.linspace(0, 2, 25)
    return motion


def _person(picture: np.ndarray) -> np.ndarray:
    """Return [S, S] bool: coloured pixels; floor and sky are grey."""
    return np.ptp(picture.astype(int), axis=-1) > 25


def test_every_joint_is_in_every_image(template, walk):
    stage = Stage.around(walk, template, template.default_identity(), SIZE)
    positions = TemplateSkeleton(Reference(template)).clip(walk).forward()[1]
    seen = stage.project(positions)[..., :2]
    assert len(stage) == len(walk) and seen.min() > 0 and seen.max() < SIZE


def test_the_person_is_drawn_where_the_joints_are(template, walk):
    stage = Stage.around(walk, template, template.default_identity(), SIZE)
    skeleton = TemplateSkeleton(Reference(template))
    joints = [skeleton.names.index(name) for name in ("spine03", "upperleg02.L", "lowerleg01.R", "head")]
    seen = stage.project(skeleton.clip(walk).forward()[1][:, joints])[..., :2].long()
    for picture, points in zip(stage.draw(walk), seen.tolist(), strict=True):
        person = _person(picture)
        assert all(person[y, x] for x, y in points) and 0.02 < person.mean() < 0.3
        assert not person[:, [0, -1]].any() and not person[[0, -1]].any()


def test_stills_of_two_motions_on_one_stage(template, walk):
    """Draw chosen frames, another motion on the same floor, and another colour."""
    stage = Stage.around(walk, template, template.default_identity(), SIZE)
    frames = [3, 20]
    whole = list(stage.draw(walk))
    some = list(stage[frames].draw(walk[frames]))
    assert all(np.array_equal(whole[frame], still) for frame, still in zip(frames, some, strict=True))
    other = replace(walk, pose=walk.pose * 0)
    red = next(stage[frames].draw(other[frames], RED))
    assert _person(red).sum() > 100 and (red[_person(red)][:, 0] > red[_person(red)][:, 2]).all()
    with pytest.raises(ValueError, match="25 frames, but 2"):
        next(stage.draw(walk[frames]))


def test_the_floor_hides_what_is_below_it(template, walk):
    still = replace(walk, pose=walk.pose * 0, root_rotation=walk.root_rotation * 0)[:1]
    stage = Stage.around(still, template, template.default_identity(), SIZE)
    lower = replace(still, root_translation=still.root_translation - torch.tensor([0.0, 0.0, 0.5]))
    standing, sunk = (next(stage.draw(motion)) for motion in (still, lower))
    vivid = lambda picture: np.ptp(picture.astype(int), axis=-1) > 60
    lowest = lambda picture: np.nonzero(vivid(picture))[0].max()
    assert abs(lowest(sunk) - lowest(standing)) < 4, "the floor stays in place"
    assert np.nonzero(vivid(sunk))[0].min() > np.nonzero(vivid(standing))[0].min() + 8, "the head is lower"


def test_shadow_and_lines_stay_with_the_floor(template, walk):
    """The lines move through the image as the camera follows."""
    stage = Stage.around(walk, template, template.default_identity(), SIZE)
    first, *_, last = stage.draw(walk)
    floor = ~_person(first) & ~_person(last)
    assert (np.abs(first.astype(int) - last).max(-1)[floor] > 10).mean() > 0.03
    aside = replace(walk, root_translation=walk.root_translation + torch.tensor([0.0, 0.0, 3.0]))[:1]
    jumped = next(stage[:1].draw(aside))
    assert not _person(jumped).any()
    assert jumped[SIZE // 2 :].min() < 170, "the shadow of a person above the image"


def test_shaded_images_have_the_bodys_colour(template, random_motion):
    from ram_avatar.core.camera import Camera

    motion, camera = random_motion(2, turn=0.05), Camera.default(64, 64)
    for picture, mask in shaded(template, template.default_identity(), motion, camera, RED):
        assert 0.05 < mask.mean() < 0.5 and (picture[~mask] == 0).all()
        assert (picture[mask][:, 0] > picture[mask][:, 1]).all() and picture[mask][:, 0].max() <= 220
