"""Checkpoints of a training run in safetensors: modules, optimizers and the step, without pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from ..core.errors import UserError
from ..core.files import atomic_file
from ..core.untrusted.records import Description
from ..core.untrusted.tensors import TensorFile

_MAX_BYTES = 16 << 30


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


def load_checkpoint(path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> Description:
    """Load a checkpoint into modules and optimizers of the same structure, and return its facts.

    Raises:
        UserError: damaged, or of another structure.
    """
    try:
        file = TensorFile(path, _MAX_BYTES, "a checkpoint")
        facts = file.facts()
        wanted = {
            f"module.{name}.{key}": t for name, module in modules.items() for key, t in module.state_dict().items()
        }
        states = _states(optimizers)
        file.check(wanted, optional={name: tensor for state in states for name, tensor in state.items()})
        if any(0 < len(state.keys() & file.shapes.keys()) < len(state) for state in states):
            raise file.damaged("an optimizer's state is incomplete")
        tensors = file.read()
    except UserError as error:
        raise UserError(f"{error}; start over with --overwrite") from None
    for name, module in modules.items():
        prefix = f"module.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, optimizer in optimizers.items():
        _load_optimizer(optimizer, f"optimizer.{name}.", tensors)
    return facts


def _states(optimizers: Mapping[str, Optimizer]) -> list[dict[str, Tensor]]:
    """Return tensors like those that Adam keeps of each parameter, once it has had a gradient."""
    states = []
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            kept = {"step": torch.empty(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            states.append({f"optimizer.{name}.{number}.{key}": tensor for key, tensor in kept.items()})
    return states


def _load_optimizer(optimizer: Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors whose names start with `prefix`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            parameter, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
