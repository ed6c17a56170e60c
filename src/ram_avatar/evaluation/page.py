"""Pages: the templates beside this file, filled in; each is one self-contained HTML file for screen and print."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ..core.files import atomic_file


def write_page(path: str | Path, template: str, **values: object) -> None:
    """Fill in a template, and write the page atomically.

    Args:
        template: name of a file in this package.
        values: what the template shows, by name.

    Raises:
        UserError: `path` cannot be written.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_read)
    )
    environment.filters["heading"] = lambda text: text[:1].upper() + text[1:]
    page = environment.get_template(template).render(**values)
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
