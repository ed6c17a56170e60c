"""Copying the audio of one file into another, cut to the length of its video (PyAV)."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from ..core.errors import UserError


class Sound:
    """Copies the audio of `source`, from the time of its first frame, into `stream` of another file.

    Args:
        source: an open file with audio; closed by `close`.
        stream: a new audio stream at `Sound.RATE`.

    Raises:
        UserError: the audio is damaged (from any method).
    """

    RATE = 48000
    """Samples per second; Opus does not support 44100."""

    def __init__(self, source: av.container.InputContainer, stream: av.AudioStream) -> None:
        self.stream = stream
        self._source = source
        self._samples = 0
        self._pending = av.AudioFifo()
        self._decoded = self._decode()
        begins = [_start(stream) for stream in (source.streams.audio[0], *source.streams.video[:1])]
        if len(begins) == 2 and begins[0] is not None and begins[1] is not None:
            self._shift(round((begins[0] - begins[1]) * self.RATE))

    def encode_until(self, seconds: Fraction) -> list[av.Packet]:
        """Encode the audio up to `seconds`, as far as there is any, and return its packets."""
        samples = int(seconds * self.RATE) - self._samples
        frame = self._take(samples) if samples else None
        if frame is None:
            return []
        frame.pts, frame.time_base = self._samples, Fraction(1, self.RATE)
        self._samples += frame.samples
        return self.stream.encode(frame)

    def close(self) -> None:
        """Close the source file."""
        self._source.close()

    def _decode(self) -> Iterator[av.AudioFrame]:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=self.RATE)
        try:
            for frame in self._source.decode(audio=0):
                yield from resampler.resample(frame)
            yield from resampler.resample(None)
        except av.error.InvalidDataError as error:
            path = self._source.name.removeprefix("file:")
            raise UserError(f"{path}: the sound is damaged and cannot be decoded") from error

    def _shift(self, samples: int) -> None:
        """Insert silence before the audio, or cut off its beginning."""
        if samples > 0:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, samples), np.float32), format="fltp")
            silence.sample_rate = self.RATE
            self._pending.write(silence)
        elif samples < 0:
            self._take(-samples)

    def _take(self, samples: int) -> av.AudioFrame | None:
        while self._pending.samples < samples and (frame := next(self._decoded, None)) is not None:
            frame.pts = None
            self._pending.write(frame)
        return self._pending.read(samples, partial=True)


def _start(stream: av.stream.Stream) -> Fraction | None:
    """Return the time of a stream's first frame in seconds, if the file states it."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return stream.start_time * stream.time_base
