"""How good avatars are: `python benchmarks/quality.py WORK [VIDEO ...] [--ablations [ROW ...] | --hands] [--steps N]`.

For each video an avatar is learned as a user would (`create`, preset `lite`) and judged on its held-out frames
beside the baselines: the textured mesh, the nearest training frame, and a landmark U-Net that is trained on the
same frames for as many steps. With --ablations, the variants of `ablations.yaml` are trained instead, or some of its
rows, for a third of the steps, all alike. With --hands, what these avatars make of hands by other rules than the one
they are drawn by. Without a video the built-in performer is filmed.

What is finished is kept in the folder WORK and not done again, so that a run can be stopped; each table's page
(report.html) is there as well.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import yaml
from landmark_unet import draw_landmarks, paint, train_landmark_unet
from machine import describe
from network_cost import frame_flops

from ram_avatar.avatar import Avatar
from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.config import Preset, load_preset
from ram_avatar.core.errors import UserError
from ram_avatar.creation.create import create
from ram_avatar.creation.options import CreateOptions, TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.evaluation.baselines import textured_mesh
from ram_avatar.evaluation.control import detect_frames, scaled
from ram_avatar.evaluation.document import Evaluation, method_label
from ram_avatar.evaluation.evaluate import (
    EVALUATION_FILE,
    REPORT_FILE,
    GroundTruth,
    evaluate_held_out,
    render_frames,
    render_methods,
)
from ram_avatar.evaluation.metric_catalog import format_value
from ram_avatar.evaluation.report import write_report
from ram_avatar.inference import folding
from ram_avatar.networks.hand_detail import DRAWING, TRAINING
from ram_avatar.synthetic.performer import Performer, write_performance

COLUMNS = {  # heading: the regions and the figure that are averaged
    "PSNR": (("full",), "psnr"),
    "person PSNR": (("person",), "psnr"),
    "person ST-LPIPS": (("person",), "st_lpips"),
    "person FLIP": (("person",), "flip"),
    "face ST-LPIPS": (("face",), "st_lpips"),
    "hands ST-LPIPS": (("left_hand", "right_hand"), "st_lpips"),
    "flow error": (("time",), "flow_error"),
    "flicker": (("time",), "perceptual_flicker"),
    "body PCK": (("control",), "body_pck"),
    "body error": (("control",), "body_error"),
    "finger PCK": (("control",), "hand_pck"),
    "finger error": (("control",), "hand_error"),
    "hands found": (("control",), "hands_found"),
    "lips": (("control",), "lips_error"),
    "lids": (("control",), "lids_error"),
}

_DETECTED_SIZE = 768  # pixels of the close-ups that the landmark U-Net's landmarks are found in

HAND_RULES = {
    "as in training": TRAINING,
    "the template's outline": replace(TRAINING, paints_beyond=False),
    "and half the shading": replace(DRAWING, near=TRAINING.near),
    "no shading": replace(DRAWING, shaded_by=0.0),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("videos", type=Path, nargs="*")
    instead = arguments.add_mutually_exclusive_group()
    instead.add_argument("--ablations", nargs="*", metavar="ROW")
    instead.add_argument("--hands", action="store_true")
    arguments.add_argument("--steps", type=int, help="of training, instead of the preset's")
    asked = arguments.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    preset = load_preset("lite")
    if asked.steps:
        preset = preset.with_changes(training={"steps": asked.steps})
    videos = asked.videos or [_film(asked.work)]
    print(describe())
    with TerminalProgress() as progress:
        for video in videos:
            if asked.ablations is not None:
                print_table(ablations(video, asked.work, preset, asked.ablations, progress), avatar=preset.name)
            elif asked.hands:
                print_table(hand_rules(asked.work / video.stem, progress), avatar="as shipped")
            else:
                print_table(compare(video, asked.work / video.stem, preset, progress))


def compare(video: Path, folder: Path, preset: Preset, progress) -> Evaluation:
    """An avatar of a video beside the baselines."""
    avatar = create(video, folder, CreateOptions(preset=preset), finished_is_fine=True, progress=progress)
    capture = Capture.load(_capture(folder))
    data = _dataset(avatar, capture, progress)
    frames = render_methods(avatar, data, capture.held_out, progress)
    frames["landmark_unet"], seconds = _landmark_unet(avatar, data, preset, folder, progress)
    facts = {"landmark U-Net": f"{preset.training.steps} steps in {seconds:.0f} s"}
    return _judged(avatar, data, frames, folder / "quality", progress, facts)


def ablations(video: Path, work: Path, preset: Preset, rows: list[str], progress) -> Evaluation:
    """The preset and variants of it, all or the named ones, each with a third of its steps."""
    variants = yaml.safe_load((Path(__file__).parent / "ablations.yaml").read_text())
    if unknown := set(rows) - set(variants):
        raise UserError(f"no such row: {', '.join(unknown)}; there are {', '.join(variants)}")
    if rows:
        variants = {name: changes for name, changes in variants.items() if name in (preset.name, *rows)}
    whole = preset.with_changes(training={"steps": preset.training.steps // 3})
    folder = work / f"{video.stem}-ablations"
    folder.mkdir(exist_ok=True)
    capture = Capture.load(_capture(work / video.stem))
    frames, avatar = {}, None
    for name, changes in variants.items():
        variant = replace(whole.with_changes(**changes), name=name)
        made = folder / name.replace(" ", "-")
        if not (made / "metrics.json").is_file():
            progress.note(name)
            train(capture, made, TrainOptions(preset=variant), progress=progress)
        shown = Avatar.load(made)
        avatar = avatar or shown
        way = "avatar" if shown is avatar else name
        frames[way] = np.stack(list(render_frames(shown, capture.motion, capture.held_out)))
    return _judged(avatar, _dataset(avatar, capture, progress), frames, folder / "quality", progress)


def hand_rules(folder: Path, progress) -> Evaluation:
    """A finished avatar, its hands drawn by other rules."""
    avatar, capture = Avatar.load(folder), Capture.load(_capture(folder))
    motion, numbers, frames = capture.motion, capture.held_out, {}
    for name, rule in {"avatar": DRAWING, **HAND_RULES}.items():
        with mock.patch.object(folding, "DRAWING", rule):
            frames[name] = np.stack(list(render_frames(avatar, motion, numbers)))
    frames["textured_mesh"] = np.stack(list(textured_mesh(avatar, motion[numbers])))
    return _judged(avatar, _dataset(avatar, capture, progress), frames, folder / "hands", progress)


def print_table(evaluation: Evaluation, avatar: str = "avatar") -> None:
    print(f"\n{evaluation.driver}: {len(evaluation)} held-out frames\n")
    print("| | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
    for way in evaluation.ways:
        values = []
        for groups, name in COLUMNS.values():
            means = [evaluation.mean(way, group, name) for group in groups]
            known = [mean for mean in means if mean is not None]
            values.append(format_value(name, float(np.mean(known)) if known else None))
        label = avatar if way == "avatar" else method_label(way).lower()
        print(f"| {label} | " + " | ".join(values) + " |")


def _landmark_unet(
    avatar: Avatar, data: CaptureDataset, preset: Preset, folder: Path, progress
) -> tuple[np.ndarray, float]:
    """The baseline's held-out frames, and the seconds of its training."""
    kept = folder / "landmark_unet.npz"
    if not kept.is_file():
        landmarks = detect_frames(_close_ups(data), on_frame=lambda n: progress.step("Landmarks", n, len(data)))
        landmarks = [scaled(seen, data.size / _DETECTED_SIZE) for seen in landmarks]
        gflop = sum(frame_flops(avatar.network.config).values()) / 1e9
        started = time.monotonic()
        network = train_landmark_unet(data, landmarks, preset, gflop, progress)
        seconds = time.monotonic() - started
        drawings = draw_landmarks(landmarks, data.size)
        shown = paint(network, drawings)[data.capture.held_out]
        np.savez_compressed(kept, frames=shown, seconds=seconds)
    with np.load(kept) as file:
        return file["frames"], float(file["seconds"])


def _close_ups(data: CaptureDataset) -> Iterator[np.ndarray]:
    """The close-ups, large, for a detector."""
    for index, (square, (frame, _)) in enumerate(zip(data.squares, data.capture.frames(), strict=True)):
        yield square.cut(frame, _DETECTED_SIZE, data.capture.footage.matrix(index))


def _dataset(avatar: Avatar, capture: Capture, progress) -> CaptureDataset:
    return CaptureDataset(capture, avatar.template, avatar.texture, avatar.size, avatar.device, progress)


def _judged(
    avatar: Avatar, data: CaptureDataset, frames: dict, folder: Path, progress, facts: dict | None = None
) -> Evaluation:
    """The held-out frames of every way, judged; figures and page are kept in the folder."""
    capture = data.capture
    truth = GroundTruth.of(data, capture.held_out)
    evaluation = evaluate_held_out(avatar, capture, capture.held_out, frames, truth, progress, facts)
    folder.mkdir(exist_ok=True)
    (folder / EVALUATION_FILE).write_text(json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n")
    write_report(folder / REPORT_FILE, evaluation, {"truth": truth.frames, **frames}, truth.regions.boxes)
    return evaluation


def _capture(avatar: Path) -> Path:
    return avatar.with_name(f"{avatar.name}-capture")


def _film(work: Path) -> Path:
    video = work / "performer.mp4"
    if not video.is_file():
        write_performance(video, Performer(load_template()), "training", frames=240)
    return video


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
