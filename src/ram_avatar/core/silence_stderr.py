"""Discard what native libraries print to the terminal: greetings and warnings that help no user."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _Silence:
    """Descriptor 2 points at nothing while any block is open, in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._kept = -1  # the real stderr
        self._stream: TextIO | None = None  # Python's, which writes to descriptor 2
        self._detour: TextIO | None = None  # in its place meanwhile: writes to the real stderr

    def enter(self) -> None:
        with self._lock:
            self._open += 1
            if self._open > 1:
                return
            self._kept = os.dup(2)
            if _writes_to_2(sys.stderr):
                self._stream = sys.stderr
                self._stream.flush()
                self._detour = os.fdopen(os.dup(2), "w", buffering=1, errors=self._stream.errors)
                sys.stderr = self._detour
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            os.close(nothing)

    def leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open:
                return
            os.dup2(self._kept, 2)
            os.close(self._kept)
            if self._detour is not None and sys.stderr is self._detour:
                sys.stderr = self._stream
            self._stream = self._detour = None  # closed once no thread prints to it any more


_silence = _Silence()


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard within the block what native code writes to file descriptor 2, past Python.

    What Python prints to `sys.stderr` still appears, from every thread. Blocks may nest, and overlap in several
    threads.
    """
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()


def _writes_to_2(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 2
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return False
