"""A thread that runs one job at a time."""

import threading
from collections.abc import Callable


class WorkerThread:
    """Runs one job at a time in its own thread, without a queue. Jobs must not raise.

    It is a daemon thread: a job that hangs inside a library does not keep the program from exiting.
    """

    def __init__(self, name: str):
        self._job: Callable[[], None] | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, job: Callable[[], None]) -> None:
        """Start a job, after the previous one is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._job is None)
            self._job = job
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until the job is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._job is None)

    def close(self) -> None:
        """Finish the job and end the thread: a library's thread state must not outlive the interpreter."""
        with self._changed:
            self._changed.wait_for(lambda: self._job is None)
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._job is not None or self._closing)
                if self._job is None:
                    return
                job = self._job
            try:
                job()
            finally:
                with self._changed:
                    self._job = None
                    self._changed.notify_all()
