"""How long-running work reports its progress."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """What reports go to. The command line draws bars with one; functions that take one default to `SILENT`."""

    def step(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of the work called `label` are finished."""

    def note(self, text: str) -> None:
        """Report something that the user should read: a finding, a warning, a file that is ready."""

    def wait(self, text: str) -> AbstractContextManager[None]:
        """Return a context for work of unknown length, which shows `text` meanwhile."""
        ...


class Silent:
    """A progress that reports nothing; a base for those that report some of it."""

    def step(self, label: str, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def wait(self, text: str) -> AbstractContextManager[None]:
        return nullcontext()


SILENT: Progress = Silent()


def follow(items: Iterable[Item], progress: Progress, label: str, total: int) -> Iterator[Item]:
    """Yield the items, and report a step after each."""
    for done, item in enumerate(items, 1):
        yield item
        progress.step(label, done, total)
