"""Quality of avatars on held-out frames: `python benchmarks/quality.py WORK [VIDEO ...] [MODE] [--steps N]`.

For each video an avatar is created as a user would (`create`, preset `lite`) and compared with the baselines: the
textured mesh, the nearest training frame, and a landmark U-Net trained on the same frames for as many steps.
Without a video the built-in performer is filmed. Modes:

    --ablations [ROW ...]  train the variants in `ablations.yaml`, or some of them, for a third of the steps
    --hands                render these avatars' hands by other rules than the shipped one
    --square               compare these avatars' scene frames, cut to a fixed square around the person

Finished work is kept in the folder WORK, so a run can be interrupted and resumed; each table's report.html is there
as well.
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
from measures.fixed_square import compare_in_square
from measures.landmark_unet import draw_landmarks, paint, train_landmark_unet
from measures.network_cost import frame_flops
from measures.results import describe_setup, markdown_table

from ram_avatar.avatar import Avatar
from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.config import Preset, load_preset
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import resize
from ram_avatar.core.progress import Progress
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
    render_methods,
)
from ram_avatar.evaluation.frames import render_frames, shown_size
from ram_avatar.evaluation.metric_catalog import format_value
from ram_avatar.evaluation.metrics import StLpips
from ram_avatar.evaluation.report import write_report
from ram_avatar.inference import folding
from ram_avatar.networks.hand_detail import DRAWING, TRAINING
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.training.avatar_data import avatar_data

COLUMNS = {  # heading: regions that are averaged, and metric
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

_DETECTED_SIZE = 768  # pixels of the close-ups in which landmarks for the landmark U-Net are detected

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
    modes = arguments.add_mutually_exclusive_group()
    modes.add_argument("--ablations", nargs="*", metavar="ROW")
    modes.add_argument("--hands", action="store_true")
    modes.add_argument("--square", action="store_true")
    arguments.add_argument("--size", type=int, help="side of the pictures; default: as `ram-avatar evaluate`")
    arguments.add_argument("--steps", type=int, help="training steps, instead of the preset's")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    preset = load_preset("lite")
    if options.steps:
        preset = preset.with_changes(training={"steps": options.steps})
    videos = options.videos or [_film(options.work)]
    print(describe_setup())
    with TerminalProgress() as progress:
        for video in videos:
            if options.ablations is not None:
                print_table(
                    ablations(video, options.work, preset, options.ablations, options.size, progress),
                    avatar=preset.name,
                )
            elif options.square:
                print_square(options.work / video.stem, progress)
            elif options.hands:
                print_table(hand_rules(options.work / video.stem, options.size, progress), avatar="as shipped")
            else:
                print_table(compare(video, options.work / video.stem, preset, options.size, progress))


def compare(video: Path, folder: Path, preset: Preset, size: int | None, progress: Progress) -> Evaluation:
    """Evaluate an avatar of a video beside the baselines."""
    avatar = create(video, folder, CreateOptions(preset=preset), finished_is_fine=True, progress=progress)
    capture = Capture.load(_capture(folder))
    data = avatar_data(avatar, capture, progress=progress, size=size or shown_size(avatar))
    frames = render_methods(avatar, data, capture.held_out, progress)
    small = avatar_data(avatar, capture, progress=progress)
    painted, seconds = _landmark_unet(avatar, small, preset, folder, progress)
    frames["landmark_unet"] = np.stack([resize(frame, data.size) for frame in painted])
    facts = {"landmark U-Net": f"{preset.training.steps} steps in {seconds:.0f} s"}
    return _evaluate(avatar, data, frames, folder / "quality", progress, facts)


def ablations(
    video: Path, work: Path, preset: Preset, rows: list[str], size: int | None, progress: Progress
) -> Evaluation:
    """Evaluate the preset and its variants, all or the named ones, each trained for a third of the steps."""
    variants = yaml.safe_load((Path(__file__).parent / "ablations.yaml").read_text())
    if unknown := set(rows) - set(variants):
        raise UserError(f"unknown rows: {', '.join(unknown)}; choose from {', '.join(variants)}")
    if rows:
        variants = {name: changes for name, changes in variants.items() if name in (preset.name, *rows)}
    base = preset.with_changes(training={"steps": preset.training.steps // 3})
    folder = work / f"{video.stem}-ablations"
    folder.mkdir(exist_ok=True)
    capture = Capture.load(_capture(work / video.stem))
    frames: dict[str, np.ndarray] = {}
    avatar: Avatar | None = None
    for name, changes in variants.items():
        variant = replace(base.with_changes(**changes), name=name)
        trained = folder / name.replace(" ", "-")
        if not (trained / "metrics.json").is_file():
            progress.note(name)
            train(capture, trained, TrainOptions(preset=variant), progress=progress)
        loaded = Avatar.load(trained)
        avatar = avatar or loaded
        method = "avatar" if loaded is avatar else name
        size = size or shown_size(loaded)
        frames[method] = np.stack(list(render_frames(loaded, capture.motion, capture.held_out, size)))
    assert avatar is not None
    return _evaluate(
        avatar, avatar_data(avatar, capture, progress=progress, size=size), frames, folder / "quality", progress
    )


def hand_rules(folder: Path, size: int | None, progress: Progress) -> Evaluation:
    """Evaluate a finished avatar with its hands rendered by other rules."""
    avatar, capture = Avatar.load(folder), Capture.load(_capture(folder))
    motion, numbers, frames = capture.motion, capture.held_out, {}
    size = size or shown_size(avatar)
    for name, rule in {"avatar": DRAWING, **HAND_RULES}.items():
        with mock.patch.object(folding, "DRAWING", rule):
            frames[name] = np.stack(list(render_frames(avatar, motion, numbers, size)))
    frames["textured_mesh"] = np.stack(list(textured_mesh(avatar, motion[numbers], size)))
    data = avatar_data(avatar, capture, progress=progress, size=size)
    return _evaluate(avatar, data, frames, folder / "hands", progress)


def print_square(folder: Path, progress: Progress) -> None:
    """Print the errors of a finished avatar's scene frames in the fixed square."""
    capture = Capture.load(_capture(folder))
    errors = compare_in_square(Avatar.load(folder), capture, StLpips(), progress)
    psnr, st_lpips = np.nanmean(errors.psnr), np.nanmean(errors.st_lpips)
    row = (f"{errors.pixels:.2f}", format_value("psnr", float(psnr)), format_value("st_lpips", float(st_lpips)))
    print(f"\n{capture.source}: {len(errors.psnr)} held-out frames, in the fixed square\n")
    print(markdown_table([row], ("pixels of the person", "person PSNR", "person ST-LPIPS")))


def print_table(evaluation: Evaluation, avatar: str = "avatar") -> None:
    """Print a row for each method."""
    print(f"\n{evaluation.driver}: {len(evaluation)} held-out frames\n")
    print("| | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
    for method in evaluation.methods:
        values = []
        for groups, name in COLUMNS.values():
            means = [evaluation.mean(method, group, name) for group in groups]
            known = [mean for mean in means if mean is not None]
            values.append(format_value(name, float(np.mean(known)) if known else None))
        label = avatar if method == "avatar" else method_label(method).lower()
        print(f"| {label} | " + " | ".join(values) + " |")


def _landmark_unet(
    avatar: Avatar, data: CaptureDataset, preset: Preset, folder: Path, progress
) -> tuple[np.ndarray, float]:
    """Return the baseline's held-out frames and the seconds of its training."""
    saved = folder / "landmark_unet.npz"
    if not saved.is_file():
        landmarks = detect_frames(_close_ups(data), on_frame=lambda n: progress.step("Landmarks", n, len(data)))
        landmarks = [scaled(seen, data.size / _DETECTED_SIZE) for seen in landmarks]
        gflop = sum(frame_flops(avatar.network.config).values()) / 1e9
        started = time.monotonic()
        network = train_landmark_unet(data, landmarks, preset, gflop, progress)
        seconds = time.monotonic() - started
        drawings = draw_landmarks(landmarks, data.size)
        painted = paint(network, drawings)[data.capture.held_out]
        np.savez_compressed(saved, frames=painted, seconds=seconds)
    with np.load(saved) as file:
        return file["frames"], float(file["seconds"])


def _close_ups(data: CaptureDataset) -> Iterator[np.ndarray]:
    """Yield the close-ups, large, for a detector."""
    for index, (square, (frame, _)) in enumerate(zip(data.squares, data.capture.frames(), strict=True)):
        yield square.cut(frame, _DETECTED_SIZE, data.capture.footage.matrix(index))


def _evaluate(
    avatar: Avatar, data: CaptureDataset, frames: dict, folder: Path, progress: Progress, facts: dict | None = None
) -> Evaluation:
    """Evaluate the held-out frames of every method; keep `evaluation.json` and the report in the folder."""
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
