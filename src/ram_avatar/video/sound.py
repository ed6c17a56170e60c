"""Carries the sound of one file into another, cut to the length of its pictures (PyAV)."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from ..core.errors import UserError


class Sound:
    """Copies the sound of `source`, from the time of its first picture on, into `stream` of another file.

    Args:
        source: an open file with sound; `close` closes it.
        stream: a new audio stream at `Sound.RATE`.

    Raises:
        UserError: the sound is damaged (from any method).
    """

    RATE = 48000
    """Samples per second; Opus takes no 44100."""

    def __init__(self, source: av.container.InputContainer, stream: av.AudioStream) -> None:
        self.stream = stream
        self._source = source
        self._samples = 0
        self._pending = av.AudioFifo()
        self._decoded = self._decode()
        pictures, sound = source.streams.video, source.streams.audio[0]
        if pictures and pictures[0].start_time is not None and sound.start_time is not None:
            delay = sound.start_time * sound.time_base - pictures[0].start_time * pictures[0].time_base
            self._shift(round(delay * self.RATE))

    def encode_until(self, seconds: Fraction) -> list[av.Packet]:
        """Packets of the sound up to `seconds`, as far as there is any."""
        samples = int(seconds * self.RATE) - self._samples
        frame = self._take(samples) if samples else None
        if frame is None:
            return []
        frame.pts, frame.time_base = self._samples, Fraction(1, self.RATE)
        self._samples += frame.samples
        return self.stream.encode(frame)

    def close(self) -> None:
        """Close the file that the sound comes from."""
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
        """Put silence before the sound, or cut its beginning off."""
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
