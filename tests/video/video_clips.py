"""Synthetic frames, and video files with known content."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from ram_avatar.video import VideoWriter

CHART = np.array(
    [
        [(255, 255, 255), (200, 200, 200), (128, 128, 128), (64, 64, 64), (0, 0, 0), (224, 172, 150)],
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)],
        [(180, 60, 60), (60, 180, 60), (60, 60, 180), (120, 90, 40), (90, 60, 120), (20, 120, 110)],
    ],
    np.uint8,
)
BLOCK = 16


def chart() -> np.ndarray:
    """Return 18 smooth patches (48, 96, 3), unlike any of its rotations and mirror images."""
    return CHART.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)


def error(result: np.ndarray, expected: np.ndarray) -> float:
    """Return the mean absolute error in levels. Shapes must agree."""
    assert result.shape == expected.shape
    assert result.dtype == np.uint8
    return float(np.abs(result.astype(int) - expected).mean())


def patches(image: np.ndarray) -> np.ndarray:
    """Return the mean colour (3, 6, 3) inside each patch of a chart, away from its edges."""
    blocks = image.reshape(3, BLOCK, 6, BLOCK, 3)[:, 4:-4, :, 4:-4]
    return blocks.mean(axis=(1, 3))


def numbered(index: int, size: int = 32) -> np.ndarray:
    """Return a frame that encodes its number, up to 255, in eight black or white stripes."""
    bits = (index >> np.arange(8)) & 1
    stripes = (255 * bits).astype(np.uint8).repeat(size // 8)
    return np.broadcast_to(stripes[None, :, None], (size, size, 3)).copy()


def number(frame: np.ndarray) -> int:
    stripes = frame.reshape(len(frame), 8, -1).mean(axis=(0, 2)) > 128
    return int((stripes << np.arange(8)).sum())


def encode(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Iterable[int] | None = None,
    tick: Fraction = Fraction(1, 30),
    **settings: object,
) -> Path:
    """Encode a clip with PyAV directly. `times` are in units of `tick`; `settings` go to the stream."""
    matrix, tagged = settings.pop("matrix", Colorspace.ITU709), settings.pop("tagged", True)
    full, turn = settings.pop("full_range", False), settings.pop("turn", None)
    options = {"crf": "10"}
    if codec == "libx265":  # time stamps of reordered frames are unreliable in such short clips
        options["x265-params"] = "bframes=0:log-level=none"
    images = list(images)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=settings.pop("rate", 30), options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = tick
        if tagged:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        if turn:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for image, time in zip(images, times or range(len(images)), strict=True):
            source = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            frame = source.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=2 if full else 1)
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write(path: Path, frames: Iterable[np.ndarray], fps: float = 30, **options: object) -> Path:
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, fps, **options) as video:
        for frame in frames:
            video.write(frame)
    return path


def tone(path: Path, *, begins: int, ends: int, pictures_at: float | None = None) -> Path:
    """Write a tone of `ends` milliseconds, silent before `begins`; frames, if any, start at `pictures_at` seconds."""
    rate = 44100
    samples = np.zeros((1, rate * ends // 1000), np.float32)
    first = rate * begins // 1000
    samples[0, first:] = 0.5 * np.sin(np.arange(samples.shape[1] - first) * 2 * np.pi * 440 / rate)
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac" if path.suffix != ".wav" else "pcm_s16le", rate=rate)
        if pictures_at is not None:
            video = container.add_stream("libx264", rate=25)
            video.width = video.height = 32
            for index in range(5):
                picture = av.VideoFrame.from_ndarray(numbered(index), format="rgb24")
                picture.pts = index + round(pictures_at * 25)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def elementary(path: Path, codec: str, count: int, params: dict[str, str] | None = None) -> Path:
    """Write a raw stream: packets without a container or time stamps, with B-frames as by default."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12, options={"crf": "10", **(params or {})})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path
