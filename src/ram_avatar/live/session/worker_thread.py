"""One thing done beside another: a thread with no queue."""

import threading
from collections.abc import Callable


class Beside:
    """Does one piece of work at a time in a thread of its own. What it is given must not raise.

    A daemon: work inside a library that never comes back does not keep the program from ending.
    """

    def __init__(self, name: str):
        self._work: Callable[[], None] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], None]) -> None:
        """Begin with it; waits until what was begun before is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._work is None)
            self._work = work
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until nothing is left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._work is None)

    def close(self) -> None:
        """Finish, and end the thread: a library's part of it may not outlive the interpreter."""
        with self._changed:
            self._changed.wait_for(lambda: self._work is None)
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._work is not None or self._ended)
                if self._work is None:
                    return
                work = self._work
            try:
                work()
            finally:
                with self._changed:
                    self._work = None
                    self._changed.notify_all()
