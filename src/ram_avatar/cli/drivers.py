"""How an avatar follows several drivers, as a table on the terminal."""

from collections.abc import Sequence

from ..core.progress import Progress
from ..evaluation.document import method_label
from ..evaluation.drivers import TABLE_METHODS, DriverResult, formatted
from ..evaluation.figures import COLUMNS

_WIDEST = 24  # characters of a name


def note_drivers(results: Sequence[DriverResult], progress: Progress) -> None:
    """Note a row for each driver, worst first, and below it what the detector sees of the driver twice."""
    titles = [column.title for column in COLUMNS.values()]
    progress.note(f"{'Driver':{_WIDEST}}" + "".join(f"{title:>{_width(title)}}" for title in titles))
    for result in results:
        for method in TABLE_METHODS:
            name = result.folder if method == TABLE_METHODS[0] else f"  {method_label(method).lower()}"
            cells = zip(titles, formatted(result.values(method)), strict=True)
            progress.note(f"{name[:_WIDEST]:{_WIDEST}}" + "".join(f"{cell:>{_width(title)}}" for title, cell in cells))


def _width(title: str) -> int:
    return max(7, len(title) + 1)
