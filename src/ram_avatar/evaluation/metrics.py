"""Image similarity metrics. Images are [B, 3, H, W] in [-1, 1], results [B]."""

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import UserError
from ..networks.pretrained import read_weights

_BOX_MARGIN = 6 / 256  # of the image height, added around the person before ST-LPIPS
_PERSON_SIZE, _LARGE = (192, 128), 256  # height and width of the box; twice that in images with larger sides
_SSIM_WINDOW = 11

ImageMetric = Callable[[Tensor, Tensor], Tensor]
"""Maps rendered and true images [B, 3, H, W] in [-1, 1] to a metric [B] or an error map [B, 1, H, W]."""


def psnr(shown: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, at most 100.

    With `where` [B, 1, H, W], only pixels where it is above 0.5 count; NaN if there are none.
    """
    error = ((shown - truth) / 2).square()
    if where is None:
        mean = error.mean((1, 2, 3))
    else:
        counted = (where > 0.5).float()
        mean = (error * counted).sum((1, 2, 3)) / (3 * counted.sum((1, 2, 3)))
    return -10 * torch.log10(mean.clamp(min=1e-10))


def ssim(shown: Tensor, truth: Tensor) -> Tensor:
    """Return structural similarity (Wang et al. 2004): 11-pixel Gaussian window, sigma 1.5, valid region.

    NaN for images smaller than the window.
    """
    if min(shown.shape[2:]) < _SSIM_WINDOW:
        return shown.new_full((len(shown),), torch.nan)
    ramp = torch.arange(_SSIM_WINDOW, dtype=torch.float32, device=shown.device) - _SSIM_WINDOW // 2
    line = torch.exp(-(ramp**2) / (2 * 1.5**2))
    window = (line[:, None] * line[None] / line.sum() ** 2).expand(3, 1, -1, -1)

    def blur(t: Tensor) -> Tensor:
        return F.conv2d(t, window, groups=3)

    a, b = (shown + 1) / 2, (truth + 1) / 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similarity.mean((1, 2, 3))


class StLpips(nn.Module):
    """Shift-tolerant LPIPS (Ghildyal and Liu 2022) with AlexNet: blurred strides, learned layer weights."""

    scaling_layer_shift: Tensor
    scaling_layer_scale: Tensor
    window: Tensor

    # Convolution, its padding, and what precedes it: nothing, or a dense max-pool and a blurred stride ("pool").
    _LAYERS = (("slice1.0", 2, ""), ("slice2.5", 2, "pool"), ("slice3.9", 1, "pool"), ("slice4.11", 1, ""),
               ("slice5.13", 1, ""))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        for name, tensor in read_weights("alex").items():
            self.register_buffer(name.replace(".", "_"), tensor, persistent=False)
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("window", (line[:, None] * line[None])[None, None], persistent=False)

    @torch.no_grad()
    def forward(self, shown: Tensor, truth: Tensor) -> Tensor:
        distance = shown.new_zeros(len(shown))
        for i, (a, b) in enumerate(zip(self._features(shown), self._features(truth), strict=True)):
            difference = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square()
            distance = distance + F.conv2d(difference, getattr(self, f"lin{i}_model_1_weight")).mean((1, 2, 3))
        return distance

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x - self.scaling_layer_shift) / self.scaling_layer_scale
        x = x.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        found: list[Tensor] = []
        for name, padding, before in self._LAYERS:
            if before:
                x = self._blurred_stride(F.max_pool2d(x, 3, 1))
            key = f"net_{name.replace('.', '_')}"
            x = F.conv2d(x, getattr(self, f"{key}_weight"), getattr(self, f"{key}_bias"), padding=padding)
            if not found:  # the first layer's stride follows its convolution
                x = self._blurred_stride(x)
            x = F.relu(x)
            found.append(x)
        return found

    def _blurred_stride(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(
            F.pad(x, (2, 2, 2, 2), mode="reflect"), self.window.expand(channels, 1, 3, 3), stride=2, groups=channels
        )


def person_box(mask: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns of the person in a mask [H, W], with a margin of 6 pixels at 256.

    The whole image if the mask is empty.
    """
    margin = round(_BOX_MARGIN * mask.shape[0])
    rows, columns = (mask > 0.5).any(1).nonzero().flatten(), (mask > 0.5).any(0).nonzero().flatten()
    if not len(rows):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin),
    )


def crop_person(images: Tensor, mask: Tensor) -> Tensor:
    """Crop each image to the person's box: 192 x 128, or 384 x 256 of images with more than 256 x 256 pixels.

    Args:
        mask: [B, 1, H, W] in [0, 1].
    """
    size = _PERSON_SIZE if images.shape[-1] <= _LARGE else tuple(2 * side for side in _PERSON_SIZE)

    def crop(image: Tensor, box: tuple[slice, slice]) -> Tensor:
        return F.interpolate(image[None, :, *box], size, mode="bilinear", align_corners=False)

    return torch.cat([crop(image, person_box(m[0])) for image, m in zip(images, mask, strict=True)])


def st_lpips_person(st_lpips: ImageMetric, shown: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return ST-LPIPS of the person's box, see `crop_person`; mask [B, 1, H, W] in [0, 1]."""
    return st_lpips(crop_person(shown, mask), crop_person(truth, mask))


# Metrics from optional packages -----------------------------------------------------------------------------------


def flip(shown: Tensor, truth: Tensor) -> Tensor:
    """Return the LDR-FLIP error map (Andersson et al. 2020), [B, 1, H, W] in [0, 1].

    FLIP predicts the difference an observer sees when the two images alternate. The viewing distance is the
    package's default, 67 pixels per degree.

    Raises:
        UserError: The extra `evaluation` is not installed.
    """
    evaluate = _flip_evaluator()

    def arrays(t: Tensor) -> np.ndarray:
        return ((t + 1) / 2).clamp(0, 1).movedim(1, -1).cpu().numpy()

    maps = [
        evaluate(b, a, "LDR", inputsRGB=True, applyMagma=False, computeMeanError=False)[0]
        for a, b in zip(arrays(shown), arrays(truth), strict=True)
    ]
    return torch.stack([torch.from_numpy(m) for m in maps]).movedim(-1, 1).to(shown.device)


def _flip_evaluator() -> Callable:
    try:
        from flip_evaluator import evaluate
    except ImportError as error:
        raise UserError(f"FLIP needs the extra 'evaluation': pip install 'ram-avatar[evaluation]' ({error})") from None
    return evaluate


@cache
def load_lpips() -> ImageMetric:
    """Load LPIPS (Zhang et al. 2018) with AlexNet, version 0.1; the first call downloads AlexNet's weights.

    Raises:
        UserError: The extra `lpips` is not installed, its torchvision does not match this torch, or the weights
            cannot be downloaded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision deprecates the way lpips calls it
            import lpips

            network = lpips.LPIPS(net="alex", verbose=False).requires_grad_(False)
    except ImportError as error:
        raise UserError(f"LPIPS needs the extra 'lpips': pip install 'ram-avatar[lpips]' ({error})") from None
    except (OSError, RuntimeError) as error:  # failed download; torchvision built for another torch
        reason = str(error).partition("\n")[0]
        raise UserError(f"LPIPS (extra 'lpips') failed to load: {reason}") from None
    return lambda shown, truth: network(shown.cpu(), truth.cpu()).flatten()


def unavailable() -> dict[str, str]:
    """Return the optional metrics that are not available, each with a one-line reason that names the extra."""
    reasons = {}
    for name, load in (("flip", _flip_evaluator), ("lpips", load_lpips)):
        try:
            load()
        except UserError as error:
            reasons[name] = str(error)
    return reasons
