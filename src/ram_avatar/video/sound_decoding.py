"""Decoding of a file's audio. Runs in the confined process only, see `decoding`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from ..core.errors import UserError
from .decoding import open_media

RATE = 48000
"""Samples per second; Opus does not support 44100."""


@contextmanager
def open_sound(path: Path) -> Iterator[tuple[av.container.InputContainer, float | None]]:
    """Open a file, and find the seconds from its first image to its first sound; None if it is silent.

    Raises:
        UserError: see `decoding.open_media`.
    """
    with open_media(path) as container:
        streams = container.streams
        if not streams.audio:
            yield container, None
            return
        sound = _start(streams.audio[0])
        picture = _start(streams.video[0]) if streams.video else None
        yield container, 0.0 if sound is None or picture is None else sound - picture


def decode_sound(path: Path, container: av.container.InputContainer) -> Iterator[np.ndarray]:
    """Yield the sound in parts [2, N] float32, at `RATE`.

    Raises:
        UserError: it is damaged.
    """
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
    try:
        for frame in container.decode(audio=0):
            yield from (part.to_ndarray() for part in resampler.resample(frame))
        yield from (part.to_ndarray() for part in resampler.resample(None))
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: the sound is damaged and cannot be decoded") from error


def _start(stream: av.stream.Stream) -> float | None:
    """Return the time of a stream's first frame in seconds, if the file states it."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)
