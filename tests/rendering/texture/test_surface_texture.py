import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.texture.filling import Origins
from ram_avatar.rendering.texture.median import SurfacePainter, choose_frames
from ram_avatar.rendering.texture.sampling import SPREAD, coarsest_square, spread_colors

SIZE = 192


@pytest.fixture(scope="module")
def painted(
    template,
):
    """Frames of a body with a known texture, seen from several sides, and the painter's result."""
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
        confidence=torch.ones(5, 8),
    )
    maps = mapper(motion)
    painter = SurfacePainter(template, identity, size=128)
    for i in range(5):
        mask = maps.position[i, 3].numpy()
        frame = (maps.color[i].permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255
        painter.add(frame.round().astype(np.uint8), (mask * 255).astype(np.uint8), motion[[i]], mapper.camera)
    return mapper, motion, maps, painter.texture()


def test_known_colors_are_recovered(painted, template):
    mapper, motion, maps, (found, origins) = painted
    again = ConditionMapper(template, template.default_identity(), mapper.camera, found)(motion)
    inside = torch.nn.functional.max_pool2d(1 - maps.position[:, 3:], 7, 1, 3) == 0  # clear of the outline
    error = ((again.color - maps.color).abs() * inside).sum() / inside.sum() / 3
    assert error < 0.06
    assert 0.3 < origins.seen < 0.7 and origins.other_side > 0.3  # the back


def test_unseen_texels_take_colors_of_the_surface(painted):
    found, _ = painted[3]
    assert torch.isfinite(found).all() and found.abs().max() <= 1
    assert found[0].std() > 0.3  # not a constant


def test_a_painter_that_saw_nothing_returns_gray(template):
    painter = SurfacePainter(template, template.default_identity(), size=32)
    from ram_avatar.motion.motion import Motion

    motion = Motion(template.name, 25.0, torch.zeros(1, 3), torch.tensor([[0.0, 3.0, 0.0]]),
                    torch.zeros(1, len(template.pose_joints), 3), torch.zeros(1, 52), torch.ones(1, 8))  # fmt: skip
    painter.add(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), motion, Camera.default(64, 64))
    texture, origins = painter.texture()
    assert origins == Origins(seen=0.0) and texture.abs().max() < 0.01


def test_chosen_frames_are_evenly_spread():
    assert choose_frames(range(10), 20) == list(range(10))
    chosen = choose_frames(range(1000), 50)
    assert len(chosen) == 50 and chosen[0] == 0 and chosen[-1] == 999 and len(set(chosen)) == 50


def plainly_spread(color: np.ndarray, mask: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Push-pull, square by square: return colours [H, W] with even sides, and where there are any."""
    if not levels:
        return np.where(mask > 0, color, 0), mask > 0
    height, width = color.shape
    small, weight = np.zeros((height // 2, width // 2)), np.zeros((height // 2, width // 2))
    for y, x in np.ndindex(small.shape):
        square = np.s_[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        weight[y, x] = mask[square].mean()
        small[y, x] = (color * mask)[square].mean() / max(weight[y, x], 1e-9)
    coarse, any_there = plainly_spread(small, weight, levels - 1)
    filled, there = np.zeros_like(color), np.zeros(color.shape, bool)
    for y, x in np.ndindex(color.shape):
        total = amount = 0.0
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):  # bilinear weights of the nearest squares
            row = np.clip((y - 1 + 2 * dy) // 2, 0, height // 2 - 1)
            column = np.clip((x - 1 + 2 * dx) // 2, 0, width // 2 - 1)
            near = (0.75 if row == y // 2 and (y - 1 + 2 * (1 - dy)) // 2 != y // 2 else 0.25) * (
                0.75 if column == x // 2 and (x - 1 + 2 * (1 - dx)) // 2 != x // 2 else 0.25
            )
            total += near * any_there[row, column] * coarse[row, column]
            amount += near * any_there[row, column]
        there[y, x] = amount > 0
        filled[y, x] = mask[y, x] * color[y, x] + (1 - mask[y, x]) * total / max(amount, 1e-9)
    return filled, there


def test_colors_spread_beyond_the_outline_by_push_pull():
    generator = np.random.default_rng(0)
    color, mask = generator.uniform(-1, 1, (96, 96)), np.zeros((96, 96))
    mask[44:52, 43:45], mask[49:51, 45:52] = 1, 1
    wanted, _ = plainly_spread(color, mask, coarsest_square(96).bit_length() - 1)
    tensors = (torch.from_numpy(x)[None, None].float() for x in (color, mask))
    found = spread_colors(*tensors, 96)[0, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.array_equal(found[mask > 0], color[mask > 0].astype(np.float32))


@pytest.mark.parametrize("end", range(81, 97))
def test_colors_spread_far_enough_and_not_everywhere(end):
    """Wherever the outline lies in the coarse squares, and in images whose size these do not divide."""
    color, mask = torch.full((1, 1, 128, 160), 0.5), torch.zeros(1, 1, 128, 160)
    mask[..., 60:70, 50:end] = 1
    row = spread_colors(color, mask, 160)[0, 0, 65]
    reach = int(160 * SPREAD)
    torch.testing.assert_close(row[end : end + reach], torch.full((reach,), 0.5))
    assert not row[end + 4 * reach :].any()


def test_rarely_seen_texels_take_the_colors_beside_them(template):
    """Only two of thirty frames show a strip of the body, in a wrong colour."""
    from ram_avatar.motion.motion import Motion

    camera, identity = Camera.default(SIZE, SIZE), template.default_identity()
    motion = Motion(template.name, 25.0, torch.zeros(1, 3), torch.tensor([[0.0, 3.2, 0.05]]),
                    torch.zeros(1, len(template.pose_joints), 3), torch.zeros(1, 52), torch.ones(1, 8))  # fmt: skip
    shown = ConditionMapper(template, identity, camera)(motion).position[0, 3].numpy()
    mask = (shown * 255).astype(np.uint8)
    hidden = mask.copy()
    hidden[:, SIZE // 2 : SIZE // 2 + 2] = 0
    painter = SurfacePainter(template, identity, size=128)
    for index in range(30):
        wrong = index < 2
        frame = np.full((SIZE, SIZE, 3), 255 if wrong else 0, np.uint8)
        painter.add(frame, mask if wrong else hidden, motion, camera)
    texture, _ = painter.texture()
    assert texture.max() < -0.9
