"""The state of a training run in safetensors: modules, optimizers, the step. No pickle."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ..core.errors import UserError
from ..core.files import atomic_file


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer], facts: dict
) -> None:
    """Replace the checkpoint at `path` whole. `facts` is JSON: the step, the configuration."""
    tensors = {}
    for name, module in modules.items():
        tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{name}.{parameter}.{k}": torch.as_tensor(v) for k, v in state.items()}
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_file(path) as partial:
        partial.write_bytes(save(contiguous, {"facts": json.dumps(facts)}))


def load_checkpoint(path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]) -> dict:
    """Put a checkpoint's state into modules and optimizers of the same form; returns its facts.

    Raises:
        UserError: damaged, or of another form.
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
        raise UserError(f"{path}: the run cannot go on from it ({cause}); start anew with --overwrite") from None
    return facts


def _load_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            parameter, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
