"""Video frames in and out, as upright RGB arrays at a constant frame rate (PyAV)."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from ram_avatar.errors import UserError
from ram_avatar.files import check_output, disk_errors, temporary_sibling
from ram_avatar.sound import Sound

# swscale's defaults round each step down and share chroma between neighbours: two levels darker on average.
_EXACT = int(
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_UNSPECIFIED = 2  # H.273 code of matrix, primaries and transfer that nobody wrote down
_HDR = (int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67))
_KNOWS_ITS_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")


@dataclass(frozen=True)
class VideoInfo:
    """What `read_frames` will give for a file."""

    path: Path
    width: int
    """Pixels, upright and with square pixels."""
    height: int
    rate: Fraction
    """Frames per second, exact (30000/1001)."""
    frames: int
    """Number of frames at that constant rate."""
    has_audio: bool

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.rate)

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.rate)


# ---------------------------------------------------------------------------------------------- reading


def probe(path: str | Path) -> VideoInfo:
    """Look at a video: reads the time stamps of the whole file and decodes its first frame.

    The rate is the one in the header where it agrees with the time stamps to half a frame over the whole
    clip, and the mean rate of the time stamps otherwise (some recorders write a header of 1000 fps).

    Raises:
        UserError: the file is missing, a folder, empty, unreadable, not a video, or cut short.
    """
    path = Path(path)
    timing = _timing(path)
    with _open(path) as container:
        stream = _video_stream(path, container)
        size = _square_size(stream)
        first = next(_decode(path, container, stream), None)
        if first is None:
            raise UserError(f"{path}: no frame of the video can be decoded; the file is damaged")
        height, width = _to_rgb(first, size).shape[:2]
        return VideoInfo(path, width, height, timing.rate, timing.frames, bool(container.streams.audio))


def read_frames(
    path: str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Iterate over the frames of a video; only a few are in memory at any time.

    * Constant rate: frame k is the one whose time stamp is nearest to k / fps after the first, with
      `probe(path).fps`. Frames of a variable-rate video are dropped or repeated for that, never blended.
    * Upright: rotation and mirroring written by the camera (the display matrix) are applied, and pixels
      that are not square are made so by enlarging the shorter way.
    * Colour: the matrix and range that the file states, BT.709 for HD and BT.601 below where it states
      none. HDR (PQ, HLG) is brought to BT.709 with reference white (203 cd/m2) as white.
    * Transparency is composited over black, as players show it.

    Args:
        path: the video file.
        start, stop: range of frames, as in a slice of non-negative indices. Frames before `start` are
            decoded all the same (seeking is not exact in every container) but not converted.
        on_progress: called with (frames given, frames in all) after each frame.

    Returns:
        An iterator of (H, W, 3) uint8 RGB arrays.

    Raises:
        UserError: at once as in `probe`; while iterating, where a damaged part does not decode.
    """
    info = probe(path)
    return _read_range(info, range(info.frames)[start:stop], on_progress)


def _read_range(
    info: VideoInfo, wanted: range, on_progress: Callable[[int, int], None] | None
) -> Iterator[np.ndarray]:
    with _open(info.path) as container:
        stream = _video_stream(info.path, container)
        size = _square_size(stream)
        for index, frame in _resample(_decode(info.path, container, stream), info.rate, wanted.stop):
            if index < wanted.start:
                continue
            yield _to_rgb(frame, size)
            if on_progress:
                on_progress(index - wanted.start + 1, len(wanted))


def _open(path: Path) -> av.container.InputContainer:
    with disk_errors(path), open(path, "rb") as file:
        head = file.read(12)
    if not head:
        raise UserError(f"{path} is empty (0 bytes)")
    try:
        # The prefix keeps ffmpeg from reading names such as "a:b.mp4" as network addresses.
        container = av.open(f"file:{path}")
    except (av.error.FFmpegError, UnicodeError) as error:
        if head[4:8] == b"ftyp":
            cause = "is cut short: its index is missing, as after a recording or download that did not finish"
            raise UserError(f"{path} {cause}") from error
        raise UserError(f"{path} is not a video that can be read") from error
    return container


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise UserError(f"{path} is a picture, not a video")
    if container.format.name == "tty":  # ffmpeg draws any .txt file
        raise UserError(f"{path} is not a video that can be read")
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:  # the cover of a song
            return stream
    what = "holds sound but no video" if container.streams.audio else "holds no video"
    raise UserError(f"{path} {what}")


@dataclass(frozen=True)
class _Timing:
    rate: Fraction
    frames: int


def _timing(path: Path) -> _Timing:
    """Rate and number of frames from the time stamps of all packets, which takes no decoding."""
    with _open(path) as container:
        video = _video_stream(path, container)
        times, end, broken = [], Fraction(0), False
        with suppress(av.error.FFmpegError):  # a cut file; what follows tells
            for packet in container.demux():
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is None or packet.time_base is None:
                    continue
                end = max(end, (stamp + (packet.duration or 0)) * packet.time_base)
                if packet.stream == video and not packet.is_discard:
                    times.append(stamp * packet.time_base)
                    broken = packet.is_corrupt
        stated = Fraction(container.duration or 0, av.time_base)
        missing = container.format.name in _KNOWS_ITS_LENGTH and stated - end > max(0.5, 0.02 * stated)
        if broken or missing:
            promise = f" of the {float(stated):.1f} s that its header states" if missing else ""
            raise UserError(f"{path} is cut short: it ends after {float(end):.1f} s{promise}; copy it again")
        if not times:
            raise UserError(f"{path} holds no video frames")
        header, span = video.average_rate, max(times) - min(times)
    if span == 0:
        return _Timing(header or Fraction(25), 1)
    if header and abs(header * span - (len(times) - 1)) <= Fraction(1, 2):
        rate = header
    else:
        rate = ((len(times) - 1) / span).limit_denominator(1001)
    return _Timing(rate, math.floor(span * rate + Fraction(1, 2)) + 1)


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ("vp8", "vp9"):
        # ffmpeg's own decoders ignore the transparency of WebM.
        decoder = av.CodecContext.create("libvpx-vp9" if decoder.name == "vp9" else "libvpx", "r")
    decoder.thread_type = "AUTO"
    time, last = None, Fraction(0)  # of the latest frame, and of all packets
    for packet in container.demux(stream):
        if packet.pts is not None and not packet.is_discard:
            last = max(last, packet.pts * packet.time_base)
        try:
            for frame in decoder.decode(packet):
                if frame.pts is not None:
                    time = _time(frame)
                    yield frame
        except av.error.InvalidDataError as error:
            if time is not None:  # else a recording that starts between two key frames
                raise _damaged(path, time) from error
    if time is not None and last - time > Fraction(1, 2):  # some decoders skip what they cannot read
        raise _damaged(path, time)


def _damaged(path: Path, time: Fraction) -> UserError:
    return UserError(f"{path} is damaged after {float(time):.1f} s: cut it there or encode it again")


def _time(frame: av.VideoFrame) -> Fraction:
    """Seconds."""
    return frame.pts * frame.time_base


def _resample(
    frames: Iterator[av.VideoFrame], rate: Fraction, count: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(k, the frame nearest in time to k / rate after the first) for k < count."""
    current = next(frames)
    first, index = _time(current), 0
    while index < count:
        following = next(frames, None)
        change = None if following is None else (_time(current) + _time(following)) / 2
        while index < count and (change is None or first + index / rate <= change):
            yield index, current
            index += 1
        current = following


def _square_size(stream: av.VideoStream) -> tuple[int, int]:
    """Width and height with square pixels, before rotation."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if abs(aspect - 1) < 0.01:  # encoders write 4559:4560 where they mean 1
        return stream.width, stream.height
    if aspect > 1:
        return round(stream.width * aspect), stream.height
    return stream.width, round(stream.height / aspect)


def _to_rgb(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright; `size` is (width, height) before rotation."""
    colour = {}
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
        hd = frame.width >= 1280 or frame.height >= 720
        colour["src_colorspace"] = Colorspace.ITU709 if hd else Colorspace.ITU601
    if frame.color_trc in _HDR and frame.color_primaries != _UNSPECIFIED:
        colour.update(dst_color_trc=ColorTrc.BT709, dst_color_primaries=ColorPrimaries.BT709)
    alpha = any(component.is_alpha for component in frame.format.components)
    image = frame.to_ndarray(
        format="rgba" if alpha else "rgb24", width=size[0], height=size[1], interpolation=_EXACT, **colour
    )
    if alpha:
        image = ((image[..., :3].astype(np.uint16) * image[..., 3:] + 127) // 255).astype(np.uint8)
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    return image if matrix is None else _turn(image, np.frombuffer(matrix, np.int32))


def _turn(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a display matrix (ISO/IEC 14496-12: (x', y', 1) = (x, y, 1) M) to the nearest 90 degrees."""
    a, b, _, c, d = matrix[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):  # x' = c y, y' = b x
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


# ---------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class _Encoding:
    container: str
    codec: str
    pixels: str
    options: dict[str, str]
    sound: str = "aac"
    multiple: int = 1
    """Width and height must be multiples of this."""


_H264 = {"crf": "17", "preset": "veryfast"}
_VP9 = {"crf": "18", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
_OPAQUE = {
    ".mp4": _Encoding("mp4", "libx264", "yuv420p", _H264, multiple=2),
    ".mov": _Encoding("mov", "libx264", "yuv420p", _H264, multiple=2),
    ".webm": _Encoding("webm", "libvpx-vp9", "yuv420p", _VP9, sound="libopus"),
}
_TRANSPARENT = {
    ".mov": _Encoding("mov", "prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"}),
    ".webm": _Encoding("webm", "libvpx-vp9", "yuva420p", _VP9, sound="libopus"),
}


def _encoding(path: Path, alpha: bool) -> _Encoding:
    table = _TRANSPARENT if alpha else _OPAQUE
    if path.suffix.lower() in table:
        return table[path.suffix.lower()]
    what = "a transparent video" if alpha else "a video"
    raise UserError(f"{path}: the name of {what} has to end in {' or '.join(table)}")


class VideoWriter:
    """Writes a video that is whole or not there: `with VideoWriter(...) as video: video.write(frame)`.

    Frames go to a hidden file beside `path`, which takes its name at the end of the block; an exception
    in the block, Ctrl-C included, removes it. A file that exists is replaced: see `files.check_output`.

    H.264 in .mp4 and .mov, VP9 in .webm; with `alpha`, ProRes 4444 in .mov and VP9 in .webm, both with
    straight (not premultiplied) colours. BT.709, limited range, tagged so. H.264 needs even sizes: an odd
    one grows by a repeated row or column.

    Args:
        path: the file to be; its suffix says the format.
        width, height: pixels of every frame.
        fps: frames per second; the nearest fraction over at most 1001 is used.
        audio_from: a file whose sound goes along from its first picture on, encoded as AAC (Opus in .webm),
            no longer than the video. A file without sound gives a silent video.
        metadata: title, artist and so on; `comment` is "Generated by RAM-Avatar" unless given.
        alpha: frames have a fourth channel, 0 for transparent.

    Raises:
        UserError: a suffix that cannot hold it; no such folder; the disk is full; `audio_from` unreadable.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float | Fraction,
        *,
        audio_from: str | Path | None = None,
        metadata: dict[str, str] | None = None,
        alpha: bool = False,
    ) -> None:
        self.path = Path(path)
        self.shape = (height, width, 4 if alpha else 3)
        self.rate = Fraction(fps).limit_denominator(1001)
        self.frames = 0
        self._encoding = _encoding(self.path, alpha)
        check_output(self.path, overwrite=True)
        if self.path.is_dir():
            raise UserError(f"{self.path} is a folder; choose another name")
        sound = None if audio_from is None else _open(Path(audio_from))

        self._temporary = temporary_sibling(self.path)
        options = {} if self._encoding.container == "webm" else {"movflags": "+faststart"}
        target = f"file:{self._temporary}"
        self._container = av.open(target, "w", format=self._encoding.container, options=options)
        self._container.metadata.update({"comment": "Generated by RAM-Avatar"} | (metadata or {}))
        multiple = self._encoding.multiple
        self._padding = ((0, -height % multiple), (0, -width % multiple), (0, 0))
        self._stream = self._container.add_stream(
            self._encoding.codec, rate=self.rate, options=self._encoding.options
        )
        self._stream.width = width + self._padding[1][1]
        self._stream.height = height + self._padding[0][1]
        self._stream.pix_fmt = self._encoding.pixels
        context = self._stream.codec_context
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        self._sound = None
        if sound is not None and sound.streams.audio:
            self._sound = Sound(sound, self._container.add_stream(self._encoding.sound, rate=Sound.RATE))

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 RGB frame, or (H, W, 4) RGBA with `alpha`."""
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise ValueError(f"expected a {self.shape} uint8 frame, got {frame.shape} {frame.dtype}")
        if any(after for _, after in self._padding):
            frame = np.pad(frame, self._padding, mode="edge")
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format="rgba" if self.shape[2] == 4 else "rgb24"
        ).reformat(
            format=self._encoding.pixels,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=_EXACT,
        )
        picture.pts, picture.time_base = self.frames, 1 / self.rate
        self.frames += 1
        with disk_errors(self.path):
            self._container.mux(self._stream.encode(picture))
            if self._sound:
                self._container.mux(self._sound.encode_until(self.frames / self.rate))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            with suppress(av.error.FFmpegError, ValueError):  # closed already, or nothing was written
                self._container.close()
            if self._sound:
                self._sound.close()
            self._temporary.unlink(missing_ok=True)  # gone already after the rename

    def _finish(self) -> None:
        if not self.frames:
            raise ValueError(f"no frame was written to {self.path}")
        with disk_errors(self.path):
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._container.mux(self._sound.stream.encode(None))
            self._container.close()
            self._temporary.replace(self.path)
