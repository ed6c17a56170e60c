"""How near a picture comes to the true one. Pictures are [B, 3, H, W] in [-1, 1], results [B]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.pretrained import read_weights

GROWN = 6 / 256  # of the picture's height: how much the person's box is grown before ST-LPIPS
PERSON_SIZE = (192, 128)  # height and width that the box is brought to


def psnr(shown: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB; with `where` [B, 1, H, W], over the pixels above one half."""
    error = ((shown - truth) / 2).square()
    if where is None:
        mean = error.mean((1, 2, 3))
    else:
        counted = (where > 0.5).float()
        mean = (error * counted).sum((1, 2, 3)) / (3 * counted.sum((1, 2, 3))).clamp(min=1)
    return -10 * torch.log10(mean.clamp(min=1e-10))


def ssim(shown: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels and sigma 1.5, valid region."""
    ramp = torch.arange(11, dtype=torch.float32, device=shown.device) - 5
    line = torch.exp(-(ramp**2) / (2 * 1.5**2))
    window = (line[:, None] * line[None] / line.sum() ** 2).expand(3, 1, 11, 11)
    blur = lambda t: F.conv2d(t, window, groups=3)  # noqa: E731
    a, b = (shown + 1) / 2, (truth + 1) / 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similar.mean((1, 2, 3))


class StLpips(nn.Module):
    """Shift-tolerant LPIPS (Ghildyal and Liu 2022), AlexNet: blurred strides, learned layer weights."""

    # Convolution, its padding, and what comes before it: "" nothing, "pool" a dense max-pool and a blurred stride.
    _LAYERS = (("slice1.0", 2, ""), ("slice2.5", 2, "pool"), ("slice3.9", 1, "pool"), ("slice4.11", 1, ""),
               ("slice5.13", 1, ""))  # fmt: skip

    def __init__(self):
        super().__init__()
        for name, tensor in read_weights("alex").items():
            self.register_buffer(name.replace(".", "_"), tensor, persistent=False)
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("window", (line[:, None] * line[None])[None, None], persistent=False)

    @torch.no_grad()
    def forward(self, shown: Tensor, truth: Tensor) -> Tensor:
        distance = 0.0
        for i, (a, b) in enumerate(zip(self._features(shown), self._features(truth), strict=True)):
            difference = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square()
            distance = distance + F.conv2d(difference, getattr(self, f"lin{i}_model_1_weight")).mean((1, 2, 3))
        return distance

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x - self.scaling_layer_shift) / self.scaling_layer_scale
        found = []
        for name, padding, before in self._LAYERS:
            if before:
                x = self._blurred_stride(F.max_pool2d(x, 3, 1))
            key = f"net_{name.replace('.', '_')}"
            x = F.conv2d(x, getattr(self, f"{key}_weight"), getattr(self, f"{key}_bias"), padding=padding)
            if not found:  # the first layer's stride comes after its convolution
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
    """Rows and columns of the person in a mask [H, W], grown by 6 pixels at 256."""
    grow = round(GROWN * mask.shape[0])
    rows, columns = (mask > 0.5).any(1).nonzero().flatten(), (mask > 0.5).any(0).nonzero().flatten()
    if not len(rows):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return (
        slice(max(int(rows[0]) - grow, 0), int(rows[-1]) + grow),
        slice(max(int(columns[0]) - grow, 0), int(columns[-1]) + grow),
    )


def st_lpips_person(judge: StLpips, shown: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """ST-LPIPS of the person's box, brought to 192 x 128; mask [B, 1, H, W] in [0, 1]."""

    def cut(pictures: Tensor, i: int) -> Tensor:
        rows, columns = person_box(mask[i, 0])
        return F.interpolate(pictures[i : i + 1, :, rows, columns], PERSON_SIZE, mode="bilinear", align_corners=False)

    return torch.cat([judge(cut(shown, i), cut(truth, i)) for i in range(len(shown))])
