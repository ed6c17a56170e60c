"""Frames of the report: which are shown, and as rows of captioned images."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.stats import rankdata

from ..core.images import resize
from .document import Evaluation, label, method_label
from .metric_catalog import METRICS, format_value

AMPLIFICATION = 4  # of differences

_WORST_OF_PART = 4
_MIN_GAP = 0.2  # seconds between two frames of a list, so that it does not show one moment several times
_WIDEST, _CROP = 512, 224  # pixels of the images on the page
_JPEG_QUALITY = 88
_EXTRA_METRICS = (("full", "psnr"), ("control", "body_error"), ("control", "hand_error"), ("time", "change_error"))


@dataclass(frozen=True)
class SceneFrame:
    """A held-out frame of the whole scene, as the video shows it and as the avatar renders it."""

    number: int
    video: np.ndarray  # [H, W, 3] uint8 RGB
    avatar: np.ndarray  # likewise


@dataclass(frozen=True)
class Image:
    """An image with its caption."""

    title: str
    alt: str
    source: str  # data URI
    values: list[tuple[str, str]] = field(default_factory=list)  # name and value of each metric of this frame


@dataclass(frozen=True)
class Row:
    """One frame, by several methods."""

    number: int
    seconds: str
    values: list[tuple[str, str]]
    images: list[Image]


@dataclass(frozen=True)
class Gallery:
    """Frames as rows of images: the video, the avatar, their difference, and the baselines."""

    evaluation: Evaluation
    frames: Mapping[str, np.ndarray]
    group: str
    names: Sequence[str]

    def row(self, index: int) -> Row:
        """Return a frame with its metrics."""
        truth = self.frames["truth"][index] if "truth" in self.frames else None
        images = []
        for method, title in self._columns():
            frame = self.frames[method][index]
            images.append(self._image(title, index, frame, method, self.group, self.names))
            if method == "avatar" and truth is not None:
                images.append(self._image(f"Difference × {AMPLIFICATION}", index, difference(frame, truth)))
        values = [
            (label(group, name), value)
            for group, name in _EXTRA_METRICS
            if group != self.group or name not in self.names
            for _, value in self._values("avatar", index, group, (name,))
        ]
        return self._row(index, values, images)

    def crops(self, part: str, boxes: np.ndarray) -> Iterator[Row]:
        """Yield enlarged crops of a part from the frames where the avatar renders it worst."""
        names = ("st_lpips", "psnr")
        order = [i for i in ranked(self.evaluation, part, names) if np.isfinite(boxes[i]).all() and boxes[i][2] > 0]
        for i in spaced(order, self.evaluation.fps, _WORST_OF_PART):
            images = [
                self._image(title, i, crop(self.frames[method][i], boxes[i]), method, part, names)
                for method, title in self._columns()
            ]
            yield self._row(i, [], images)

    def pair(self, index: int, boxes: Mapping[str, np.ndarray]) -> Row:
        """Return a frame by every method, cropped to its box [N, 3] if it has one; the frame's values stand above."""
        images = []
        for method, title in self._columns():
            image = self.frames[method][index]
            if method in boxes and np.isfinite(boxes[method][index]).all():
                image = crop(image, boxes[method][index])
            images.append(self._image(title, index, image))
        return self._row(index, self._values("avatar", index, self.group, self.names), images)

    def scene(self, frame: SceneFrame) -> Row:
        """Return a whole frame of the video beside the avatar's."""
        shown = (("Video", frame.video), ("Avatar", frame.avatar))
        images = [Image(title, f"{title}, whole frame {frame.number}", data_uri(image)) for title, image in shown]
        return Row(frame.number, self._seconds(frame.number), [], images)

    def _columns(self) -> list[tuple[str, str]]:
        """Return keys of the frames with their titles, in the order of the page."""
        video = {"truth": "Video", "driver": "Driver"}
        first = [(key, title) for key, title in video.items() if key in self.frames]
        methods = [key for key in self.frames if key not in (*video, "avatar")]
        return first[:1] + [(method, method_label(method)) for method in ("avatar", *methods)]

    def _row(self, index: int, values: list[tuple[str, str]], images: list[Image]) -> Row:
        number = self.evaluation.frame_numbers[index]
        return Row(number, self._seconds(number), values, images)

    def _seconds(self, number: int) -> str:
        return f"{number / self.evaluation.fps:.2f}"

    def _image(
        self, title: str, index: int, image: np.ndarray, method: str = "", group: str = "", names: Sequence[str] = ()
    ) -> Image:
        values = self._values(method, index, group, names) if method in self.evaluation.methods else []
        alt = f"{title}, frame {self.evaluation.frame_numbers[index]}"
        return Image(title, alt, data_uri(resize(image, min(len(image), _WIDEST))), values)

    def _values(self, method: str, index: int, group: str, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return names and values with units of the metrics that this frame has."""
        values = [(name, self.evaluation.values(method, group, name)[index]) for name in names]
        return [
            (METRICS[name].label, f"{format_value(name, value)} {METRICS[name].unit}".strip())
            for name, value in values
            if math.isfinite(value)
        ]


def ranked(evaluation: Evaluation, group: str, names: Sequence[str]) -> list[int]:
    """Rank frames by the avatar's metrics, worst first: by the mean of their ranks in each metric.

    Frames with none of the metrics are omitted.
    """
    rows = []
    for name in names:
        values = evaluation.values("avatar", group, name)
        better = values if METRICS[name].higher_is_better else -values
        rows.append(rankdata(better, nan_policy="omit") / max(1, np.isfinite(values).sum()))
    ranks = np.stack(rows)
    known = np.isfinite(ranks)
    count = known.sum(0)
    score = np.where(known, ranks, 0).sum(0) / np.maximum(count, 1)
    return [int(i) for i in np.argsort(score, kind="stable") if count[i]]


def spaced(order: Sequence[int], fps: float, limit: int) -> list[int]:
    """Return the first frames of an order that keep a gap to earlier ones; at most `limit`, and at most half."""
    chosen: list[int] = []
    for i in order:
        if len(chosen) < min(limit, math.ceil(len(order) / 2)) and all(abs(i - j) >= _MIN_GAP * fps for j in chosen):
            chosen.append(i)
    return chosen


def difference(rendered: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the absolute difference of two uint8 images, amplified and saturated."""
    return cv2.convertScaleAbs(cv2.absdiff(rendered, truth), alpha=AMPLIFICATION)


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return a square box (left, top, side in pixels) resized to 224 pixels; black beyond the image."""
    left, top, side = (float(v) for v in box)
    pixel = side / _CROP
    back = np.array([[pixel, 0, left + pixel / 2 - 0.5], [0, pixel, top + pixel / 2 - 0.5]])
    return cv2.warpAffine(image, back, (_CROP, _CROP), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def data_uri(image: np.ndarray) -> str:
    """Encode an RGB image [H, W, 3] uint8 as a JPEG data URI."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
