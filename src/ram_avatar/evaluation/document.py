"""The document of an evaluation: the figures of an avatar and of the baselines, frame by frame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .metric_catalog import (
    FIGURES,
    Series,
    summarize,
    tell,
)

FORMAT_VERSION = 1

GROUPS: dict[str, tuple[str, str]] = {
    "full": ("Whole picture", "what lies beyond the video's edge counts as equal"),
    "inside": ("What the video shows", "the pixels within the video's edges"),
    "person": ("Person", "the mask, or the box around it"),
    "face": ("Face", "a square box"),
    "left_hand": ("Left hand", "a square box"),
    "right_hand": ("Right hand", "a square box"),
    "time": ("From frame to frame", "the person's change over time"),
    "control": ("Control", "landmarks of the rendered frames against the driver's"),
}
WAYS: dict[str, tuple[str, str]] = {
    "avatar": ("Avatar", "this avatar, driven by the tracked motion"),
    "textured_mesh": ("Textured mesh", "the body template with the video's colours on it, without a network"),
    "nearest_frame": ("Nearest frame", "the training frame whose pose is nearest"),
    "landmark_unet": ("Landmark U-Net", "a network from drawn landmarks to pictures, trained as long"),
}
_SCALARS = ("avatar", "driver", "own", "first_frame", "fps", "size")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one avatar and of the baselines on the same N frames: all that is in evaluation.json.

    Attributes:
        driver: file name of the video that the frames' motion is from.
        own: whether the frames are held-out ones of the avatar's own capture; if not, somebody else drives, and
            there is no truth to compare pictures with.
        first_frame: number in the clip of the first judged frame.
        left_out: numbers of later frames that were passed over, because they do not show the person.
        size: side of the judged pictures in pixels.
        protocol: how it was judged, by the fact's name.
        ways: by way ("avatar" and baselines), by group (of `GROUPS`), by figure (of `FIGURES`): [N].

    Raises:
        ValueError: no way "avatar", an unknown group or figure, or series of unequal lengths.
    """

    avatar: str
    driver: str
    own: bool
    first_frame: int
    fps: float
    size: int
    protocol: dict[str, str]
    ways: dict[str, dict[str, Series]]
    left_out: Sequence[int] = ()

    def __post_init__(self):
        if "avatar" not in self.ways:
            raise ValueError(f"an evaluation without the avatar, of {', '.join(self.ways) or 'nothing'}")
        series = [(group, name, v) for way in self.ways.values() for group, s in way.items() for name, v in s.items()]
        if unknown := {group for group, _, _ in series if group not in GROUPS}:
            raise ValueError(f"unknown groups: {', '.join(sorted(unknown))}")
        if unknown := {name for _, name, _ in series if name not in FIGURES}:
            raise ValueError(f"unknown figures: {', '.join(sorted(unknown))}")
        if len({len(values) for _, _, values in series}) != 1:
            raise ValueError("an evaluation's series are of one length, one value per frame")

    def __len__(self) -> int:
        return next(len(values) for group in self.ways["avatar"].values() for values in group.values())

    def values(self, way: str, group: str, name: str) -> np.ndarray:
        """[N]; all NaN where the way was not judged so."""
        values = self.ways[way].get(group, {}).get(name)
        return np.full(len(self), np.nan) if values is None else np.asarray(values, float)

    @cached_property
    def frame_numbers(self) -> list[int]:
        """[N] the frames' numbers in the clip."""
        passed = set(self.left_out)
        last = self.first_frame + len(self) + len(passed)
        return [number for number in range(self.first_frame, last) if number not in passed][: len(self)]

    @cached_property
    def summary(self) -> dict[str, dict[str, dict]]:
        """`figures.summarize` by way and group."""
        return {
            way: {group: summarize(series) for group, series in groups.items()} for way, groups in self.ways.items()
        }

    def mean(self, way: str, group: str, name: str) -> float | None:
        return self.summary[way].get(group, {}).get(name, {}).get("mean")

    def judged(self, way: str, group: str) -> bool:
        """Whether the way has any figure of the group."""
        return any(self.mean(way, group, name) is not None for name in FIGURES)

    def has(self, group: str, name: str) -> bool:
        return any(self.mean(way, group, name) is not None for way in self.ways)

    def names(self, *groups: str) -> list[str]:
        """The figures that any way has in any of the groups, in the order of `FIGURES`."""
        return [name for name in FIGURES if any(self.has(group, name) for group in groups)]

    def best(self, group: str, name: str) -> set[str]:
        """The ways with the best mean at the digits that are told; none where fewer than two have one."""
        means = {way: self.mean(way, group, name) for way in self.ways}
        told = {way: float(tell(name, mean)) for way, mean in means.items() if mean is not None}
        if len(told) < 2:
            return set()
        best = max(told.values()) if FIGURES[name].higher_is_better else min(told.values())
        return {way for way, value in told.items() if value == best}

    def to_dict(self) -> dict:
        """For JSON: values as lists, None where a frame does not have the figure; a summary beside them."""
        return {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in _SCALARS},
            "frames": len(self),
            "left_out": list(self.left_out),
            "protocol": dict(self.protocol),
            "summary": self.summary,
            "ways": {
                way: {group: {name: _listed(v) for name, v in series.items()} for group, series in groups.items()}
                for way, groups in self.ways.items()
            },
        }

    @classmethod
    def from_dict(cls, document: Mapping) -> "Evaluation":
        """What `to_dict` made."""
        ways = {
            way: {group: {name: np.array(v, float) for name, v in s.items()} for group, s in groups.items()}
            for way, groups in document["ways"].items()
        }
        scalars, left_out = {name: document[name] for name in _SCALARS}, document.get("left_out", ())
        return cls(**scalars, protocol=document["protocol"], ways=ways, left_out=left_out)


def _listed(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 6) if math.isfinite(v) else None for v in values]


def way_label(way: str) -> str:
    return WAYS[way][0] if way in WAYS else way.replace("_", " ").capitalize()


def label(group: str, name: str) -> str:
    """A figure with its region: "person PSNR", "body error"."""
    return FIGURES[name].label if group in ("time", "control") else f"{GROUPS[group][0].lower()} {FIGURES[name].label}"
