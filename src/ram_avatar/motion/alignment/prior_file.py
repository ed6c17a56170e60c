"""Files of motion priors and alignments: networks in safetensors, with metadata as JSON."""

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ...core.errors import UserError
from ...core.files import atomic_file
from ...core.untrusted.records import Description
from ...core.untrusted.tensors import TensorFile
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


def open_tensors(path: Path, kind: str, template: str, joints: list[str]) -> tuple[TensorFile, Description]:
    """Open a file from `write_tensors`, and return its facts with it.

    Raises:
        UserError: no such file, too large, damaged, of another kind or format version, or made for another template or
            other joints of it.
    """
    article = "an" if kind[0] in "aeiou" else "a"
    file = TensorFile(path, _MAX_BYTES, f"{article} {kind}")
    if file.metadata.get("kind") != kind:
        raise UserError(f"{path}: not {article} {kind}")
    version = file.metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise UserError(f"{path}: {kind} format {version}, this version reads {FORMAT_VERSION}; make it again")
    facts = file.facts()
    if (made_for := facts.take("template", str)) != template:
        raise UserError(f"{path}: made for body template '{made_for}', not '{template}'")
    if facts.take("joints", list[str]) != joints:
        raise UserError(f"{path}: made for other joints than this version aligns; make it again")
    return file, facts


def save_prior(path: Path, prior: MotionPrior, joints: list[str], template: str, card: dict) -> None:
    """Write a motion prior with its card."""
    write_tensors(path, PRIOR, prior.state_dict(), {"template": template, "joints": joints, "card": card})


def load_prior(path: str | Path | None, template: str, joints: list[str]) -> tuple[MotionPrior, dict]:
    """Load a prior and its card.

    Args:
        path: None for the prior that ships with the package.

    Raises:
        UserError: see `open_tensors`; or wrong tensors.
    """
    file, facts = open_tensors(Path(path or SHIPPED), PRIOR, template, joints)
    config = config_of(file, joints, "encoder")
    with torch.device("meta"):
        file.check(MotionPrior(config).state_dict())
    prior = MotionPrior(config)
    prior.load_state_dict(read_scaled(file))
    return prior.eval(), facts.take("card", dict)


def config_of(file: TensorFile, joints: list[str], encoder: str, decoder: str | None = None) -> PriorConfig:
    """Infer the sizes of the networks from the shapes of their tensors.

    Args:
        joints: that poses have.
        encoder: name prefix of the encoder's tensors.
        decoder: name prefix of decoder B's tensors, if there is one.

    Raises:
        UserError: the tensors are missing, or the sizes are out of range.
    """
    names = [f"{encoder}.layers.0.bias", f"{encoder}.layers.2.bias"] + ([f"{decoder}.layers.0.bias"] if decoder else [])
    for name in names:
        if len(file.shapes.get(name, ())) != 1:
            raise file.damaged(f"{name} is missing, or no list")
    hidden, latent, *own = (file.shapes[name][0] for name in names)
    try:
        return PriorConfig(6 * len(joints), hidden, latent // 2, *own)
    except ValueError as error:
        raise file.damaged(error) from None


def read_scaled(file: TensorFile) -> dict[str, Tensor]:
    """Read tensors, and check that those to divide by are positive.

    Raises:
        UserError: see `TensorFile.read`; or one is not.
    """
    tensors = file.read()
    for name, tensor in tensors.items():
        if (name.endswith("deviation") and not (tensor > 0).all()) or (name.endswith("_var") and (tensor < 0).any()):
            raise file.damaged(f"{name} must be positive")
    return tensors
