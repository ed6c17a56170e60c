"""Decoding of one untrusted file in a confined process: `python -m ram_avatar.video.sandbox`.

The process has limits on memory, CPU time and open files, and cannot write files. It writes images to its standard
output, a pipe: a header of 16 bytes (seconds f64, width u32, height u32), then RGB. An error in the file is one line on
standard error, another pipe, and exit code 2.
"""

import os
import resource
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # loaded only after the process is confined
    import numpy as np

MAX_PICTURE_BYTES = 20 << 20
MAX_FILM_BYTES = 300 << 20
MAX_FILM_SECONDS = 600.0
MAX_SIDE = 4096  # pixels of a file's longer side
SIDE = {"film": 640, "picture": 2048}  # pixels of the longer side of the output
HEAD = struct.Struct("<dII")
_MEMORY = 4 << 30  # bytes of address space; the libraries take a quarter
_PROCESSOR = {"film": 600, "picture": 20}  # seconds


def confine(kind: str) -> None:
    """Restrict this process to what decoding needs. Exceeding a limit ends it."""
    for limit, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _PROCESSOR[kind]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(limit, (most, most))


def main(kind: str, path: str, rotate: str = "0") -> None:
    """Decode a file. Arguments are those of the command line: "film" or "picture", a path, degrees clockwise."""
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_SIDE * MAX_SIDE)
    confine(kind)
    from ..core.errors import UserError

    try:
        _film(Path(path), int(rotate)) if kind == "film" else _picture(Path(path))
    except UserError as error:
        _fail(str(error))
    except MemoryError:
        _fail(f"{path} takes too much memory")


def _film(path: Path, rotate: int) -> None:
    from ..core.errors import UserError
    from . import probe, read_frames

    info = probe(path, rotate)
    if max(info.width, info.height) > MAX_SIDE or info.duration > MAX_FILM_SECONDS:
        raise UserError(
            f"{path} is {info.width} x {info.height} and {info.duration:.0f} s long; at most {MAX_SIDE} pixels a side "
            f"and {MAX_FILM_SECONDS:.0f} s are accepted"
        )
    for index, frame in enumerate(read_frames(path, rotate=rotate)):
        _write(frame, index / info.fps, SIDE["film"])


def _picture(path: Path) -> None:
    import cv2

    from ..core.errors import UserError

    try:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than OPENCV_IO_MAX_IMAGE_PIXELS
        raise UserError(f"{path} is too large; at most {MAX_SIDE} x {MAX_SIDE} pixels are accepted") from None
    if picture is None:
        raise UserError(f"{path} is not an image that can be read (JPEG, PNG and WebP can)")
    _write(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), 0.0, SIDE["picture"])


def _write(rgb: "np.ndarray", seconds: float, side: int) -> None:
    from .scaling import fit_within

    rgb = fit_within(rgb, side)
    try:
        sys.stdout.buffer.write(HEAD.pack(seconds, rgb.shape[1], rgb.shape[0]) + rgb.tobytes())
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has finished
        os._exit(0)


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
