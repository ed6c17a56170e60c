"""What the machine computes fast."""

import torch

from .config import Preset
from .errors import UserError


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware has units for bf16 matrices: CUDA from Ampere on, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()


def choose_precision(precision: str, preset: Preset, device: torch.device) -> str:
    """Lightning Fabric's precision: as asked for, else the preset's; "auto" is bf16-mixed on a GPU that has it.

    On a CPU it is 32-true: convolutions of few channels are slower in bf16 there, AMX or not.
    """
    asked = precision if precision != "auto" else preset.precision
    if asked != "auto":
        return asked
    return "bf16-mixed" if device.type == "cuda" and multiplies_bf16(device) else "32-true"


def choose_device(accelerator: str) -> torch.device:
    """ "auto" is CUDA where there is one.

    Raises:
        UserError: CUDA asked for and absent, or another word.
    """
    if accelerator not in ("auto", "cpu", "cuda"):
        raise UserError(f"accelerator is auto, cpu or cuda, not '{accelerator}'")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is at hand (or torch is a CPU build); use --accelerator cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
