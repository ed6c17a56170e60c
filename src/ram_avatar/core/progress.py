"""How long work tells how far it is."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Somebody who wants to know; the command line draws bars with it."""

    def step(self, label: str, done: int, total: int) -> None:
        """`done` of `total` units of the work called `label` are finished."""

    def note(self, text: str) -> None:
        """Something that the user should read: a finding, a warning, a file that is ready."""

    def wait(self, text: str) -> AbstractContextManager:
        """Shown while something runs whose end cannot be foreseen."""


class Silent:
    """Nobody."""

    def step(self, label: str, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def wait(self, text: str) -> AbstractContextManager:
        return nullcontext()


SILENT: Progress = Silent()
"""The default where nobody watches."""


def follow(items: Iterable[Item], progress: Progress, label: str, total: int) -> Iterator[Item]:
    """The items, with a step told after each."""
    for done, item in enumerate(items, 1):
        yield item
        progress.step(label, done, total)
