"""Files of motion priors and alignments: networks in safetensors, with metadata as JSON."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...core.errors import UserError
from ...core.files import atomic_file
from .networks import MotionPrior, PriorConfig

FORMAT_VERSION = 1
PRIOR = "motion prior"
_MAX_BYTES = 1 << 26
SHIPPED = Path(__file__).parent / "data" / "motion_prior.safetensors"


def write_tensors(path: Path, kind: str, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write a file, completely or not at all. `facts` must be serializable as JSON."""
    described = {"format_version": str(FORMAT_VERSION), "kind": kind, "facts": json.dumps(facts)}
    with atomic_file(path) as partial:
        partial.write_bytes(save({name: t.detach().contiguous() for name, t in tensors.items()}, described))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read tensors and facts of a file from `write_tensors`.

    Raises:
        UserError: no such file, too large, damaged, of another kind or format version, or numbers that are not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path}: larger than {_MAX_BYTES >> 20} MB, not a {kind}")
    try:
        with safe_open(path, "pt") as file:
            described = file.metadata() or {}
            if described.get("kind") != kind:
                raise UserError(f"{path}: not a {kind}")
            version = described.get("format_version")
            if version != str(FORMAT_VERSION):
                raise UserError(f"{path}: {kind} format {version}, this version reads {FORMAT_VERSION}; make it again")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = dict(json.loads(described["facts"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise UserError(f"{path}: holds numbers that are not finite")
    return tensors, facts


def check_joints(path: Path, facts: dict, template: str, joints: list[str]) -> None:
    """Check that a file was made for a template and for these joints of it.

    Raises:
        UserError: it was not.
    """
    if facts.get("template") != template:
        raise UserError(f"{path}: made for body template '{facts.get('template')}', not '{template}'")
    if facts.get("joints") != joints:
        raise UserError(f"{path}: made for other joints than this version aligns; make it again")


def save_prior(path: Path, prior: MotionPrior, joints: list[str], template: str, card: dict) -> None:
    """Write a motion prior with its card."""
    write_tensors(path, PRIOR, prior.state_dict(), {"template": template, "joints": joints, "card": card})


def load_prior(path: str | Path | None, template: str, joints: list[str]) -> tuple[MotionPrior, dict]:
    """Load a prior and its card.

    Args:
        path: None for the prior that ships with the package.

    Raises:
        UserError: see `read_tensors` and `check_joints`; or wrong tensor shapes.
    """
    path = Path(path or SHIPPED)
    tensors, facts = read_tensors(path, PRIOR)
    check_joints(path, facts, template, joints)
    try:
        prior = MotionPrior(config_of(tensors, "encoder"))
        prior.load_state_dict(tensors)
        return prior.eval(), dict(facts["card"])
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]})") from None


def config_of(tensors: dict[str, Tensor], encoder: str, decoder: str | None = None) -> PriorConfig:
    """Infer the sizes of the networks from their tensors, so that a file cannot request more than it holds.

    Args:
        encoder: name prefix of the encoder's tensors.
        decoder: name prefix of decoder B's tensors, if there is one.
    """
    hidden, width = tensors[f"{encoder}.layers.0.weight"].shape
    sizes = {"own_hidden": len(tensors[f"{decoder}.layers.0.bias"])} if decoder else {}
    return PriorConfig(width, hidden, len(tensors[f"{encoder}.layers.2.bias"]) // 2, **sizes)
