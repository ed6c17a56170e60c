import torch

from ram_avatar.networks.layers import fold, unfold
from ram_avatar.networks.neural_texture import NeuralTexture, sample, sample_covered


def position_map(batch: int = 2, size: int = 8) -> torch.Tensor:
    mask = (torch.rand(batch, 1, size, size) > 0.5).float()
    return torch.cat([(torch.rand(batch, 3, size, size) * 2 - 1) * mask, mask], 1)


def plain_lookup(plane: torch.Tensor, u: float, v: float) -> torch.Tensor:
    """Look up bilinearly: texel centres at +0.5, [-1, 1] over the whole plane, border repeated."""
    size = plane.shape[-1]
    x, y = (min(max((c + 1) / 2 * size - 0.5, 0), size - 1) for c in (u, v))
    left, top = min(int(x), size - 2), min(int(y), size - 2)
    fx, fy = x - left, y - top
    upper = plane[:, top, left] * (1 - fx) + plane[:, top, left + 1] * fx
    lower = plane[:, top + 1, left] * (1 - fx) + plane[:, top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


def test_each_pixel_holds_the_features_of_the_three_planes_at_its_coordinate():
    texture, position = NeuralTexture(channels=2, resolution=5), position_map()
    (features,) = texture(position)
    assert features.shape == (2, 4 * 6, 4, 4) and features.is_contiguous(memory_format=torch.channels_last)
    features, planes = unfold(features), texture.planes.tanh()
    for b, y, x in [(0, 0, 0), (0, 3, 5), (1, 7, 2), (1, 4, 4)]:
        cx, cy, cz, covered = position[b, :, y, x].tolist()
        axes = [(cx, cy), (cy, cz), (cz, cx)]
        expected = torch.cat([plain_lookup(plane, *uv) for plane, uv in zip(planes, axes, strict=True)])
        torch.testing.assert_close(features[b, :, y, x], expected * covered)


def test_skipping_uncovered_pixels_changes_neither_values_nor_gradients():
    position = fold(position_map())
    results = []
    for look_up in (sample, sample_covered):
        torch.manual_seed(0)
        planes = torch.randn(3, 2, 5, 5, requires_grad=True)
        features = look_up(planes, position)
        (features * torch.randn(features.shape)).sum().backward()
        results.append((features, planes.grad))
    torch.testing.assert_close(results[0], results[1])


def test_maps_without_a_covered_pixel_are_zero():
    (features,) = NeuralTexture(2, 4)(torch.zeros(1, 4, 8, 8))
    assert not features.any()
