"""Parametric bodies: turn identity, pose and facial actions into a posed mesh."""

from pathlib import Path

from ..core.errors import UserError
from ..core.progress import SILENT, Progress
from .anny import AnnyTemplate
from .smplx import KIND as SMPLX_KIND
from .smplx import SmplxTemplate, find_model
from .template import Body, BodyTemplate, Posed

__all__ = ["AnnyTemplate", "Body", "BodyTemplate", "Posed", "SmplxTemplate", "load_template"]


def load_template(
    name: str = AnnyTemplate.name, *, smplx_model: str | Path | None = None, progress: Progress = SILENT
) -> BodyTemplate:
    """Load a template by its name, as captures and avatars state it, or by its kind, "anny" or "smplx".

    Args:
        smplx_model: SMPL-X's model file; None for the one that the environment variable `RAM_AVATAR_SMPLX` names.
        progress: shows what is built for the first time.

    Raises:
        UserError: no such template; SMPL-X's file is missing, or is another model.
    """
    if name in ("anny", AnnyTemplate.name):
        return AnnyTemplate.load(progress)
    if name.split("-")[0] != SMPLX_KIND:
        raise UserError(f"body template '{name}' is not known; this version has {AnnyTemplate.name} and {SMPLX_KIND}")
    path = find_model(smplx_model, name)
    template = SmplxTemplate.load(path)
    if name not in (SMPLX_KIND, template.name):
        raise UserError(
            f"{path}: holds the body template '{template.name}', but '{name}' is needed; "
            "set RAM_AVATAR_SMPLX to the model file that was used before (neutral, male, female, or another version)"
        )
    return template
