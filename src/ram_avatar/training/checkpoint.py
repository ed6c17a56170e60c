"""Checkpoints of a training run in safetensors: modules, optimizers and the step, without pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from ..core.errors import UserError
from ..core.files import atomic_file


def save_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], facts: dict[str, Any]
) -> None:
    """Write a checkpoint atomically. `facts` is JSON: the step, the configuration."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{name}.{parameter}.{k}": torch.as_tensor(v) for k, v in state.items()}
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_file(path) as partial:
        partial.write_bytes(save(contiguous, {"facts": json.dumps(facts)}))


def load_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> dict[str, Any]:
    """Load a checkpoint into modules and optimizers of the same structure, and return its facts.

    Raises:
        UserError: damaged, or of another structure.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for name, module in modules.items():
            prefix = f"module.{name}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for name, optimizer in optimizers.items():
            _load_optimizer(optimizer, f"optimizer.{name}.", tensors)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        cause = str(error).splitlines()[0] if str(error) else repr(error)
        raise UserError(f"{path}: cannot resume from it ({cause}); start over with --overwrite") from None
    return facts


def _load_optimizer(optimizer: Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors whose names start with `prefix`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            parameter, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
