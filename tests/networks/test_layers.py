import pytest
import torch
import torch.nn.functional as F

from ram_avatar.networks.layers import (
    RELU_GAIN,
    EqualizedConv2d,
    HaarConv2d,
    ModulatedConv2d,
    activate,
    fold,
    haar,
    unfold,
)


def test_fold_moves_the_pixels_of_a_square_into_channels():
    x = torch.randn(2, 3, 6, 4)
    folded = fold(x)
    assert folded.shape == (2, 12, 3, 2)
    for k, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        torch.testing.assert_close(folded[:, 3 * k : 3 * k + 3], x[:, :, row::2, column::2], rtol=0, atol=0)
    torch.testing.assert_close(unfold(folded), x, rtol=0, atol=0)


def test_haar_is_orthonormal_and_its_own_inverse():
    matrix = haar(torch.eye(8)[..., None, None])[..., 0, 0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8))
    x = torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(haar(haar(x)), x)
    constant = haar(fold(torch.ones(1, 1, 4, 4)))
    assert (constant[:, 0] == 2).all() and (constant[:, 1:] == 0).all()


def test_haar_convolution_is_a_1x1_convolution_of_the_transform():
    layer = HaarConv2d(3, 5)
    torch.nn.init.normal_(layer.bias)
    folded = fold(torch.randn(2, 3, 8, 6))
    expected = F.conv2d(haar(folded), layer.weight[..., None, None] * layer.scale, layer.bias)
    torch.testing.assert_close(layer(folded), expected)


def test_equalized_convolution_and_activation_keep_the_magnitude():
    x = torch.randn(4, 64, 16, 16)
    y = activate(EqualizedConv2d(64, 128)(x))
    assert y[..., 1:-1, 1:-1].square().mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_a_convolution_with_weights_per_sample(demodulate):
    layer = ModulatedConv2d(6, 5, 3, 4, demodulate=demodulate)
    torch.nn.init.normal_(layer.bias)
    x, style = torch.randn(3, 6, 7, 9), torch.randn(3, 4)
    result = layer(x, style)
    for i in range(3):
        weight = layer.weight * layer.scale * layer.modulation(style[i : i + 1])[0, :, None, None]
        if demodulate:
            weight = RELU_GAIN * weight / weight.square().sum((1, 2, 3), keepdim=True).sqrt()
        expected = F.conv2d(x[i : i + 1], weight, layer.bias, padding=1)
        torch.testing.assert_close(result[i : i + 1], expected, rtol=1e-4, atol=1e-5)


def test_one_style_for_the_batch_equals_that_style_for_each_sample():
    layer = ModulatedConv2d(6, 5, 3, 4)
    x, style = torch.randn(3, 6, 8, 8), torch.randn(1, 4)
    torch.testing.assert_close(layer(x, style), layer(x, style.expand(3, -1)), rtol=1e-4, atol=1e-5)
