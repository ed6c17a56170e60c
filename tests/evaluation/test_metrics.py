import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from ram_avatar.core.errors import UserError
from ram_avatar.evaluation.metrics import (
    StLpips,
    flip,
    load_lpips,
    person_box,
    psnr,
    ssim,
    st_lpips_person,
    unavailable,
)


def image(size: int = 64, seed: int = 1) -> torch.Tensor:
    """Return [1, 3, size, size] with structure at several scales."""
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(1, 3, n, n, generator=generator) for n in (3, 8, 20)]
    return (sum(F.interpolate(n, (size, size), mode="bicubic") for n in noise) / 2).clamp(-1, 1)


def test_psnr_of_a_known_error():
    truth = torch.zeros(2, 3, 8, 8)
    assert psnr(truth + 0.2, truth).tolist() == pytest.approx([20, 20])  # 0.1 of the range


def test_masked_psnr_counts_the_masks_pixels_only():
    truth, mask = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 0.9
    shown = truth + torch.where(mask > 0.5, 0.02, 1.0)
    assert psnr(shown, truth, mask).item() == pytest.approx(40, abs=1e-3)
    assert psnr(shown, truth).item() < 15


def test_psnr_of_no_pixels_is_nan_and_of_equal_ones_is_100():
    truth, mask = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    mask[1] = 1
    values = psnr(truth, truth, mask)
    assert values[0].isnan() and values[1].item() == pytest.approx(100)


def test_ssim_of_images_smaller_than_the_window_is_nan():
    assert ssim(torch.zeros(2, 3, 10, 40), torch.zeros(2, 3, 10, 40)).isnan().tolist() == [True, True]


def test_ssim_matches_wang_et_al():
    a, b = image(seed=1), image(seed=2)
    x, y = ((t[0].double().numpy() + 1) / 2 for t in (a, b))
    channels = []
    for p, q in zip(x, y, strict=True):
        blur = lambda t: gaussian_filter(t, 1.5, truncate=3.5)[5:-5, 5:-5]
        mean_p, mean_q = blur(p), blur(q)
        var_p, var_q, both = blur(p * p) - mean_p**2, blur(q * q) - mean_q**2, blur(p * q) - mean_p * mean_q
        luminance = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
        channels.append((luminance * (2 * both + 9e-4) / (var_p + var_q + 9e-4)).mean())
    assert ssim(a, b).item() == pytest.approx(np.mean(channels), abs=1e-5)
    assert ssim(a, a).item() == pytest.approx(1)


@pytest.fixture(scope="module")
def st_lpips() -> StLpips:
    return StLpips()


def test_st_lpips_grows_with_damage_and_tolerates_a_shift(st_lpips):
    x = image(97)
    truth, shifted = x[..., 1:, :-1], x[..., 1:, 1:]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    damaged = [truth + 0.1 * noise, truth + 0.4 * noise]
    blurred = F.avg_pool2d(truth, 9, 1, 4, count_include_pad=False)
    assert st_lpips(truth, truth).item() == pytest.approx(0, abs=1e-6)
    assert 0 < st_lpips(shifted, truth) < st_lpips(damaged[0], truth) < st_lpips(damaged[1], truth)
    assert st_lpips(shifted, truth) < st_lpips(blurred, truth)


def test_st_lpips_treats_each_image_of_a_batch_independently(st_lpips):
    shown, truth = torch.cat([image(seed=1), image(seed=2)]), image(seed=3).expand(2, -1, -1, -1)
    both = st_lpips(shown, truth)
    torch.testing.assert_close(both[1:], st_lpips(shown[1:], truth[1:]))


def test_person_box_has_a_margin_of_6_pixels_at_256_and_stays_in_the_image():
    mask = torch.zeros(256, 256)
    mask[100:151, 2:41] = 1
    assert person_box(mask) == (slice(94, 156), slice(0, 46))
    assert person_box(F.interpolate(mask[None, None], scale_factor=2)[0, 0])[0] == slice(188, 313)


def test_st_lpips_person_uses_the_box_only(st_lpips):
    truth, mask = image(128), torch.zeros(1, 1, 128, 128)
    mask[..., 40:90, 50:80] = 1
    outside = truth.clone()
    outside[..., :30, :] = 0
    inside = truth.clone()
    inside[..., 60:70, 60:70] = 0
    assert st_lpips_person(st_lpips, outside, truth, mask).item() == pytest.approx(0, abs=1e-6)
    assert st_lpips_person(st_lpips, inside, truth, mask) > 1e-3


# Optional packages ------------------------------------------------------------------------------------------


def test_flip_is_zero_for_equal_images_and_almost_one_from_black_to_white():
    pytest.importorskip("flip_evaluator")
    black, white = -torch.ones(1, 3, 32, 48), torch.ones(1, 3, 32, 48)
    maps = flip(torch.cat([image(48)[..., :32, :], black]), torch.cat([image(48)[..., :32, :], white]))
    assert maps.shape == (2, 1, 32, 48)
    assert maps[0].abs().max() == 0
    assert maps[1].min() > 0.95 and maps[1].max() <= 1


def test_flip_localizes_differences():
    pytest.importorskip("flip_evaluator")
    truth = image(64)
    shown = truth.clone()
    shown[..., 8:16, 40:56] *= -1
    error = flip(shown, truth)[0, 0]
    assert error[8:16, 40:56].mean() > 0.2
    assert error[32:].max() < 1e-3 and error[:, :24].max() < 1e-3


def test_missing_flip_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    with pytest.raises(UserError, match=r"ram-avatar\[evaluation\]"):
        flip(image(), image())
    assert "ram-avatar[evaluation]" in unavailable()["flip"]


@pytest.fixture()
def lpips_package(monkeypatch):
    """A fake package `lpips` whose network is the mean absolute difference; raises `package.trouble` if set."""
    package = ModuleType("lpips")
    package.trouble = None

    class Difference(torch.nn.Module):
        def __init__(self, net: str, verbose: bool):
            super().__init__()
            if package.trouble:
                raise package.trouble

        def forward(self, shown, truth):
            return (shown - truth).abs().mean((1, 2, 3), keepdim=True)

    package.LPIPS = Difference
    monkeypatch.setitem(sys.modules, "lpips", package)
    load_lpips.cache_clear()
    yield package
    load_lpips.cache_clear()


def test_lpips_returns_a_value_per_image(lpips_package):
    assert "lpips" not in unavailable()
    assert load_lpips()(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)).tolist() == [1, 1]


@pytest.mark.parametrize(
    "trouble", [OSError("no route to host"), RuntimeError("operator torchvision::nms does not exist\nsecond line")]
)
def test_failing_lpips_says_why(lpips_package, trouble):
    lpips_package.trouble = trouble
    reason = unavailable()["lpips"]
    assert str(trouble).partition("\n")[0] in reason and "'lpips'" in reason and "\n" not in reason


def test_missing_lpips_names_its_extra(lpips_package, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match=r"ram-avatar\[lpips\]"):
        load_lpips()
