"""A first look at a video: who is in it, and where its picture ends."""

from collections.abc import Iterator

import numpy as np

from ...core.progress import Progress
from ...video import VideoInfo, read_frames
from ..camera.black_bars import find_bars
from ..detection.people import People, find_people

_LOOK_EVERY = 0.5  # seconds between looks for people
_LOOKS_AT_BARS = 24  # frames in which black bars are looked for


def look_around(info: VideoInfo, progress: Progress) -> tuple[People, tuple[int, int, int, int]]:
    """Return who is in a video, and left, top, right and bottom of its picture within black bars."""
    every = max(1, round(float(info.fps) * _LOOK_EVERY))
    kept = max(1, info.frames // every // _LOOKS_AT_BARS) * every
    looks: list[np.ndarray] = []

    def some() -> Iterator[tuple[int, np.ndarray]]:
        for look, frame in enumerate(read_frames(info.path, step=every, rotate=info.rotate)):
            index = look * every
            if index % kept == 0:
                looks.append(frame)
            yield index, frame

    with progress.wait("Looking for people"):
        people = find_people(some())
    if people.others:
        other = "another person" if people.others == 1 else f"{people.others} other people"
        progress.note(f"{info.path.name}: {other} seen; following the person who is largest over the clip")
    return people, find_bars(looks)
