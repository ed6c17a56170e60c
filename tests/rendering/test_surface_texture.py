import numpy as np
import pytest
import torch

from ram_avatar.camera import Camera
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.surface_texture import SurfacePainter, choose_frames

SIZE = 192


@pytest.fixture(scope="module")
def painted(
    template,
):
    """Frames of a body that wears a known texture, seen from several sides; the painter's result beside it."""
    from ram_avatar.motion.motion import Motion

    identity = template.default_identity()
    ramp = torch.linspace(-0.9, 0.9, 128)
    texture = torch.stack([ramp[None].expand(128, -1), ramp[:, None].expand(-1, 128), torch.zeros(128, 128)])
    camera = Camera.default(SIZE, SIZE)
    mapper = ConditionMapper(template, identity, camera, texture)
    motion = Motion(
        template=template.name,
        fps=25.0,
        root_rotation=torch.tensor([[0.0, 0.0, a] for a in (0.0, 0.2, -0.2, 0.5, -0.5)]),
        root_translation=torch.tensor([[0.0, 3.2, 0.05]]).repeat(5, 1),
        pose=torch.zeros(5, len(template.pose_joints), 3),
        facial_actions=torch.zeros(5, len(template.action_names)),
        confidence=torch.ones(5, 4),
    )
    maps = mapper(motion)
    painter = SurfacePainter(template, identity, camera, size=128)
    for i in range(5):
        mask = maps.position[i, 3].numpy()
        frame = (maps.color[i].permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255
        painter.add(frame.round().astype(np.uint8), (mask * 255).astype(np.uint8), motion[[i]])
    return mapper, motion, maps, painter.texture()


def test_known_colors_are_found_again(painted, template):
    mapper, motion, maps, (found, unseen) = painted
    again = ConditionMapper(template, template.default_identity(), mapper.camera, found)(motion)
    inside = torch.nn.functional.max_pool2d(1 - maps.position[:, 3:], 7, 1, 3) == 0  # clear of the outline
    error = ((again.color - maps.color).abs() * inside).sum() / inside.sum() / 3
    assert error < 0.06
    assert 0.2 < unseen < 0.7  # the back and the soles


def test_what_is_not_seen_takes_the_nearest_color(painted):
    found, _ = painted[3]
    assert torch.isfinite(found).all() and found.abs().max() <= 1
    assert found[0].std() > 0.3  # it is a picture, not a constant


def test_a_painter_that_saw_nothing_is_gray(template):
    painter = SurfacePainter(template, template.default_identity(), Camera.default(64, 64), size=32)
    from ram_avatar.motion.motion import Motion

    motion = Motion(template.name, 25.0, torch.zeros(1, 3), torch.tensor([[0.0, 3.0, 0.0]]),
                    torch.zeros(1, len(template.pose_joints), 3), torch.zeros(1, 52), torch.ones(1, 4))  # fmt: skip
    painter.add(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), motion)
    texture, unseen = painter.texture()
    assert unseen == 1.0 and texture.abs().max() < 0.01


def test_chosen_frames_are_spread():
    assert choose_frames(range(10), 20) == list(range(10))
    chosen = choose_frames(range(1000), 50)
    assert len(chosen) == 50 and chosen[0] == 0 and chosen[-1] == 999 and len(set(chosen)) == 50
