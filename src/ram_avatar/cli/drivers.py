"""How an avatar follows its drivers, as a table on the terminal."""

from collections.abc import Sequence

from ..core.progress import Progress
from ..evaluation.document import method_label
from ..evaluation.drivers import TABLE_METHODS, DriverResult, formatted
from ..evaluation.figures import COLUMNS

_NAME, _COLUMN = 22, 8  # characters


def note_drivers(results: Sequence[DriverResult], progress: Progress) -> None:
    """Note a row for each driver, worst first, and below it what the detector sees of the driver twice."""
    titles = [column.title for column in COLUMNS.values()]
    progress.note(f"{'Driver':{_NAME}}" + "".join(f"{title:>{_COLUMN}}" for title in titles))
    for result in results:
        for method in TABLE_METHODS:
            name = result.name if method == TABLE_METHODS[0] else f"  {method_label(method).lower()}"
            cells = formatted(result.values(method))
            progress.note(f"{name[:_NAME]:{_NAME}}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells))
