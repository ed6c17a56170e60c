"""Ranges of a dataclass's fields."""

from collections.abc import Mapping


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless a number lies between two bounds, inclusive."""
    if not low <= value <= high:  # so written, NaN is refused, too
        raise ValueError(f"{name}: expected {low:.10g} to {high:.10g}, found {value:.10g}")


def check_ranges(record: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise a ValueError unless fields lie between bounds, inclusive. Of a tuple, every number must; None always does.

    Args:
        record: whose attributes to check.
        ranges: bounds by the attribute's name.
    """
    for name, (low, high) in ranges.items():
        value = getattr(record, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None:
                check_range(name, number, low, high)
