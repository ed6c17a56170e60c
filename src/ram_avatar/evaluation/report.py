"""The page of an evaluation: one HTML file that needs nothing else, to be read on a screen or printed."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined
from scipy.stats import rankdata

from ..core.files import atomic_file
from ..core.images import resize
from .curves import charts
from .document import (
    GROUPS,
    WAYS,
    Evaluation,
    label,
    way_label,
)
from .metric_catalog import FIGURES, tell

AMPLIFIED = 4  # differences are shown this many times as large as they are

_TABLES = (("full", "inside", "person", "face", "left_hand", "right_hand"), ("time",), ("control",))
_UNFOLDED = ("person", "time", "control")
_KEY = {  # shown large, by whether the frames are of the avatar's own capture
    True: (
        ("full", "psnr"),
        ("person", "psnr"),
        ("person", "st_lpips"),
        ("control", "body_pck"),
        ("control", "hand_pck"),
        ("time", "perceptual_flicker"),
    ),
    False: (
        ("control", "body_pck"),
        ("control", "body_error"),
        ("control", "hand_pck"),
        ("control", "hand_error"),
        ("control", "lips_error"),
        ("time", "own_noise"),
    ),
}
_RANKED_BY = {True: ("person", ("st_lpips", "psnr")), False: ("control", ("body_error",))}
_WORST, _WORST_OF_PART = 8, 4
_APART = 0.2  # seconds between two frames of a list, so that it is not one moment eight times
_WIDEST, _CROP = 512, 224  # pixels of the page's pictures
_QUALITY = 88  # of JPEG


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    frames: Mapping[str, Sequence[np.ndarray]],
    boxes: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the page, whole or not at all.

    Args:
        frames: N pictures [S, S, 3] uint8 RGB by way, shown in this order after the video's own: "truth", or
            "driver" where somebody else drives (absent for a motion without a video).
        boxes: of "face", "left_hand" and "right_hand": [N, 3] square boxes, left, top and side in pixels.

    Raises:
        ValueError: no frames of the avatar, or not N of a kind.
        UserError: `path` cannot be written.
    """
    if "avatar" not in frames:
        raise ValueError("a report needs the avatar's frames")
    for name, pictures in frames.items():
        if len(pictures) != len(evaluation):
            raise ValueError(f"{len(pictures)} frames of '{name}', but {len(evaluation)} were judged")
    page = _page(evaluation, frames, boxes or {})
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _page(evaluation: Evaluation, frames: Mapping[str, Sequence], boxes: Mapping[str, np.ndarray]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["heading"] = lambda text: text[:1].upper() + text[1:]
    template = environment.from_string((files(__package__) / "report.html").read_text(encoding="utf-8"))
    group, names = _RANKED_BY[evaluation.own]
    order = ranked(evaluation, group, names)
    gallery = _Gallery(evaluation, frames, group, names)
    parts = [part for part in ("face", "left_hand", "right_hand") if part in boxes and "truth" in frames]
    tables = [[group for group in table if evaluation.names(group)] for table in _TABLES]
    return template.render(
        evaluation=evaluation,
        summary=plain_words(evaluation),
        figures=FIGURES,
        groups=GROUPS,
        ways={way: way_label(way) for way in ("avatar", *(w for w in evaluation.ways if w != "avatar"))},
        meanings={way: WAYS[way][1] for way in evaluation.ways if way in WAYS},
        tell=tell,
        known=lambda *place: int(np.isfinite(evaluation.values(*place)).sum()),
        typical=gallery.row(order[len(order) // 2]) if order else None,
        key=[place for place in _KEY[evaluation.own] if evaluation.mean("avatar", *place) is not None],
        label=label,
        tables=[table for table in tables if table],
        curves={group: charts(evaluation, group) for group in GROUPS if evaluation.names(group)},
        unfolded=_UNFOLDED,
        ranked_by=[label(group, name) for name in names if evaluation.has(group, name)],
        worst=[gallery.row(i) for i in _spaced(order, evaluation.fps, _WORST)],
        others={"Best": gallery.row(order[-1]), "Median": gallery.row(order[len(order) // 2])} if order else {},
        parts={GROUPS[part][0]: list(gallery.crops(part, boxes[part])) for part in parts},
        differs="truth" in frames,
        amplified=AMPLIFIED,
    )


def plain_words(evaluation: Evaluation) -> str:
    """How many figures the avatar wins, and which it does not."""
    if len(evaluation.ways) < 2:
        return "Judged without baselines."
    best = {(group, name): evaluation.best(group, name) for group in GROUPS for name in evaluation.names(group)}
    judged = {place: ways for place, ways in best.items() if ways and evaluation.mean("avatar", *place) is not None}
    if not judged:
        return "No figure is shared with a baseline."
    lost = [label(*place) for place, ways in judged.items() if ways != {"avatar"}]
    won = f"{len(judged) - len(lost)} of {len(judged)} figures"
    told = f"The avatar is {'nearer to the video' if evaluation.own else 'better'} than every baseline in {won}."
    if not lost:
        return told
    more = f" and {len(lost) - 4} more" if len(lost) > 5 else ""
    return f"{told} A baseline is as good or better in {', '.join(lost[:4] if more else lost)}{more}."


def ranked(evaluation: Evaluation, group: str, names: Sequence[str]) -> list[int]:
    """Frames by what the avatar makes of them, the worst first: the mean of their ranks in each figure.

    Frames without any of the figures are left out.
    """
    ranks = []
    for name in names:
        values = evaluation.values("avatar", group, name)
        better = values if FIGURES[name].higher_is_better else -values
        ranks.append(rankdata(better, nan_policy="omit") / max(1, np.isfinite(values).sum()))
    known = np.isfinite(ranks)
    count = known.sum(0)
    score = np.where(known, ranks, 0).sum(0) / np.maximum(count, 1)
    return [int(i) for i in np.argsort(score, kind="stable") if count[i]]


def _spaced(order: Sequence[int], fps: float, most: int) -> list[int]:
    """The first frames of an order, none of them near one before it; at most half of all."""
    chosen: list[int] = []
    for i in order:
        if len(chosen) < min(most, math.ceil(len(order) / 2)) and all(abs(i - j) >= _APART * fps for j in chosen):
            chosen.append(i)
    return chosen


# Pictures ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Picture:
    title: str
    alt: str
    source: str  # data URI
    told: list[tuple[str, str]] = field(default_factory=list)  # figure's name and value of this frame


@dataclass(frozen=True)
class _Row:
    number: int
    seconds: str
    told: list[tuple[str, str]]
    pictures: list[_Picture]


@dataclass(frozen=True)
class _Gallery:
    """Frames as rows of pictures: the video, the avatar, what differs, and the baselines."""

    evaluation: Evaluation
    frames: Mapping[str, Sequence[np.ndarray]]
    group: str
    names: Sequence[str]

    def row(self, index: int) -> _Row:
        truth = self.frames["truth"][index] if "truth" in self.frames else None
        pictures = []
        for way, title in self._columns():
            shown = np.asarray(self.frames[way][index])
            pictures.append(self._picture(title, index, shown, way, self.group, self.names))
            if way == "avatar" and truth is not None:
                pictures.append(self._picture(f"Difference × {AMPLIFIED}", index, difference(shown, truth)))
        beside = [("full", "psnr"), ("control", "body_error"), ("control", "hand_error"), ("time", "change_error")]
        told = [
            (label(group, name), told)
            for group, name in beside
            if group != self.group or name not in self.names
            for _, told in self._told("avatar", index, group, (name,))
        ]
        return self._row(index, told, pictures)

    def crops(self, part: str, boxes: np.ndarray) -> Iterator[_Row]:
        """Where the avatar makes least of a part: the part alone, enlarged."""
        names = ("st_lpips", "psnr")
        order = [i for i in ranked(self.evaluation, part, names) if np.isfinite(boxes[i]).all() and boxes[i][2] > 0]
        for i in _spaced(order, self.evaluation.fps, _WORST_OF_PART):
            pictures = [
                self._picture(title, i, crop(np.asarray(self.frames[way][i]), boxes[i]), way, part, names)
                for way, title in self._columns()
            ]
            yield self._row(i, [], pictures)

    def _columns(self) -> list[tuple[str, str]]:
        """Keys of the frames and their titles, in the order of the page."""
        video = {"truth": "Video", "driver": "Driver"}
        first = [(key, video[key]) for key in video if key in self.frames]
        ways = [key for key in self.frames if key not in (*video, "avatar")]
        return first[:1] + [(way, way_label(way)) for way in ("avatar", *ways)]

    def _row(self, index: int, told: list[tuple[str, str]], pictures: list[_Picture]) -> _Row:
        number = self.evaluation.frame_numbers[index]
        return _Row(number, f"{number / self.evaluation.fps:.2f}", told, pictures)

    def _picture(
        self, title: str, index: int, shown: np.ndarray, way: str = "", group: str = "", names: Sequence[str] = ()
    ) -> _Picture:
        told = self._told(way, index, group, names) if way in self.evaluation.ways else []
        alt = f"{title}, frame {self.evaluation.frame_numbers[index]}"
        return _Picture(title, alt, data_uri(shown), told)

    def _told(self, way: str, index: int, group: str, names: Sequence[str]) -> list[tuple[str, str]]:
        values = [(name, self.evaluation.values(way, group, name)[index]) for name in names]
        return [(FIGURES[n].label, f"{tell(n, v)} {FIGURES[n].unit}".strip()) for n, v in values if math.isfinite(v)]


def difference(shown: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Absolute difference of two pictures, amplified: uint8."""
    return cv2.convertScaleAbs(cv2.absdiff(shown, truth), alpha=AMPLIFIED)


def crop(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A square box (left, top, side in pixels) of a picture, enlarged to 224 pixels; black beyond its edges."""
    left, top, side = (float(v) for v in box)
    pixel = side / _CROP
    back = np.array([[pixel, 0, left + pixel / 2 - 0.5], [0, pixel, top + pixel / 2 - 0.5]])
    return cv2.warpAffine(picture, back, (_CROP, _CROP), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def data_uri(picture: np.ndarray) -> str:
    """An RGB picture as a JPEG within a URI."""
    small = resize(picture, min(picture.shape[0], _WIDEST))
    encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
