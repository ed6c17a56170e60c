import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.motion.motion import Motion
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.frame_maps import FrameMapper


@pytest.fixture(scope="module")
def stripes() -> torch.Tensor:
    """A texture [3, 512, 512] of black and white stripes, two texels each."""
    line = (torch.arange(512) // 2 % 2 * 2.0 - 1).expand(512, 512)
    return torch.stack([line, line.T, line * line.T])


@pytest.fixture(scope="module")
def standing(template) -> Motion:
    still = torch.zeros(1, len(template.pose_joints), 3)
    return Motion(template.name, 25.0, torch.zeros(1, 3), torch.tensor([[0.0, 3.2, 0.05]]), still,
                  torch.zeros(1, len(template.action_names)), torch.ones(1, 8))  # fmt: skip


@pytest.mark.parametrize("kind", [ConditionMapper, FrameMapper])
def test_small_pictures_do_not_alias(template, stripes, standing, kind):
    """Stripes finer than the pixels are gray."""
    small, large = Camera.default(128, 128), Camera.default(1536, 1536)
    mapper = kind(template, template.default_identity(), small, stripes)
    posed = mapper.body.pose(*standing.parameters())
    color = mapper(standing).color[mapper(standing).position[:, 3:].expand(-1, 3, -1, -1) > 0]
    assert color.abs().mean() < 0.15
    near, far = (mapper.surface(posed, camera) for camera in (large, small))
    contrast = lambda drawn: drawn[:, :3][drawn[:, 3:].expand(-1, 3, -1, -1) > 0].abs().mean()
    assert contrast(far) < 0.15 and contrast(near) > 0.6


def test_both_mappers_sample_the_same_level(template, stripes, standing):
    for size in (96, 256, 700):
        camera = Camera.default(size, size)
        mappers = (
            kind(template, template.default_identity(), camera, stripes) for kind in (ConditionMapper, FrameMapper)
        )
        one, other = (mapper.surface(mapper.body.pose(*standing.parameters()), camera) for mapper in mappers)
        assert (one - other).abs().mean() < 1e-3
