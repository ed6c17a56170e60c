"""What the machine computes fast."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .choices import ACCELERATORS, PRECISIONS, check_choice
from .errors import UserError


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 faster than floats: CUDA from Ampere on, CPUs with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def choose_precision(precision: str, recipe: str, device: torch.device) -> str:
    """Return Lightning Fabric's precision: as asked for, else the recipe's; "auto" is bf16-mixed on a GPU that has it.

    On a CPU it is 32-true: convolutions of few channels are slower in bf16 there, with units for it or without.

    Raises:
        UserError: another word.
    """
    check_choice("precision", precision, PRECISIONS)
    asked = precision if precision != "auto" else recipe
    if asked != "auto":
        return asked
    return "bf16-mixed" if device.type == "cuda" and multiplies_bf16(device) else "32-true"


def choose_device(accelerator: str) -> torch.device:
    """ "auto" is CUDA where there is one.

    Raises:
        UserError: CUDA asked for and absent, or another word.
    """
    check_choice("accelerator", accelerator, ACCELERATORS)
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is at hand (or torch is a CPU build); use --accelerator cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def check_devices(devices: int, device: torch.device, batch_size: int) -> None:
    """Raises UserError where there are not so many devices, or a batch cannot be shared evenly among them."""
    there = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count()
    if not 1 <= devices <= there:
        raise UserError(f"{devices} devices asked for; this machine has {there} of kind '{device.type}'")
    if batch_size % devices:
        raise UserError(f"{devices} devices cannot share batches of {batch_size} evenly")


def describe_machine() -> str:
    """One line: processor, cores, memory, GPU, and the Python that runs."""
    cpu = _value("/proc/cpuinfo", "model name", platform.processor())
    memory = int(_value("/proc/meminfo", "MemTotal", "0").split()[0]) >> 20
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    units = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512 BF16": torch.cpu._is_avx512_bf16_supported()}
    fast = next((f" with {name}" for name, there in units.items() if there), "")
    return f"{cpu}{fast}, {os.cpu_count()} cores, {memory} GB, {gpu}; Python {platform.python_version()}"


def describe_versions(*packages: str) -> str:
    """Installed versions of packages, as "name version, ..."; those that are not installed are left out."""
    return ", ".join(f"{name} {version(name)}" for name in packages if _installed(name))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _value(path: str, key: str, default: str) -> str:
    """The value of the first line "key : value" of a file."""
    lines = Path(path).read_text().splitlines() if Path(path).is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), default)
