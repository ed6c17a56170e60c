"""Decoding of any video file to upright RGB arrays at a constant rate (PyAV).

Decoders are large and written in C, and a file may come from anyone, so this module runs in a confined process only
(`sandbox`). `reading` is the way to it for everybody else.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter

from ..core.errors import UserError
from ..core.files import disk_errors
from ..core.untrusted.files import open_regular

# A round trip from RGB to 4:2:0 costs 1.3 levels on average with swscale's defaults, 0.6 with these.
EXACT = int(
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
_UNSPECIFIED = 2  # H.273 code for an unspecified matrix, primaries or transfer
_HDR = (int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67))
_TEXT_ART = ("tty", "bin", "adf", "idf", "xbin")  # ffmpeg renders any .txt and .bin file as one
_ASSUMED_RATE = Fraction(25)  # where a file states none, as ffmpeg assumes
_SLOWEST, _FASTEST = Fraction(1, 20), 1000  # frames a second
MAX_SIDE = 8192
"""Pixels of a frame's longer side, at most."""
# What cameras, phones, editors and streaming programs write. FFmpeg reads hundreds more, among them playlists, which
# name other files, and old formats that nobody hardens.
_FORMATS = "mov,matroska,avi,flv,mpegts,mpeg,ogg,asf,gif,h264,hevc,m4v,mpegvideo,ivf,wav,mp3,aac,flac"
_DECODERS = (
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mpeg2video,mpeg1video,mjpeg,prores,dnxhd,ffv1,rawvideo,"
    "theora,gif,h263,flv,wmv1,wmv2,wmv3,vc1,msmpeg4v2,msmpeg4,qtrle,png,"
    "aac,mp3,mp3float,mp2,mp2float,opus,libopus,vorbis,libvorbis,flac,alac,ac3,eac3,amrnb,amrwb,wmav2,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_f32le,pcm_u8,pcm_mulaw,pcm_alaw"
)
_ONLY = {"format_whitelist": _FORMATS, "codec_whitelist": _DECODERS, "protocol_whitelist": "file"}
_THREADS = 8  # of a decoder, at most; each holds a frame, and the process may take 4 GB
_KNOWS_ITS_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")


@dataclass(frozen=True)
class VideoInfo:
    """What `reading.read_frames` yields for a file."""

    path: Path
    width: int
    """Pixels, once upright and with square pixels."""
    height: int
    rate: Fraction
    """Frames per second, exact (30000/1001)."""
    frames: int
    """Number of frames at that constant rate."""
    has_audio: bool
    rate_is_guess: bool = False
    """The file holds neither time stamps nor a rate, as some raw streams do; 25 frames per second are assumed."""
    rotate: int = 0
    """Degrees clockwise by which frames are turned, in addition to the file's own rotation."""

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.rate)

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.rate)

    def as_dict(self) -> dict[str, Any]:
        """Return what the file tells, for JSON."""
        kept = {name: value for name, value in vars(self).items() if name not in ("path", "rotate")}
        return kept | {"rate": str(self.rate)}


def inspect(path: Path, rotate: int = 0, busy: Callable[[], None] = lambda: None) -> VideoInfo:
    """Inspect a video: read the time stamps of the whole file and decode its first frame; see `reading.probe`.

    The rate is the header's if it agrees with the time stamps to half a frame over the whole clip, else the mean
    rate of the time stamps (some recorders write 1000 fps into the header). Raw H.264 and HEVC streams have no time
    stamps: their rate is the one they state, or a guess.

    Args:
        busy: called for every packet.

    Raises:
        UserError: see `reading.probe`.
    """
    timing = _timing(path, busy)
    with open_media(path) as container:
        stream = _video_stream(path, container)
        size = _square_size(stream)
        first = next(_decode(path, container, stream, timing.rate if timing.unstamped else None), None)
        if first is None:
            raise UserError(f"{path}: no frame of the video can be decoded; the file is damaged")
        width, height = reversed(size) if _orientation(first).transposed else size
        if rotate % 180:
            width, height = height, width
        sound = bool(container.streams.audio)
        return VideoInfo(path, width, height, timing.rate, timing.frames, sound, timing.guessed, rotate)


def decode_frames(
    info: VideoInfo, wanted: range, longest: int | None = None, busy: Callable[[], None] = lambda: None
) -> Iterator[np.ndarray]:
    """Yield the wanted frames of a video; see `reading.read_frames`.

    Args:
        wanted: numbers of frames, in steps of at least 1.
        longest: side to which larger frames are scaled down, pixels.
        busy: called for every frame that is decoded but not wanted.
    """
    with open_media(info.path) as container:
        stream = _video_stream(info.path, container)
        convert = _Converter(stream, info.rotate, longest)
        decoded = _decode(info.path, container, stream, info.rate if _is_unstamped(container) else None)
        for index, frame in _resample(decoded, info.rate, wanted.stop):
            if index in wanted:
                yield convert(frame)
            else:
                busy()


def open_media(path: Path) -> av.container.InputContainer:
    """Open a video or audio file. Raises a UserError that states why it cannot be opened."""
    with open_regular(path, sys.maxsize) as file, disk_errors(path):
        head = file.read(12)
    if not head:
        raise UserError(f"{path} is empty (0 bytes)")
    try:
        # The prefix keeps ffmpeg from taking names such as "a:b.mp4" for network addresses.
        container = av.open(f"file:{path}", options=_ONLY)
    except (av.error.FFmpegError, UnicodeError) as error:
        if head[4:8] == b"ftyp":
            cause = "is cut short: its index is missing, as after a recording or download that did not finish"
            raise UserError(f"{path} {cause}") from error
        raise UserError(f"{path} is not a video that can be read") from error
    return container


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise UserError(f"{path} is an image, not a video")
    if container.format.name in _TEXT_ART:
        raise UserError(f"{path} is not a video that can be read")
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:  # a song's cover
            if stream.codec_context is None:
                raise UserError(f"{path}: its video is in an unknown encoding")
            _check_size(path, *_square_size(stream))
            return stream
    what = "holds sound but no video" if container.streams.audio else "holds no video"
    raise UserError(f"{path} {what}")


def _check_size(path: Path, width: int, height: int) -> None:
    if not (min(width, height) >= 1 and max(width, height) <= MAX_SIDE):
        raise UserError(f"{path}: {width} x {height}; a side of a video must have 1 to {MAX_SIDE} pixels")


@dataclass(frozen=True)
class _Timing:
    rate: Fraction
    frames: int
    unstamped: bool = False  # a raw stream without time stamps: frames follow each other at `rate`
    guessed: bool = False


def _is_unstamped(container: av.container.InputContainer) -> bool:
    return bool(container.format.flags & cast(int, av.format.Flags.no_timestamps.value))


def _timing(path: Path, busy: Callable[[], None]) -> _Timing:
    """Read rate and number of frames from the time stamps of all packets, without decoding."""
    with open_media(path) as container:
        video = _video_stream(path, container)
        raw, pictures = _is_unstamped(container), 0
        stamps, end, broken = [], 0.0, False
        with suppress(av.error.FFmpegError):  # a cut file; reported below
            for packet in container.demux():
                busy()
                if packet.stream is video and packet.size:
                    pictures += 1
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is None or packet.time_base is None:
                    continue
                end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
                if packet.stream is video and not packet.is_discard:
                    stamps.append(stamp)
                    broken = packet.is_corrupt
        stated = (container.duration or 0) / av.time_base
        missing = container.format.name in _KNOWS_ITS_LENGTH and stated - end > max(0.5, 0.02 * stated)
        if broken or missing:
            promise = f" of the {stated:.1f} s that its header states" if missing else ""
            raise UserError(f"{path} is cut short: it ends after {end:.1f} s{promise}; copy it again")
        if raw and pictures:
            rate = video.codec_context.framerate
            if rate is not None and 1 <= rate <= 240:  # other values are mistakes
                return _Timing(rate, pictures, unstamped=True)
            return _Timing(_ASSUMED_RATE, pictures, unstamped=True, guessed=True)
        if not stamps:
            raise UserError(f"{path} holds no video frames")
        header, span = video.average_rate, (max(stamps) - min(stamps)) * _known(video.time_base)
    if span == 0:
        return _Timing(header if header and header <= _FASTEST else _ASSUMED_RATE, 1)
    if header and abs(header * span - (len(stamps) - 1)) <= Fraction(1, 2):
        rate = header
    else:
        rate = ((len(stamps) - 1) / span).limit_denominator(1001)
    if not _SLOWEST <= rate <= _FASTEST:
        raise UserError(
            f"{path}: {len(stamps)} frames in {float(span):.4g} s; a video must have {float(_SLOWEST):g} to {_FASTEST} "
            "frames a second"
        )
    return _Timing(rate, math.floor(span * rate + Fraction(1, 2)) + 1)


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, rate: Fraction | None
) -> Iterator[av.VideoFrame]:
    """Decode frames in display order, with time stamps.

    Args:
        rate: of a stream without time stamps, whose frames are numbered; None for others.
    """
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ("vp8", "vp9"):
        # ffmpeg's native decoders ignore WebM's transparency.
        decoder = av.CodecContext.create("libvpx-vp9" if decoder.name == "vp9" else "libvpx", "r")
    decoder.options = {"codec_whitelist": _DECODERS}
    decoder.thread_type, decoder.thread_count = "AUTO", min(os.cpu_count() or 1, _THREADS)
    time, last = None, Fraction(0)  # of the latest frame; the latest of all packets
    count = 0
    for packet in container.demux(stream):
        if rate is None and packet.pts is not None and not packet.is_discard:
            last = max(last, packet.pts * packet.time_base)
        try:
            for frame in decoder.decode(packet):
                if rate is not None:
                    frame.pts, frame.time_base = count, 1 / rate
                    count += 1
                if frame.pts is not None:
                    time = _time(frame)
                    yield frame
        except av.error.FFmpegError as error:  # invalid data, or features that no encoder uses
            if time is not None:  # otherwise a recording that starts between two key frames
                raise _damaged(path, time) from error
    if time is not None and last - time > Fraction(1, 2):  # some decoders skip what they cannot decode
        raise _damaged(path, time)


def _damaged(path: Path, time: Fraction) -> UserError:
    return UserError(f"{path} is damaged after {float(time):.1f} s: cut it there or encode it again")


def _time(frame: av.VideoFrame) -> Fraction:
    """Return a frame's time in seconds."""
    return _known(frame.pts) * _known(frame.time_base)


Known = TypeVar("Known")


def _known(value: Known | None) -> Known:
    """Return a value that PyAV types as optional but FFmpeg always sets here."""
    assert value is not None
    return value


def _resample(frames: Iterator[av.VideoFrame], rate: Fraction, count: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield (k, the frame nearest in time to k / rate after the first) for k < count."""
    current = next(frames)
    first, index = _time(current), 0
    while index < count:
        following = next(frames, None)
        change = None if following is None else (_time(current) + _time(following)) / 2
        while index < count and (change is None or first + index / rate <= change):
            yield index, current
            index += 1
        if following is None:
            return
        current = following


class _Converter:
    """Converts a stream's decoded frames to (H, W, 3) uint8 RGB: upright, with square pixels, all of one size.

    Args:
        rotate: degrees clockwise by which to turn them after that.
        longest: side to which larger frames are scaled down, pixels.
    """

    def __init__(self, stream: av.VideoStream, rotate: int = 0, longest: int | None = None) -> None:
        self._reformat = VideoReformatter().reformat  # kept, since its tables for HDR take two seconds to build
        width, height = _square_size(stream)
        scale = min(1.0, (longest or MAX_SIDE) / max(width, height))
        self._size = max(1, round(width * scale)), max(1, round(height * scale))
        self._interpolation = EXACT if scale == 1 else int(Interpolation.AREA)
        self._quarters = rotate // 90

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        colour: dict[str, Any] = {}
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
            hd = frame.width >= 1280 or frame.height >= 720
            colour["src_colorspace"] = Colorspace.ITU709 if hd else Colorspace.ITU601
        if frame.color_trc in _HDR and frame.color_primaries != _UNSPECIFIED:
            colour.update(dst_color_trc=ColorTrc.BT709, dst_color_primaries=ColorPrimaries.BT709)
        alpha = any(component.is_alpha for component in frame.format.components)
        pixels = "rgba" if alpha else "rgb24"
        image = self._reformat(frame, *self._size, pixels, interpolation=self._interpolation, **colour).to_ndarray()
        if alpha:
            image = ((image[..., :3].astype(np.uint16) * image[..., 3:] + 127) // 255).astype(np.uint8)
        turn = _orientation(frame)
        if turn.transposed:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(np.rot90(image[:: turn.rows, :: turn.columns], -self._quarters))


def _square_size(stream: av.VideoStream) -> tuple[int, int]:
    """Return width and height with square pixels, before rotation."""
    aspect, width, height = float(stream.sample_aspect_ratio or 1), stream.width, stream.height
    if aspect > 1.01:  # encoders write 4561:4560 where they mean 1
        return round(width * aspect), height
    if 0 < aspect < 0.99:
        return width, round(height / aspect)
    return width, height


@dataclass(frozen=True)
class _Orientation:
    transposed: bool = False
    rows: int = 1
    """Step over the rows after transposition: -1 turns them upside down."""
    columns: int = 1


def _orientation(frame: av.VideoFrame) -> _Orientation:
    """Read the display matrix M (ISO/IEC 14496-12: (x', y', 1) = (x, y, 1) M), to the nearest 90 degrees."""
    matrix = cast(Mapping[SideData, Any], frame.side_data).get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return _Orientation()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    transposed = abs(a) + abs(d) < abs(b) + abs(c)
    x, y = (c, b) if transposed else (a, d)  # x' = c y and y' = b x, or x' = a x and y' = d y
    return _Orientation(transposed, rows=-1 if y < 0 else 1, columns=-1 if x < 0 else 1)
