"""Parametric bodies: what turns identity, pose and facial actions into a posed mesh."""

from ..errors import UserError
from .anny import AnnyTemplate
from .template import Body, BodyTemplate, Posed

__all__ = ["AnnyTemplate", "Body", "BodyTemplate", "Posed", "load_template"]


def load_template(name: str = AnnyTemplate.name, status=None) -> BodyTemplate:
    """The template called `name`; `status(text)` is a context manager shown while it is built for the first time.

    Raises:
        UserError: no such template.
    """
    if name != AnnyTemplate.name:
        raise UserError(f"body template '{name}' is not known here; this version has: {AnnyTemplate.name}")
    return AnnyTemplate.load(status)
