import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ram_avatar.config import NetworkConfig
from ram_avatar.core.errors import UserError
from ram_avatar.networks.discriminator import TemporalDiscriminator
from ram_avatar.networks.pretrained import VGG_LAYERS, VggFeatures
from ram_avatar.training.losses import (
    PerceptualLoss,
    discriminator_loss,
    generator_loss,
    opacity_loss,
    r1_penalty,
    smooth_l1,
)


def picture(size: int = 64) -> torch.Tensor:
    """Make an image [1, 3, size, size] with edges and shades at several scales."""
    torch.manual_seed(1)
    scales = [F.interpolate(torch.randn(1, 3, n, n), (size, size), mode="bicubic") for n in (3, 8, 20)]
    return (sum(scales) / 2).clamp(-1, 1)


def test_smooth_l1_is_square_within_0_05_and_absolute_beyond():
    truth, weight = torch.zeros(1, 3, 1, 2), torch.ones(1, 1, 1, 2)
    error = torch.tensor([0.02, 0.5]).expand(1, 3, 1, 2)
    expected = (0.5 * 0.02**2 / 0.05 + 0.5 - 0.025) / 2
    assert smooth_l1(error, truth, weight).item() == pytest.approx(expected)


def test_smooth_l1_is_a_weighted_mean():
    truth, error = torch.zeros(1, 3, 1, 2), torch.tensor([0.2, 0.5]).expand(1, 3, 1, 2)
    weight = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2)
    assert smooth_l1(error, truth, weight).item() == pytest.approx((3 * 0.175 + 0.475) / 4)
    assert smooth_l1(error, truth, 10 * weight).item() == pytest.approx((3 * 0.175 + 0.475) / 4)


def test_losses_of_a_batch_are_means_over_its_images():
    """So several processes can share a batch, even though the images differ in weight."""
    torch.manual_seed(0)
    shown, truth = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    weight = 1 + 4 * (torch.rand(2, 1, 32, 32) > torch.tensor([0.2, 0.9]).view(2, 1, 1, 1))
    perceptual = PerceptualLoss(("relu1_1", "relu2_1"))
    for loss in (lambda i: smooth_l1(shown[i], truth[i], weight[i]), lambda i: perceptual(shown[i], truth[i])):
        apart = [loss(slice(k, k + 1)) for k in range(2)]
        assert torch.allclose(loss(slice(0, 2)), sum(apart) / 2, rtol=1e-4)


def test_opacity_loss_matches_a_loop_and_weights_do_not_affect_other_pixels():
    alpha, target = (
        torch.tensor([0.9, 0.3, 0.5, 0.8]).view(1, 1, 2, 2),
        torch.tensor([1.0, 0.0, 1.0, 0.25]).view(1, 1, 2, 2),
    )
    entropy = lambda a, t: -(t * math.log(a) + (1 - t) * math.log(1 - a))
    each = [entropy(a, t) for a, t in zip(alpha.flatten().tolist(), target.flatten().tolist(), strict=True)]
    weight = torch.tensor([1.0, 10.0, 0.0, 0.5]).view(1, 1, 2, 2)
    expected = (each[0] + 10 * each[1] + 0.5 * each[3]) / 3
    assert opacity_loss(alpha, target, weight).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("layers", [("relu1_2", "relu2_2", "relu3_3"), ("relu1_1", "relu4_1")])
def test_perceptual_loss_penalizes_a_shift_less_than_blur_or_noise_of_the_same_error(layers):
    loss, x = PerceptualLoss(layers), picture(65)
    truth, shifted = x[..., 1:, :-1], x[..., 1:, 1:]
    error = (shifted - truth).square().mean()
    noise = torch.randn(truth.shape) * error.sqrt()
    blurred = F.avg_pool2d(truth, 9, 1, 4, count_include_pad=False)
    assert loss(truth, truth) == 0
    assert loss(shifted, truth) < loss(truth + noise, truth)
    assert loss(shifted, truth) < loss(blurred, truth)


def test_perceptual_gradients_flow_only_into_the_rendering():
    loss = PerceptualLoss(("relu1_1", "relu2_1"))
    shown, truth = (0.5 * picture()).requires_grad_(), picture().requires_grad_()
    loss(shown, truth).backward()
    assert shown.grad.any() and truth.grad is None
    assert not list(loss.parameters())


def test_vgg_features_have_their_sizes_and_no_deeper_layer_is_loaded():
    features = VggFeatures(("relu1_1", "relu3_3"))
    assert [tuple(x.shape) for x in features(picture())] == [(1, 64, 64, 64), (1, 256, 16, 16)]
    assert not hasattr(features, "relu4_1_weight")
    with pytest.raises(UserError, match="relu9_9"):
        VggFeatures(("relu9_9",))
    assert len(VGG_LAYERS) == 13


def test_the_discriminator_learns_to_score_real_frames_above_generated_ones():
    torch.manual_seed(0)
    critic = TemporalDiscriminator(NetworkConfig(image_size=16, unet_widths=(8, 8), discriminator_widths=(8, 16)))
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3, (0.0, 0.99))
    real = lambda: torch.randn(4, 9, 16, 16) + 0.5
    generated = lambda: torch.randn(4, 9, 16, 16) - 0.5
    for _ in range(40):
        optimizer.zero_grad()
        discriminator_loss(critic(real()), critic(generated())).backward()
        optimizer.step()
    with torch.no_grad():
        assert critic(real()).mean() > 0 > critic(generated()).mean()
    middle = generated().requires_grad_()
    score = critic(middle)
    (gradient,) = torch.autograd.grad(generator_loss(score), middle)
    assert critic(middle - 50 * gradient).mean() > score.mean()  # the generator moves towards real


def test_r1_is_the_squared_gradient_norm():
    class Linear(nn.Module):
        def forward(self, x):
            return 2 * x[:, 0, 0, 0] + 3 * x[:, 1, 0, 0]

    assert r1_penalty(Linear(), torch.randn(4, 9, 2, 2)).item() == pytest.approx(13)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_r1_has_a_gradient_through_the_discriminator(bfloat16):
    critic = TemporalDiscriminator(NetworkConfig(image_size=16, unet_widths=(8, 8), discriminator_widths=(8, 16))).to(
        memory_format=torch.channels_last
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        penalty = r1_penalty(critic, torch.randn(2, 9, 16, 16))
    penalty.backward()
    assert penalty > 0 and all(p.grad.isfinite().all() for p in critic.parameters() if p.grad is not None)
    assert critic.enter.weight.grad.any()
