import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from ram_avatar.evaluation.metrics import StLpips, person_box, psnr, ssim, st_lpips_person


def picture(size: int = 64, seed: int = 1) -> torch.Tensor:
    """[1, 3, size, size] with edges and shades at several scales."""
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(1, 3, n, n, generator=generator) for n in (3, 8, 20)]
    return (sum(F.interpolate(n, (size, size), mode="bicubic") for n in noise) / 2).clamp(-1, 1)


def test_psnr_of_a_known_error():
    truth = torch.zeros(2, 3, 8, 8)
    assert psnr(truth + 0.2, truth).tolist() == pytest.approx([20, 20])  # 0.1 of the range


def test_psnr_person_counts_the_masks_pixels_only():
    truth, mask = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 0.9
    shown = truth + torch.where(mask > 0.5, 0.02, 1.0)
    assert psnr(shown, truth, mask).item() == pytest.approx(40, abs=1e-3)
    assert psnr(shown, truth).item() < 15


def test_ssim_is_that_of_wang_et_al():
    a, b = picture(seed=1), picture(seed=2)
    x, y = ((t[0].double().numpy() + 1) / 2 for t in (a, b))
    channels = []
    for p, q in zip(x, y, strict=True):
        blur = lambda t: gaussian_filter(t, 1.5, truncate=3.5)[5:-5, 5:-5]  # noqa: E731
        mean_p, mean_q = blur(p), blur(q)
        var_p, var_q, both = blur(p * p) - mean_p**2, blur(q * q) - mean_q**2, blur(p * q) - mean_p * mean_q
        luminance = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
        channels.append((luminance * (2 * both + 9e-4) / (var_p + var_q + 9e-4)).mean())
    assert ssim(a, b).item() == pytest.approx(np.mean(channels), abs=1e-5)
    assert ssim(a, a).item() == pytest.approx(1)


@pytest.fixture(scope="module")
def judge() -> StLpips:
    return StLpips()


def test_st_lpips_grows_with_damage_and_forgives_a_shift(judge):
    x = picture(97)
    truth, shifted = x[..., 1:, :-1], x[..., 1:, 1:]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    damaged = [truth + 0.1 * noise, truth + 0.4 * noise]
    blurred = F.avg_pool2d(truth, 9, 1, 4, count_include_pad=False)
    assert judge(truth, truth).item() == pytest.approx(0, abs=1e-6)
    assert 0 < judge(shifted, truth) < judge(damaged[0], truth) < judge(damaged[1], truth)
    assert judge(shifted, truth) < judge(blurred, truth)


def test_st_lpips_judges_each_picture_of_a_batch_alone(judge):
    shown, truth = torch.cat([picture(seed=1), picture(seed=2)]), picture(seed=3).expand(2, -1, -1, -1)
    both = judge(shown, truth)
    torch.testing.assert_close(both[1:], judge(shown[1:], truth[1:]))


def test_the_persons_box_is_grown_by_6_pixels_at_256_and_stays_in_the_picture():
    mask = torch.zeros(256, 256)
    mask[100:151, 2:41] = 1
    assert person_box(mask) == (slice(94, 156), slice(0, 46))
    assert person_box(F.interpolate(mask[None, None], scale_factor=2)[0, 0])[0] == slice(188, 313)


def test_st_lpips_person_looks_into_the_box_only(judge):
    truth, mask = picture(128), torch.zeros(1, 1, 128, 128)
    mask[..., 40:90, 50:80] = 1
    outside = truth.clone()
    outside[..., :30, :] = 0
    inside = truth.clone()
    inside[..., 60:70, 60:70] = 0
    assert st_lpips_person(judge, outside, truth, mask).item() == pytest.approx(0, abs=1e-6)
    assert st_lpips_person(judge, inside, truth, mask) > 1e-3
