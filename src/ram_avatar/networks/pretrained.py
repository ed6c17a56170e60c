"""ImageNet features, with the weight files of the wheel `stlpips_pytorch`.

Only the files are read: the wheel's code would import torchvision, which this package does not need.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import UserError

# Activations of VGG-16 and the keys of their convolutions; a max pool precedes the second to fifth group.
VGG_LAYERS = {
    "relu1_1": "slice1.0", "relu1_2": "slice1.2",
    "relu2_1": "slice2.6", "relu2_2": "slice2.8",
    "relu3_1": "slice3.12", "relu3_2": "slice3.14", "relu3_3": "slice3.16",
    "relu4_1": "slice4.20", "relu4_2": "slice4.22", "relu4_3": "slice4.24",
    "relu5_1": "slice5.28", "relu5_2": "slice5.30", "relu5_3": "slice5.32",
}  # fmt: skip


def read_weights(network: str) -> dict[str, Tensor]:
    """Read the tensors of "vgg" or "alex".

    Raises:
        UserError: the package is missing or has another version.
    """
    spec = find_spec("stlpips_pytorch")  # does not import it
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(folders[0]) / "weights" / "vST0.0" / f"{network}_shift_tolerant.pth" if folders else None
    if path is None or not path.is_file():
        raise UserError("the package stlpips_pytorch (0.0.2) with its weights is missing: pip install stlpips_pytorch")
    return torch.load(path, map_location="cpu", weights_only=True)


class VggFeatures(nn.Module):
    """Activations of a frozen VGG-16.

    Args:
        layers: names from `VGG_LAYERS`; nothing after the last one is computed.

    Raises:
        UserError: an unknown layer.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, layers: tuple[str, ...]):
        super().__init__()
        unknown = set(layers) - set(VGG_LAYERS)
        if unknown:
            raise UserError(f"VGG-16 has no layer {', '.join(sorted(unknown))}; choose from {', '.join(VGG_LAYERS)}")
        weights = read_weights("vgg")
        self.layers = layers
        last = max(list(VGG_LAYERS).index(name) for name in layers)
        self.names = list(VGG_LAYERS)[: last + 1]
        for name in self.names:
            for part in ("weight", "bias"):
                self.register_buffer(f"{name}_{part}", weights[f"net.{VGG_LAYERS[name]}.{part}"], persistent=False)
        self.register_buffer("shift", weights["scaling_layer.shift"], persistent=False)
        self.register_buffer("scale", weights["scaling_layer.scale"], persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the chosen activations of images [B, 3, H, W] in [-1, 1]."""
        x = (x - self.shift) / self.scale
        chosen = []
        for name in self.names:
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(F.conv2d(x, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"), padding=1))
            if name in self.layers:
                chosen.append(x)
        return chosen
