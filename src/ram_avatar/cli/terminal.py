"""Progress on the terminal: bars with the time left, a spinner, notes."""

import os
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOG_EVERY = 15.0  # seconds between lines where there is no terminal to draw on


class TerminalProgress:
    """Draws bars on a terminal, and prints a line now and then into a file or a pipe."""

    def __init__(self):
        # A descriptor of its own: the bars go on where the libraries' stderr is silenced.
        self._file = os.fdopen(os.dup(2), "w")
        self.console = Console(file=self._file, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks = {}
        self._logged = 0.0

    def __enter__(self) -> "TerminalProgress":
        self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        self._bars.stop()
        self._file.close()

    def step(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks or done == 1:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)
        if not self.console.is_terminal and (done == total or time.monotonic() - self._logged > _LOG_EVERY):
            self._logged = time.monotonic()
            self.console.print(f"{label}: {done}/{total}", soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)

    def wait(self, text: str) -> AbstractContextManager:
        if not self.console.is_terminal:
            self.note(text)
        return _Waiting(self._bars, text)


class _Waiting:
    """A spinner among the bars, gone when it is over."""

    def __init__(self, bars: Progress, text: str):
        self._bars, self._text = bars, text

    def __enter__(self) -> None:
        self._task = self._bars.add_task(self._text, total=None)

    def __exit__(self, *_) -> None:
        self._bars.remove_task(self._task)
