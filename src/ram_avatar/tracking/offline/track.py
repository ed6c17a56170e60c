"""Tracking: from a video to a capture."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...body import BodyTemplate, load_template
from ...capture.capture import (
    BACKGROUND_FILE,
    CAPTURE_FILE,
    NOBODY,
    OTHER_SCENE,
    Capture,
    LeftOut,
)
from ...capture.footage import Footage
from ...core.errors import UserError
from ...core.files import atomic_folder, disk_errors
from ...core.images import write_picture
from ...core.progress import SILENT, Progress
from ...core.sole_writer import sole_writer
from ...core.text import printable
from ...video import probe, rate_note
from ..camera.exposure import ExposureMeter
from ..camera.orientation import needed_rotation
from ..camera.path import PathFinder
from ..camera.stabilizing import stabilized
from ..correspondence import Correspondence
from ..detection.detectors import DEFAULT_TOPOLOGY
from ..detection.expressions import ExpressionNet, find_model_or_note, read_by_net
from ..detection.landmarks import LandmarkDetector
from ..matting.clip_matting import ClipMatting
from ..observations import Observations, observe
from .clip_detection import detect_clip
from .close_ups import cut_close_ups
from .first_look import look_around
from .fitting import DEFAULTS, FitSettings, fit
from .mattes_and_preview import write_mattes_and_preview
from .options import TrackOptions
from .presence import describe, find_left_out, leave_out
from .refinement import refine

MIN_SEEN = 0.5  # of the frames of a scene


def track(
    video: str | Path,
    capture: str | Path,
    options: TrackOptions = TrackOptions(),
    *,
    overwrite: bool = False,
    template: BodyTemplate | None = None,
    detector: LandmarkDetector | None = None,
    one_scene: bool = True,
    settings: FitSettings = DEFAULTS,
    progress: Progress = SILENT,
) -> Capture:
    """Track the person in a video: landmarks, the template's identity and motion, mattes, background.

    Args:
        video: a file. If it shows several people, the largest is followed. The camera may be hand-held.
        capture: the folder to make.
        overwrite: replace an existing capture.
        template: a loaded template, instead of the one that `options` name.
        detector: instead of the default one; it is closed.
        one_scene: track only the scene that shows the person longest, as an avatar needs; otherwise all scenes that
            show anybody, as a driver may have.

    Raises:
        UserError: the video cannot be read or shows nobody; with `one_scene`, it shows a person in less than half of
            the scene's frames; `capture` exists, or another process makes it.
    """
    video, rotate = Path(video), options.rotate
    info = probe(video, rotate)
    if note := rate_note(info):
        progress.note(note)
    with sole_writer(capture), atomic_folder(capture, overwrite, marker=CAPTURE_FILE) as folder:
        template = template or load_template(options.template, smplx_model=options.smplx_model, progress=progress)
        topology = detector.topology if detector else DEFAULT_TOPOLOGY
        Correspondence.load(template, topology, progress)  # if it must be measured, before minutes of work
        people, bars = look_around(info, progress)
        footage = Footage(f"video{video.suffix.lower()}", *bars, rotate)
        with disk_errors(folder):
            shutil.copyfile(video, folder / footage.file)

        net = _open_net(template, options.face_model, progress)
        path_finder, exposure = PathFinder(), ExposureMeter()
        detected = detect_clip(info, footage, people, detector, net, (path_finder, exposure), progress)
        observations = observe(detected.landmarks, *footage.size, float(info.fps))
        left_out = find_left_out(observations, detected.scenes, one_scene)
        _check_seen(video, left_out, len(observations), one_scene)
        if left_out:
            progress.note(f"{video.name}: {describe(left_out, len(observations))}")
        leave_out(observations, left_out)
        _check_rotation(video, observations, rotate, progress)

        path = path_finder.find()
        gains = exposure.find(path)
        footage = replace(
            footage,
            to_scene=path.to_scene if path.moves else None,
            gains=None if (gains == 1).all() else gains,
        )
        if path.moves:
            observations = stabilized(observations, path.to_scene)
        fitted = fit(template, observations, detected.actions, settings, progress)
        made = Capture(
            folder=folder,
            source=printable(video.name),
            camera=fitted.camera,
            motion=fitted.motion,
            identity=fitted.identity,
            footage=footage,
            known_background=False,
            left_out=left_out,
            report={
                "rotated": rotate,
                "detection_rates": observations.rates(),
                "face_read_from": "blendshape net and landmarks" if net else "landmarks",
                "others_seen": people.others,
                "background_shift": round(path.shift, 5),
            },
        )
        made.known_background = path.of(made.shown).reliable
        if not made.known_background and one_scene:  # of a driver, only the motion is used
            progress.note(
                "The background cannot be reconstructed from this video, so what is behind the person is a guess; "
                "use `animate --background` to replace it"
            )
        close_ups, covered = cut_close_ups(made, template, observations, path.registered, progress)
        write_picture(folder / BACKGROUND_FILE, close_ups.background)
        fitted, offsets = refine(template, observations, detected.actions, fitted, close_ups, settings, progress)
        made = replace(made, motion=fitted.motion, identity=fitted.identity)
        made.report |= {
            "fit_errors": fitted.errors,
            "surface_offsets": [offset and round(offset, 5) for offset in offsets],
            "background_inpainted": round(1 - float(covered.mean()), 4),
            "exposure_drift": round(float(np.abs(np.log(gains)).max()), 4),
        }
        made.write_description()
        matting = None
        if one_scene:
            matting = ClipMatting(footage, close_ups.background if made.known_background else None, covered)
        write_mattes_and_preview(made, template, observations, matting, progress)
    return Capture.load(capture)


def _open_net(template: BodyTemplate, face_model: str | Path | None, progress: Progress) -> ExpressionNet | None:
    """The blendshape net, if the template has its actions and its model can be had."""
    if not read_by_net(template.action_names):
        return None
    model = find_model_or_note(face_model, progress)
    return ExpressionNet(model, template.action_names) if model else None


def _check_rotation(video: Path, observations: Observations, rotate: int, progress: Progress) -> None:
    """Note if the person is not upright."""
    if turn := needed_rotation(observations):
        progress.note(
            f"{video.name}: the person is {'upside down' if turn == 180 else 'lying sideways'} in the image; if the "
            f"camera was turned rather than the person, run again {_rotation_flag((rotate + turn) % 360)}"
        )


def _rotation_flag(degrees: int) -> str:
    return f"with --rotate {degrees}" if degrees else "without --rotate"


def _check_seen(video: Path, left_out: Sequence[LeftOut], count: int, one_scene: bool) -> None:
    """Raise a UserError if too few frames show the person."""
    elsewhere, nobody = (sum(len(f) for f in left_out if f.why == why) for why in (OTHER_SCENE, NOBODY))
    if elsewhere + nobody == count:
        raise UserError(f"{video}: no person was found in any of its {count} frames")
    share = 1 - nobody / (count - elsewhere)
    if one_scene and share < MIN_SEEN:
        raise UserError(f"{video}: a person was found in only {share:.0%} of the frames; at least half are needed")
