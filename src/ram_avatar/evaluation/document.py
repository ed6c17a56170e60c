"""The contents of `evaluation.json`: metrics of an avatar and of the baselines, frame by frame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .figures import FIGURES, Figure
from .metric_catalog import METRICS, MetricSummary, Series, format_value, summarize

FORMAT_VERSION = 1

GROUPS: dict[str, tuple[str, str]] = {
    "full": ("Full frame", "pixels beyond the borders of the video count as equal"),
    "inside": ("Within the video", "pixels within the borders of the video"),
    "person": ("Person", "the mask, or the box around it"),
    "face": ("Face", "a square box"),
    "left_hand": ("Left hand", "a square box"),
    "right_hand": ("Right hand", "a square box"),
    "time": ("Temporal", "change of the person from frame to frame"),
    "control": ("Control", "landmarks in the rendered frames against the driver's"),
    "following": ("Following", "limbs, head and mouth against the driver's, as the detector sees both"),
}
_WITHOUT_REGION = ("time", "control", "following")
METHODS: dict[str, tuple[str, str]] = {
    "avatar": ("Avatar", "this avatar, driven by the tracked motion"),
    "textured_mesh": ("Textured mesh", "the body template with colours from the video, without a network"),
    "nearest_frame": ("Nearest frame", "the training frame with the nearest pose"),
    "landmark_unet": ("Landmark U-Net", "a network from drawn landmarks to frames, trained as long"),
    "driver_resized": ("Driver at this size", "the driver's video, as small as the avatar is drawn: a perfect avatar"),
    "driver_again": ("Driver seen twice", "the driver's video in a wider crop: the detector's own error"),
}
RESIZED, FLOOR = "driver_resized", "driver_again"
"""What no result of the avatar's size can be better than, and what none can, see `METHODS`."""
_SCALARS = ("avatar", "driver", "own", "first_frame", "fps", "size")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one avatar and of the baselines on the same N frames.

    Attributes:
        driver: file name of the video that the motion comes from.
        own: whether the frames are held-out frames of the avatar's own capture. If not, another person drives, and
            there are no true frames to compare with.
        first_frame: number in the clip of the first evaluated frame.
        left_out: numbers of later frames that were skipped because they do not show the person.
        size: side of the evaluated frames in pixels.
        protocol: how the evaluation was done, by topic.
        methods: by method ("avatar" and baselines), by group (`GROUPS`), by metric (`METRICS`): [N].
        figures: if another person drives, how closely each method follows over the clip: by method, by `FIGURES`.

    Raises:
        ValueError: There is no method "avatar", a group or metric is unknown, or series differ in length.
    """

    avatar: str
    driver: str
    own: bool
    first_frame: int
    fps: float
    size: int
    protocol: dict[str, str]
    methods: dict[str, dict[str, Series]]
    left_out: Sequence[int] = ()
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "avatar" not in self.methods:
            raise ValueError(f"the evaluation lacks the avatar; methods: {', '.join(self.methods) or 'none'}")
        series = [
            (group, name, values)
            for groups in self.methods.values()
            for group, metrics in groups.items()
            for name, values in metrics.items()
        ]
        if unknown := {group for group, _, _ in series if group not in GROUPS}:
            raise ValueError(f"unknown groups: {', '.join(sorted(unknown))}")
        if unknown := {name for _, name, _ in series if name not in METRICS}:
            raise ValueError(f"unknown metrics: {', '.join(sorted(unknown))}")
        if unknown := {name for figures in self.figures.values() for name in figures if name not in FIGURES}:
            raise ValueError(f"unknown figures: {', '.join(sorted(unknown))}")
        if len({len(values) for _, _, values in series}) != 1:
            raise ValueError("all series of an evaluation must have one length, one value per frame")

    def __len__(self) -> int:
        return next(len(values) for group in self.methods["avatar"].values() for values in group.values())

    def values(self, method: str, group: str, name: str) -> np.ndarray:
        """Return the values [N] of a metric, all NaN if it was not measured."""
        values = self.methods[method].get(group, {}).get(name)
        return np.full(len(self), np.nan) if values is None else np.asarray(values, float)

    @cached_property
    def frame_numbers(self) -> list[int]:
        """[N] numbers of the frames in the clip."""
        skipped = set(self.left_out)
        last = self.first_frame + len(self) + len(skipped)
        return [number for number in range(self.first_frame, last) if number not in skipped][: len(self)]

    @cached_property
    def summary(self) -> dict[str, dict[str, dict[str, MetricSummary]]]:
        """`metric_catalog.summarize` by method and group."""
        return {
            method: {group: summarize(series) for group, series in groups.items()}
            for method, groups in self.methods.items()
        }

    def mean(self, method: str, group: str, name: str) -> float | None:
        """Return the mean over the frames, None if no frame has the metric."""
        summary = self.summary[method].get(group, {}).get(name)
        return summary["mean"] if summary else None

    def worst_frame(self, method: str, group: str, name: str) -> int | None:
        """Return the index of the frame with the worst value, None if no frame has the metric."""
        summary = self.summary[method].get(group, {}).get(name)
        return summary["worst_frame"] if summary else None

    def measured(self, method: str, group: str) -> bool:
        """Return whether the method has any metric of the group."""
        return any(self.mean(method, group, name) is not None for name in METRICS)

    def has(self, group: str, name: str) -> bool:
        """Return whether any method has the metric."""
        return any(self.mean(method, group, name) is not None for method in self.methods)

    def names(self, *groups: str) -> list[str]:
        """Return the metrics that any method has in any of the groups, in the order of `METRICS`."""
        return [name for name in METRICS if any(self.has(group, name) for group in groups)]

    def best(self, group: str, name: str) -> set[str]:
        """Return the methods with the best mean after rounding for display; none if fewer than two have one."""
        means = {method: self.mean(method, group, name) for method in self.methods}
        rounded = {method: float(format_value(name, mean)) for method, mean in means.items() if mean is not None}
        if len(rounded) < 2:
            return set()
        best = max(rounded.values()) if METRICS[name].higher_is_better else min(rounded.values())
        return {method for method, value in rounded.items() if value == best}

    def to_dict(self) -> dict[str, Any]:
        """Return a document for JSON: values as lists with None for NaN, and a summary."""
        return {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in _SCALARS},
            "frames": len(self),
            "left_out": list(self.left_out),
            "protocol": dict(self.protocol),
            "figures": {
                method: {name: asdict(figure) for name, figure in figures.items()}
                for method, figures in self.figures.items()
            },
            "summary": self.summary,
            "ways": {
                method: {group: {name: _listed(v) for name, v in series.items()} for group, series in groups.items()}
                for method, groups in self.methods.items()
            },
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Evaluation":
        """Read a document written by `to_dict`."""
        methods = {
            method: {group: {name: np.array(v, float) for name, v in s.items()} for group, s in groups.items()}
            for method, groups in document["ways"].items()
        }
        scalars, left_out = {name: document[name] for name in _SCALARS}, document.get("left_out", ())
        figures = {
            method: {name: Figure(**figure) for name, figure in figures.items()}
            for method, figures in document.get("figures", {}).items()
        }
        return cls(**scalars, protocol=document["protocol"], methods=methods, left_out=left_out, figures=figures)


def _listed(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 6) if math.isfinite(v) else None for v in values]


def method_label(method: str) -> str:
    """Return the display name of a method."""
    return METHODS[method][0] if method in METHODS else method.replace("_", " ").capitalize()


def label(group: str, name: str) -> str:
    """Return a metric's display name with its region: "person PSNR", "body error"."""
    return (
        METRICS[name].label
        if group in ("time", "control", "following")
        else f"{GROUPS[group][0].lower()} {METRICS[name].label}"
    )
