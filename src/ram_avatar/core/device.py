"""The machine: devices, precisions, and a description of it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .choices import ACCELERATORS, PRECISIONS, check_choice
from .errors import UserError

_STANDARD_MEMORY = 8  # GB; training takes 4, and keeps what it can of the clip's maps in the rest


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether bf16 matrix products are fast: on CUDA from Ampere on, and on CPUs with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def choose_precision(precision: str, recipe: str, device: torch.device) -> str:
    """Return Lightning Fabric's precision: "32-true" or "bf16-mixed".

    "auto" defers to the recipe; if that is "auto" too, it is bf16-mixed on a GPU that supports it, else 32-true. On
    CPUs, convolutions with few channels are slower in bf16, with or without units for it.

    Raises:
        UserError: an unknown precision.
    """
    check_choice("precision", precision, PRECISIONS)
    asked = precision if precision != "auto" else recipe
    if asked != "auto":
        return asked
    return "bf16-mixed" if device.type == "cuda" and multiplies_bf16(device) else "32-true"


def choose_device(accelerator: str) -> torch.device:
    """Return the device for "cpu", "cuda", or "auto": CUDA if available.

    Raises:
        UserError: CUDA is not available, or an unknown accelerator.
    """
    check_choice("accelerator", accelerator, ACCELERATORS)
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is available (or torch is a CPU build); use --accelerator cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def best_preset(device: torch.device) -> tuple[str, str]:
    """Return the preset to train by on a device if none is asked for, and why."""
    if device.type != "cuda":
        return "lite", "made for CPUs"
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    if memory < _STANDARD_MEMORY:
        return "lite", f"this GPU has {memory:.0f} GB, and 'standard' needs {_STANDARD_MEMORY}"
    return "standard", f"this GPU has {memory:.0f} GB"


def check_devices(devices: int, device: torch.device, batch_size: int) -> None:
    """Raise a UserError unless there are that many devices, and they can share a batch evenly."""
    available = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count()
    if not 1 <= devices <= (available or 1):
        raise UserError(f"{devices} devices asked for; this machine has {available} of type '{device.type}'")
    if batch_size % devices:
        raise UserError(f"the batch size {batch_size} is not divisible by {devices} devices")


def describe_machine() -> str:
    """Return one line: processor, cores, memory, GPU, Python version."""
    cpu = _value("/proc/cpuinfo", "model name", platform.processor())
    memory = int(_value("/proc/meminfo", "MemTotal", "0").split()[0]) >> 20
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    units = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512 BF16": torch.cpu._is_avx512_bf16_supported()}
    fast = next((f" with {name}" for name, there in units.items() if there), "")
    return f"{cpu}{fast}, {os.cpu_count()} cores, {memory} GB, {gpu}; Python {platform.python_version()}"


def describe_versions(*packages: str) -> str:
    """Return the versions of packages as "name version, ..."; skips those not installed."""
    return ", ".join(f"{name} {version(name)}" for name in packages if _installed(name))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _value(path: str, key: str, default: str) -> str:
    """Return the value of the first line "key : value" of a file, or the default."""
    lines = Path(path).read_text().splitlines() if Path(path).is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), default)
