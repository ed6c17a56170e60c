"""Several people in a video: which one is followed, and where the others are."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ...core.silence_stderr import silence_stderr

_PERSISTENT = 0.2  # a second face in this share of the looks is a second person, not a false detection
_REACH = 2.0  # face widths that a face may move between two looks
_STRIDE = 12.0  # face widths that a walking person may move between two looks
_NEARBY = 15  # frames before the first and after the last look at a person in which they are still there
_BLANK = 127  # gray level


@dataclass
class _Track:
    """One face over time."""

    looks: list[int] = field(default_factory=list)  # frames
    boxes: list[np.ndarray] = field(default_factory=list)  # centre x, centre y, width in pixels


@dataclass(frozen=True)
class People:
    """Who is in a clip, by their faces. `others` counts the people besides the followed one."""

    others: int
    _followed: _Track
    _rest: list[_Track]

    def isolate(self, index: int, frame: np.ndarray) -> np.ndarray:
        """Return frame `index` [H, W, 3], blanked beyond the midline between the followed face and each other one."""
        if not self.others:
            return frame
        width = frame.shape[1]
        here = _place(self._followed, index)
        left, right = 0.0, float(width)
        for track in self._rest:
            if not track.looks[0] - _NEARBY <= index <= track.looks[-1] + _NEARBY:
                continue
            there = _place(track, index)
            middle = (here + there) / 2
            left, right = (max(left, middle), right) if there < here else (left, min(right, middle))
        frame = frame.copy()
        frame[:, : int(left)] = _BLANK
        frame[:, int(right) :] = _BLANK
        return frame


def find_people(looks: Iterable[tuple[int, np.ndarray]]) -> People:
    """Find the people in some frames, and follow the one who is largest over the clip.

    Args:
        looks: (index, RGB [H, W, 3] uint8), in order.
    """
    from mediapipe.python.solutions import face_detection

    tracks: list[_Track] = []
    seen: list[int] = []
    with silence_stderr():
        detector = face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
        # Its threads print while they open, after the constructor has returned; by the first result they are done.
        detector.process(np.zeros((64, 64, 3), np.uint8))
    with detector:
        for index, frame in looks:
            size = np.array([frame.shape[1], frame.shape[0], frame.shape[1]])
            boxes = []
            with silence_stderr():
                detections = detector.process(np.ascontiguousarray(frame)).detections
            for found in detections or []:
                box = found.location_data.relative_bounding_box
                boxes.append(np.array([box.xmin + box.width / 2, box.ymin + box.height / 2, box.width]) * size)
            _link(tracks, index, sorted(boxes, key=lambda b: -b[2]))
            seen.append(index)
    tracks = [t for t in _join(tracks, seen) if len(t.looks) >= max(2, _PERSISTENT * len(seen))]
    if len(tracks) < 2:
        return People(0, _Track(), [])
    tracks.sort(key=lambda t: -sum(box[2] ** 2 for box in t.boxes))
    return People(len(tracks) - 1, tracks[0], tracks[1:])


def _link(tracks: list[_Track], index: int, boxes: list[np.ndarray]) -> None:
    """Add each face to the track whose last face is nearest, or start one."""
    free = list(tracks)
    for box in boxes:
        distance = [np.hypot(*(t.boxes[-1][:2] - box[:2])) / max(box[2], t.boxes[-1][2]) for t in free]
        if distance and min(distance) < _REACH:
            track = free.pop(int(np.argmin(distance)))
        else:
            track = _Track()
            tracks.append(track)
        track.looks.append(index)
        track.boxes.append(box)


def _join(tracks: list[_Track], seen: list[int]) -> list[_Track]:
    """Join tracks that never share a look and lie within a walk of each other: one person, who moved fast."""
    order = {index: look for look, index in enumerate(seen)}
    joined: list[_Track] = []
    for track in sorted(tracks, key=lambda t: t.looks[0]):
        before = [t for t in joined if not set(t.looks) & set(track.looks)]
        distance = [_steps(t, track, order) for t in before]
        if distance and min(distance) < _STRIDE:
            whole = before[int(np.argmin(distance))]
            pairs = sorted(zip(whole.looks + track.looks, whole.boxes + track.boxes, strict=True), key=lambda p: p[0])
            whole.looks, whole.boxes = [index for index, _ in pairs], [box for _, box in pairs]
        else:
            joined.append(track)
    return joined


def _steps(before: _Track, track: _Track, order: dict[int, int]) -> float:
    """Return the distance between two tracks in face widths per look, where they are closest in time."""
    gaps = [
        (abs(order[a] - order[b]), float(np.hypot(*(p[:2] - q[:2]))) / max(p[2], q[2]))
        for a, p in zip(before.looks, before.boxes, strict=True)
        for b, q in zip(track.looks, track.boxes, strict=True)
    ]
    looks, distance = min(gaps)
    return distance / looks


def _place(track: _Track, index: int) -> float:
    """Centre x of a face in a frame, pixels."""
    return float(np.interp(index, track.looks, [box[0] for box in track.boxes]))
