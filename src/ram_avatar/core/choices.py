"""Options that take one of a few words."""

from collections.abc import Sequence

from .errors import UserError

ACCELERATORS = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise a UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} is one of {', '.join(map(str, choices))}, not '{value}'")
