"""Decoding of one file in a confined process: `python -m ram_avatar.video.sandbox TASK`.

TASK is a JSON object; `_TASKS` lists the kinds. The process has limits on memory, CPU time and open files, and cannot
write files. It answers on its standard output, a pipe, in messages: a head (`HEAD`: kind, seconds, two numbers), then
the content. An error in the file is one line on standard error, another pipe, and exit code 2.

| kind | seconds | numbers | content |
| --- | --- | --- | --- |
| INFO | | bytes of the content, 0 | a JSON object |
| PICT | from the start | width, height | RGB, uint8 |
| WAVE | | channels, samples | float32 |
| BUSY | | 0, 0 | none: work goes on |
"""

import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # loaded only after the process is confined
    import numpy as np

MAX_PICTURE_BYTES = 20 << 20
MAX_FILM_BYTES = 300 << 20
MAX_FILM_SECONDS = 600.0
MAX_UPLOAD_SIDE = 4096  # pixels of an uploaded file's longer side
SIDE = {"film": 640, "picture": 2048}  # pixels of the longer side of the output
HEAD = struct.Struct("<4sdII")
INFO, PICT, WAVE, BUSY = b"INFO", b"PICT", b"WAVE", b"BUSY"
_FILM_FPS = 30  # frames of faster films are left out
_BUSY_EVERY = 1.0  # seconds
_MEMORY = 4 << 30  # bytes of address space; the libraries take a fifth
_PROCESSOR = {"film": 600, "picture": 20}  # seconds; a user's own video may be long


def confine(kind: str) -> None:
    """Restrict this process to what decoding needs. Exceeding a limit ends it. Does nothing on Windows."""
    try:
        import resource
    except ImportError:
        return
    for limit, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _PROCESSOR.get(kind, resource.RLIM_INFINITY)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            most = hard if most == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def main(task: dict) -> None:
    """Do a task; see the module's description."""
    path = Path(task["path"])
    confine(task["kind"])
    out = _Output()
    from ..core.errors import UserError

    try:
        _TASKS[task["kind"]](path, task, out)
    except UserError as error:
        out.fail(str(error))
    except MemoryError:
        out.fail(f"{path}: takes too much memory")
    except BrokenPipeError:  # the reader has finished
        os._exit(0)
    except Exception as error:  # whatever a damaged file makes a decoder's wrapper do
        out.fail(f"{path}: damaged, cannot be decoded ({type(error).__name__}: {error})")


class _Output:
    """The process's two pipes; native libraries lose theirs, since they print what they like."""

    def __init__(self) -> None:
        self._messages, self._errors = os.dup(1), os.dup(2)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        self._latest = time.monotonic()

    def info(self, values: dict) -> None:
        """Send a JSON object."""
        content = json.dumps(values).encode()
        self._send(INFO, 0.0, len(content), 0, content)

    def picture(self, rgb: "np.ndarray", seconds: float) -> None:
        """Send an image [H, W, 3] uint8."""
        self._send(PICT, seconds, rgb.shape[1], rgb.shape[0], rgb.data.cast("B"))

    def wave(self, samples: "np.ndarray") -> None:
        """Send sound [C, N] float32."""
        import numpy as np

        channels, count = samples.shape
        self._send(WAVE, 0.0, channels, count, np.ascontiguousarray(samples).data.cast("B"))

    def busy(self) -> None:
        """Report, now and then, that work goes on."""
        if time.monotonic() - self._latest > _BUSY_EVERY:
            self._send(BUSY, 0.0, 0, 0, b"")

    def fail(self, message: str) -> NoReturn:
        """Report an error, and end."""
        os.write(self._errors, message.encode(errors="replace")[:4000] + b"\n")
        os._exit(2)  # at once: at the exit, a library might fall over what it left

    def _send(self, kind: bytes, seconds: float, first: int, second: int, content: "bytes | memoryview") -> None:
        for part in (HEAD.pack(kind, seconds, first, second), content):
            left = memoryview(part)
            while left:
                left = left[os.write(self._messages, left) :]
        self._latest = time.monotonic()


def _inspect(path: Path, task: dict, out: _Output) -> None:
    from .decoding import inspect

    out.info(inspect(path, task["rotate"], out.busy).as_dict())


def _frames(path: Path, task: dict, out: _Output) -> None:
    from .decoding import decode_frames, inspect

    info = inspect(path, task["rotate"], out.busy)
    out.info(info.as_dict())
    wanted = range(info.frames)[task["start"] : task["stop"] : task["step"]]
    for index, frame in zip(wanted, decode_frames(info, wanted, busy=out.busy), strict=True):
        out.picture(frame, index / info.fps)


def _film(path: Path, task: dict, out: _Output) -> None:
    from ..core.errors import UserError
    from .decoding import decode_frames, inspect

    info = inspect(path, task["rotate"])
    if max(info.width, info.height) > MAX_UPLOAD_SIDE or info.duration > MAX_FILM_SECONDS:
        raise UserError(
            f"{path} is {info.width} x {info.height} and {info.duration:.0f} s long; at most {MAX_UPLOAD_SIDE} pixels "
            f"a side and {MAX_FILM_SECONDS:.0f} s are accepted"
        )
    wanted = range(0, info.frames, max(1, round(info.fps / _FILM_FPS)))
    for index, frame in zip(wanted, decode_frames(info, wanted, SIDE["film"]), strict=True):
        out.picture(frame, index / info.fps)


def _picture(path: Path, task: dict, out: _Output) -> None:
    from ..core.untrusted.files import read_bytes
    from ..core.untrusted.pictures import decode_picture
    from .scaling import fit_within

    picture = decode_picture(read_bytes(path, MAX_PICTURE_BYTES), str(path), max_side=MAX_UPLOAD_SIDE)
    out.picture(fit_within(picture, SIDE["picture"]), 0.0)


def _sound(path: Path, task: dict, out: _Output) -> None:
    from .sound_decoding import decode_sound, open_sound

    with open_sound(path) as (container, begins):
        out.info({"sound": begins is not None, "begins": begins or 0.0})
        if begins is not None:
            for samples in decode_sound(path, container):
                out.wave(samples)


_TASKS: dict[str, Callable[[Path, dict, _Output], None]] = {
    "probe": _inspect,  # INFO: `VideoInfo.as_dict`
    "frames": _frames,  # the same, then the frames `start`, `stop`, `step` as PICT
    "film": _film,  # PICT, small
    "picture": _picture,  # one PICT
    "sound": _sound,  # INFO: whether there is `sound`, seconds from picture to sound; then WAVE
}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
