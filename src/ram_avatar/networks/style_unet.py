"""StyleUNet, the rendering network: a U-Net with a StyleGAN2-like decoder, from and to the Haar wavelet domain.

Paper, supplement, figure 4; after Wang et al., "StyleAvatar: Real-time Photo-realistic Portrait Avatar from a Single
Video", 2023.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .containers import ModuleDict, ModuleList
from .layers import (
    EqualizedConv2d,
    HaarConv2d,
    ModulatedConv2d,
    activate,
    haar,
    unfold,
    upsample,
)


class StyleUNet(nn.Module):
    """A network from feature maps and a style code to an image.

    The layers that write the image start at zero, and so does the image.

    Args:
        inputs: channels of each feature map before folding.
        outputs: channels of the image.
        widths: channels at half the image size, then at each further halving.
        style_dim: length of the style code.
    """

    def __init__(self, inputs: dict[str, int], outputs: int, widths: tuple[int, ...], style_dim: int):
        super().__init__()
        # One layer over all maps, as a sum with one term per map, which avoids concatenating them.
        fan_in, first = sum(inputs.values()), next(iter(inputs))
        self.enter = ModuleDict(
            {name: HaarConv2d(n, widths[0], fan_in=fan_in, bias=name == first) for name, n in inputs.items()}
        )
        self.encoders = ModuleList(Encoder(fine, coarse) for fine, coarse in pairwise(widths))
        self.across = ModulatedConv2d(widths[-1], widths[-1], 3, style_dim)
        self.decoders = ModuleList(
            Decoder(coarse, fine, outputs, style_dim) for coarse, fine in pairwise(reversed(widths))
        )

    def forward(self, features: dict[str, Tensor], style: Tensor) -> Tensor:
        """
        Args:
            features: each [B, 4 * inputs, H/2, W/2], folded; H and W are divisible by 2^len(widths). The first is
                required; any other may be missing and counts as zero.
            style: [B, style_dim], or [1, style_dim] for the whole batch.

        Returns:
            [B, outputs, H, W].
        """
        x = activate(sum(self.enter[name](feature) for name, feature in features.items()))
        skips = []
        for encoder in self.encoders:
            x, skip = encoder(x)
            skips.append(skip)
        x = activate(self.across(x, style))
        first, *others = self.decoders
        x, image = first(x, skips.pop(), style)
        for decoder in others:
            x, detail = decoder(x, skips.pop(), style)
            # The transform is linear, so adding images equals adding in the wavelet domain.
            image = detail + upsample(image)
        return image


class Encoder(nn.Module):
    """Refines the features, keeps them for the decoder, and halves the size."""

    def __init__(self, fine: int, coarse: int):
        super().__init__()
        self.refine = EqualizedConv2d(fine, fine)
        self.down = EqualizedConv2d(fine, coarse, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = activate(self.refine(x))
        return activate(self.down(skip)), skip


class Decoder(nn.Module):
    """Doubles the size, merges the encoder's features, and writes the image detail of this size as wavelets."""

    def __init__(self, coarse: int, fine: int, image: int, style_dim: int):
        super().__init__()
        self.up = ModulatedConv2d(coarse, fine, 3, style_dim)
        self.merge = ModulatedConv2d(2 * fine, fine, 3, style_dim)
        self.to_wavelets = ModulatedConv2d(fine, 4 * image, 1, style_dim, demodulate=False, zero=True)

    def forward(self, x: Tensor, skip: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Decode features [B, coarse, h, w] to [B, fine, 2h, 2w] and image detail [B, channels, 4h, 4w]."""
        x = upsample(activate(self.up(x, style)))  # convolving before the size doubles costs a quarter
        x = activate(self.merge(torch.cat([x, skip], 1), style))
        return x, unfold(haar(self.to_wavelets(x, style)))
