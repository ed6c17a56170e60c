"""Progress on the terminal: bars with the time left, spinners, notes; plain lines if there is no terminal."""

import os
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..core.text import printable

_LOG_TENTHS = 10  # a line at each tenth of the work, where there is no terminal to draw on
_LOG_EVERY = 2.0  # seconds between such lines, at least


class TerminalProgress:
    """Draws bars on a terminal; prints a line now and then to a file or a pipe. A context manager."""

    def __init__(self) -> None:
        # A descriptor of its own, so that bars keep moving while the libraries' stderr is silenced.
        # Names of files need not be text.
        self._file = os.fdopen(os.dup(2), "w", errors="backslashreplace")
        self.console = Console(file=self._file, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._log = _Log(self.console)

    def __enter__(self) -> "TerminalProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        self._file.close()

    def step(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of the work called `label` are finished."""
        label = printable(label)
        if not self.console.is_terminal:
            self._log.step(label, done, total)
            return
        if label not in self._tasks or done == 1:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)

    def note(self, text: str) -> None:
        """Print a line that the user should read."""
        self.console.print(printable(text), soft_wrap=True, markup=False)

    def wait(self, text: str) -> AbstractContextManager[None]:
        """Return a context that shows a spinner; without a terminal, `text` is printed once."""
        if not self.console.is_terminal:
            self.note(text)
        return _Spinner(self._bars, printable(text))


class _Log:
    """Prints steps as lines: the last one of a piece of work, and few of the others."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._label, self._tenth, self._printed = "", 0, 0.0

    def step(self, label: str, done: int, total: int) -> None:
        if label != self._label or done == 1:
            self._label, self._tenth = label, 0
        tenth, now = _LOG_TENTHS * done // total, time.monotonic()
        if done < total and (tenth == self._tenth or now - self._printed < _LOG_EVERY):
            return
        self._tenth, self._printed = tenth, now
        self._console.print(f"{label}: {done}/{total}", soft_wrap=True, markup=False)


class _Spinner(AbstractContextManager[None]):
    """A spinner among the bars, removed on exit."""

    def __init__(self, bars: Progress, text: str) -> None:
        self._bars, self._text = bars, text

    def __enter__(self) -> None:
        self._task = self._bars.add_task(self._text, total=None)

    def __exit__(self, *_: object) -> None:
        self._bars.remove_task(self._task)
