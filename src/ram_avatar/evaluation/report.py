"""The evaluation report: one self-contained HTML file, for screen and print."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .curves import charts
from .document import GROUPS, METHODS, Evaluation, label, method_label
from .following_table import FollowingTable, summary_line
from .gallery import AMPLIFICATION, Gallery, Row, SceneFrame, ranked, spaced
from .head_turns import HEAD_ANGLES
from .metric_catalog import METRICS, format_value
from .page import write_page

_TABLES = (("full", "inside", "person", "face", "left_hand", "right_hand"), ("time",), ("control",))
_UNFOLDED = ("person", "time", "control", "following")
_KEY_METRICS = {  # by whether the frames are of the avatar's own capture
    True: (
        ("full", "psnr"),
        ("person", "psnr"),
        ("person", "st_lpips"),
        ("control", "body_pck"),
        ("control", "hand_pck"),
        ("time", "perceptual_flicker"),
    ),
    False: (),  # the table of `FIGURES` takes their place
}
_RANKED_BY = {True: ("person", ("st_lpips", "psnr")), False: ("following", ("arms_angle", "legs_angle"))}
_FOLLOWED = {  # the worst frames of a driven avatar: metrics that rank them, and whether the head is enlarged
    "Arms": (("arms_followed", "arms_angle"), False),
    "Legs": (("legs_followed", "legs_angle"), False),
    "Head": (HEAD_ANGLES, True),
    "Mouth": (("mouth_deviation",), True),
}
_WORST = 8  # frames shown
HEADS = "heads_"
"""Prefix of the boxes of heads: "heads_driver" in the driver's frames, "heads_avatar" in the avatar's."""


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    frames: Mapping[str, np.ndarray],
    boxes: Mapping[str, np.ndarray] | None = None,
    scenes: Sequence[SceneFrame] = (),
) -> None:
    """Write the report, atomically.

    Args:
        frames: [N, S, S, 3] uint8 RGB by method, shown in this order after the video: "truth", or "driver" if
            another person drives (absent for a motion without a video).
        boxes: for "face", "left_hand" and "right_hand": [N, 3] square boxes, left, top and side in pixels; if another
            person drives, those of the heads (`HEADS`).
        scenes: whole frames shown at the top.

    Raises:
        ValueError: The avatar's frames are missing, or a method does not have N frames.
        UserError: `path` cannot be written.
    """
    if "avatar" not in frames:
        raise ValueError("a report needs the avatar's frames")
    for name, images in frames.items():
        if len(images) != len(evaluation):
            raise ValueError(f"{len(images)} frames of '{name}', but {len(evaluation)} were evaluated")
    write_page(path, "report.html", **_contents(evaluation, frames, boxes or {}, scenes))


def _contents(
    evaluation: Evaluation,
    frames: Mapping[str, np.ndarray],
    boxes: Mapping[str, np.ndarray],
    scenes: Sequence[SceneFrame],
) -> dict[str, object]:
    """Return what the template shows, by name."""
    group, names = _RANKED_BY[evaluation.own]
    order = ranked(evaluation, group, names)
    gallery = Gallery(evaluation, frames, group, names)
    parts = [part for part in ("face", "left_hand", "right_hand") if part in boxes and "truth" in frames]
    tables = [[group for group in table if evaluation.names(group)] for table in _TABLES]
    median = gallery.row(order[len(order) // 2]) if order else None
    return dict(
        evaluation=evaluation,
        summary=summary_text(evaluation),
        metrics=METRICS,
        groups=GROUPS,
        methods={
            method: method_label(method) for method in ("avatar", *(m for m in evaluation.methods if m != "avatar"))
        },
        meanings={
            method_label(method): METHODS[method][1]
            for method in {**evaluation.methods, **evaluation.figures}
            if method in METHODS
        },
        format_value=format_value,
        count=lambda *series: int(np.isfinite(evaluation.values(*series)).sum()),
        median=median,
        key=[series for series in _KEY_METRICS[evaluation.own] if evaluation.mean("avatar", *series) is not None],
        label=label,
        scenes=[gallery.scene(frame) for frame in scenes],
        wide=any(frame.video.shape[1] > frame.video.shape[0] for frame in scenes),
        tables=[table for table in tables if table],
        curves={group: charts(evaluation, group) for group in GROUPS if evaluation.names(group)},
        unfolded=_UNFOLDED,
        ranked_by=[label(group, name) for name in names if evaluation.has(group, name)],
        worst=[gallery.row(i) for i in spaced(order, evaluation.fps, _WORST)] if evaluation.own else [],
        figures=FollowingTable.of(evaluation.figures),
        gestures=_worst_gestures(evaluation, frames, boxes) if "driver" in frames else {},
        others={"Best": gallery.row(order[-1]), "Median": median} if order else {},
        parts={GROUPS[part][0]: list(gallery.crops(part, boxes[part])) for part in parts},
        differs="truth" in frames,
        amplification=AMPLIFICATION,
    )


def _worst_gestures(
    evaluation: Evaluation, frames: Mapping[str, np.ndarray], boxes: Mapping[str, np.ndarray]
) -> dict[str, list[Row]]:
    """Return pairs of frames, driver and avatar, in which it follows worst, by what is followed."""
    pairs = {method: frames[method] for method in ("driver", "avatar")}
    rows = {}
    for title, (names, enlarged) in _FOLLOWED.items():
        gallery = Gallery(evaluation, pairs, "following", names)
        heads = {method: boxes[HEADS + method] for method in pairs if enlarged and HEADS + method in boxes}
        order = ranked(evaluation, "following", names)
        rows[title] = [gallery.pair(i, heads) for i in spaced(order, evaluation.fps, _WORST // 2)]
    return rows


def summary_text(evaluation: Evaluation) -> str:
    """Say how closely the avatar follows another person, or in how many metrics it beats every baseline."""
    if evaluation.figures:
        return summary_line(evaluation.figures)
    if len(evaluation.methods) < 2:
        return "Evaluated without baselines."
    best = {(group, name): evaluation.best(group, name) for group in GROUPS for name in evaluation.names(group)}
    compared = {
        key: methods for key, methods in best.items() if methods and evaluation.mean("avatar", *key) is not None
    }
    if not compared:
        return "No metric is shared with a baseline."
    lost = [label(*key) for key, methods in compared.items() if methods != {"avatar"}]
    won = f"{len(compared) - len(lost)} of {len(compared)} metrics"
    text = f"The avatar is {'closer to the video' if evaluation.own else 'better'} than every baseline in {won}."
    if not lost:
        return text
    more = f" and {len(lost) - 4} more" if len(lost) > 5 else ""
    return f"{text} A baseline is as good or better in {', '.join(lost[:4] if more else lost)}{more}."
