"""Audio of written videos."""

from pathlib import Path

import av
import numpy as np
import pytest
from video_clips import numbered, tone, write

from ram_avatar.core.errors import UserError
from ram_avatar.video import VideoWriter, probe


def waveform(path: Path) -> tuple[np.ndarray, int]:
    """Return the samples of the first channel, and their rate."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=48000)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), 48000


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("source", ["sound.m4a", "sound.wav", "film.mp4", "late_film.mp4"])
def test_audio_is_copied(tmp_path: Path, suffix: str, source: str) -> None:
    pictures_at = {"film.mp4": 0.0, "late_film.mp4": 0.4}.get(source)
    audio = tone(tmp_path / source, begins=900, ends=3000, pictures_at=pictures_at)
    path = write(tmp_path / f"out{suffix}", [numbered(0)] * 50, fps=25, audio_from=audio)
    assert probe(path).has_audio
    samples, rate = waveform(path)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.03)  # cut to the 50 pictures
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    # Frame 0 is the source's first frame, whatever the container's clock says then.
    assert loud[0] / rate == pytest.approx(0.9 - (pictures_at or 0), abs=0.03)
    assert np.sqrt(np.mean(samples[loud[0] :] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_audio_shorter_than_the_video(tmp_path: Path) -> None:
    audio = tone(tmp_path / "short.wav", begins=0, ends=500)
    path = write(tmp_path / "out.mp4", [numbered(0)] * 50, fps=25, audio_from=audio)
    assert probe(path).frames == 50
    assert len(waveform(path)[0]) / 48000 == pytest.approx(0.5, abs=0.05)


def test_sources_without_audio(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.mp4", [numbered(0)] * 5)
    assert not probe(write(tmp_path / "out.mp4", [numbered(0)] * 5, audio_from=silent)).has_audio
    with pytest.raises(UserError, match="no such file"):
        VideoWriter(tmp_path / "a.mp4", 32, 32, 30, audio_from=tmp_path / "missing.mp4")
