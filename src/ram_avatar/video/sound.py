"""Copying the audio of one file into another, cut to the length of its video (PyAV)."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..core.untrusted.files import check_regular
from .sound_decoding import RATE
from .untrusted import Decoder


class Sound:
    """The audio of a file, from the time of its first frame. It is decoded in a confined process.

    Args:
        path: the file.

    Raises:
        UserError: the file cannot be read; from any method: its audio is damaged.

    Attributes:
        exists: whether the file has audio.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path, sys.maxsize)
        self._decoder = Decoder("sound", path, str(path))
        try:
            info = self._decoder.info()
        except BaseException:
            self._decoder.close()
            raise
        self.exists = info["sound"] is True
        if not self.exists:
            self._decoder.close()
        self._begins = min(max(float(info["begins"]), -3600.0), 3600.0)
        self._stream: av.AudioStream | None = None
        self._samples = 0
        self._pending = av.AudioFifo()

    def encode_into(self, stream: av.AudioStream) -> None:
        """Set the stream, at `RATE`, of another file that the audio goes to."""
        self._stream = stream
        self._shift(round(self._begins * RATE))

    def encode_until(self, seconds: Fraction) -> list[av.Packet]:
        """Encode the audio up to `seconds`, as far as there is any, and return its packets."""
        assert self._stream is not None
        samples = int(seconds * RATE) - self._samples
        frame = self._take(samples) if samples else None
        if frame is None:
            return []
        frame.pts, frame.time_base = self._samples, Fraction(1, RATE)
        self._samples += frame.samples
        return self._stream.encode(frame)

    def encode_end(self) -> list[av.Packet]:
        """Return the packets that the encoder still holds."""
        assert self._stream is not None
        return self._stream.encode(None)

    def close(self) -> None:
        """End the process."""
        self._decoder.close()

    def _shift(self, samples: int) -> None:
        """Insert silence before the audio, or cut off its beginning."""
        if samples > 0:
            self._pending.write(_frame(np.zeros((2, samples), np.float32)))
        elif samples < 0:
            self._take(-samples)

    def _take(self, samples: int) -> av.AudioFrame | None:
        while self._pending.samples < samples and (part := self._decoder.wave()) is not None:
            self._pending.write(_frame(part))
        return self._pending.read(samples, partial=True)


def _frame(samples: np.ndarray) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
    frame.sample_rate = RATE
    return frame
