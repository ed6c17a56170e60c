"""From a video to a capture."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from ...body import BodyTemplate, load_template
from ...capture.capture import (
    BACKGROUND_FILE,
    CAPTURE_FILE,
    MASKS_FILE,
    NOBODY,
    OTHER_SCENE,
    Capture,
    Footage,
    LeftOut,
    preview_size,
)
from ...capture.close_ups import CloseUps
from ...core.errors import UserError
from ...core.files import atomic_folder, disk_errors
from ...core.images import write_picture
from ...core.progress import SILENT, Progress, follow
from ...rendering.compositing import BackgroundPlate
from ...rendering.framing import warp
from ...rendering.shading import shaded
from ...video import (
    VideoInfo,
    VideoWriter,
    probe,
    rate_note,
    read_frames,
)
from ..camera.black_bars import find_bars
from ..camera.exposure import ExposureMeter
from ..camera.orientation import needed_rotation
from ..camera.path import PathFinder
from ..camera.stabilizing import stabilized
from ..correspondence import Correspondence
from ..detection.detectors import DEFAULT_TOPOLOGY, open_detector
from ..detection.expressions import ExpressionNet, find_model, read_by_net
from ..detection.landmarks import LandmarkDetector, Landmarks
from ..detection.people import People, find_people
from ..matting.mattes import Matting
from ..observations import Observations, observe
from .fitting import DEFAULTS, FitSettings, fit
from .options import TrackOptions
from .presence import describe, find_left_out, leave_out
from .refinement import FILM_SIZE, Film, refine
from .scenes import Scenes

MIN_SEEN = 0.5  # of the frames of a scene
_LOOK_EVERY = 0.5  # seconds between looks for other people
_LOOKS_AT_BARS = 24  # frames by which black bars are found


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
    """Track the person in a video: landmarks, the template's identity and motion, mask, background.

    Args:
        video: a file with one person in it. The camera may stand, or be held in the hand.
        capture: the folder to make.
        overwrite: replace a capture that exists.
        template: a loaded template, in place of the one that `options` name.
        one_scene: track only the scene that shows the person longest, as learning an avatar needs it; without, all
            scenes that show somebody, as a driver may have them.

    Raises:
        UserError: the video cannot be read, or shows nobody; nobody is found in half of the frames of its scene, with
            `one_scene`; `capture` exists.
    """
    video, rotate = Path(video), options.rotate
    info = probe(video, rotate)
    if note := rate_note(info):
        progress.note(note)
    with atomic_folder(capture, overwrite, marker=CAPTURE_FILE) as folder:
        template = template or load_template(options.template, smplx_model=options.smplx_model, progress=progress)
        Correspondence.load(template, detector.topology if detector else DEFAULT_TOPOLOGY, progress)  # what has to be measured once is, before minutes of work
        people, bars = _look_around(info, progress)
        footage = Footage(f"video{video.suffix.lower()}", *bars, rotate)
        with disk_errors(folder):
            shutil.copyfile(video, folder / footage.file)
        finder, meter = PathFinder(), ExposureMeter()
        landmarks, actions, face_from, scenes = _detect(
            info, footage, people, template, detector, options.face_model, (finder, meter), progress
        )
        observations = observe(landmarks, *footage.size, float(info.fps))
        left_out = find_left_out(observations, scenes, one_scene)
        _check_seen(video, left_out, len(observations), one_scene)
        if left_out:
            progress.note(f"{video.name}: {describe(left_out, len(observations))}")
        leave_out(observations, left_out)
        if turn := needed_rotation(observations):
            progress.note(
                f"{video.name}: the person is {'upside down' if turn == 180 else 'on one side'} in the picture; if the "
                f"camera was, and not the person, run again with --rotate {(rotate + turn) % 360 or 'left out'}"
            )
        path = finder.find()
        gains = meter.find(path)
        footage = replace(
            footage,
            to_scene=path.to_scene if path.moves else None,
            gains=None if (gains == 1).all() else gains,
        )
        if path.moves:
            observations = stabilized(observations, path.to_scene)
        fitted = fit(template, observations, actions, settings, progress)
        made = Capture(
            folder=folder,
            source=video.name,
            camera=fitted.camera,
            motion=fitted.motion,
            identity=fitted.identity,
            footage=footage,
            known_background=False,
            left_out=left_out,
            report={
                "rotated": rotate,
                "detection_rates": observations.rates(),
                "face_read_from": face_from,
                "others_seen": people.others,
                "background_shift": round(path.shift, 5),
            },
        )
        made.known_background = path.of(made.shown).reliable
        if not made.known_background and one_scene:  # of a driver only the motion is used
            progress.note(
                "The background cannot be put together from this video: what is behind the person is guessed. "
                "`animate --background` puts another one there"
            )
        film, known = _film(made, template, observations, path.registered, progress)
        write_picture(folder / BACKGROUND_FILE, film.background)
        fitted, offsets = refine(template, observations, actions, fitted, film, settings, progress)
        made = replace(made, motion=fitted.motion, identity=fitted.identity)
        made.report |= {
            "fit_errors": fitted.errors,
            "surface_offsets": [offset and round(offset, 5) for offset in offsets],
            "background_inpainted": round(1 - float(known.mean()), 4),
            "exposure_drift": round(float(np.abs(np.log(gains)).max()), 4),
        }
        made.write_description()
        cutter = _Cutter(footage, film.background if made.known_background else None, known) if one_scene else None
        _finish(made, template, observations, cutter, progress)
    return Capture.load(capture)


def _look_around(info: VideoInfo, progress: Progress) -> tuple[People, tuple[int, int, int, int]]:
    """Who is in the picture, and where it ends: left, top, right and bottom within black bars."""
    every = max(1, round(float(info.fps) * _LOOK_EVERY))
    kept = max(1, info.frames // every // _LOOKS_AT_BARS) * every
    looks: list[np.ndarray] = []

    def some() -> Iterator[tuple[int, np.ndarray]]:
        for index, frame in enumerate(read_frames(info.path, rotate=info.rotate)):
            if index % kept == 0:
                looks.append(frame)
            if index % every == 0:
                yield index, frame

    with progress.wait("Looking who is in the picture"):
        people = find_people(some())
    if people.others:
        other = "another person" if people.others == 1 else f"{people.others} other people"
        progress.note(f"{info.path.name}: {other} seen; the one who is largest over the clip is followed")
    return people, find_bars(looks)


def _detect(
    info: VideoInfo,
    footage: Footage,
    people: People,
    template: BodyTemplate,
    detector: LandmarkDetector | None,
    face_model: str | Path | None,
    watchers: tuple[PathFinder, ExposureMeter],
    progress: Progress,
) -> tuple[list[Landmarks], torch.Tensor | None, str, np.ndarray]:
    """Landmarks of every frame, the net's facial actions [N, A] where there is a net, which was used, and the scene of
    every frame (`Scenes.labels`). `watchers` are shown every frame as well."""
    net, face_from = None, "landmarks"
    try:
        if read_by_net(template.action_names):
            net = ExpressionNet(find_model(face_model), template.action_names)
            face_from = "blendshape net and landmarks"
    except UserError as error:
        if face_model is not None:  # asked for by name: not a case to work around
            raise
        progress.note(
            f"The face is read from landmarks alone; lids and smile are better with MediaPipe's face model. {error}"
        )
    landmarks, actions, scenes = [], [], Scenes(info.fps)
    with ExitStack() as stack:
        looking = detector or open_detector()
        stack.callback(lambda: looking.close())
        frames = read_frames(info.path, rotate=info.rotate)
        for index, frame in enumerate(follow(frames, progress, "Detecting", info.frames)):
            if scenes.add(frame) and detector is None:
                # It goes on seeing the person for a while where they were, whatever the picture shows now.
                looking.close()
                looking = open_detector()
            isolated, frame = footage.within_bars(people.isolate(index, frame)), footage.within_bars(frame)
            found = looking.detect(isolated)
            landmarks.append(found)
            for watcher in watchers:
                watcher.add(frame, found.mask)  # an empty room is a picture of the scene, too
            if net:
                actions.append(net.detect(frame, found))
    if net:
        net.close()
    return landmarks, torch.from_numpy(np.stack(actions)) if net else None, face_from, scenes.labels()


def _check_seen(video: Path, left_out: Sequence[LeftOut], count: int, one_scene: bool) -> None:
    elsewhere, nobody = (sum(len(f) for f in left_out if f.why == why) for why in (OTHER_SCENE, NOBODY))
    if elsewhere + nobody == count:
        raise UserError(f"{video}: no person was found in any of its {count} frames")
    share = 1 - nobody / (count - elsewhere)
    if one_scene and share < MIN_SEEN:
        raise UserError(f"{video}: a person was found in only {share:.0%} of the frames; half is the least")


def _film(
    capture: Capture, template: BodyTemplate, observations: Observations, registered: np.ndarray, progress: Progress
) -> tuple[Film, np.ndarray]:
    """Cut the close-ups for `refine`, and make the background plate; say where [H, W] bool the plate is known.

    Frames that are left out or not registered tell nothing of the background.
    """
    close_ups, footage, shown = CloseUps(capture, template), capture.footage, capture.shown
    size = min(FILM_SIZE, max(64, int(np.median([square.side for square in close_ups.squares]))))
    telling = shown & registered if (shown & registered).any() else shown
    plate, frames, masks = BackgroundPlate(int(telling.sum())), [], []
    pictures = follow(footage.read(capture.folder), progress, "Looking behind the person", len(capture))
    for index, frame in enumerate(pictures):
        mask = observations.masks[index]
        if telling[index]:
            plate.add(frame, mask, footage.matrix(index), None if footage.gains is None else footage.gains[index])
        full = cv2.resize(mask, capture.scene_size)
        frames.append(close_ups.cut(index, footage.evened(index, frame), size))
        masks.append(close_ups.cut(index, full, size))
    background, _ = plate.make()
    painted = capture.train_frames or capture.held_out  # a driver may have a single frame
    return Film(capture.camera, size, close_ups.squares, frames, masks, background, shown, painted), plate.known


def _finish(
    capture: Capture,
    template: BodyTemplate,
    observations: Observations,
    cutter: "_Cutter | None",
    progress: Progress,
) -> None:
    """Write the mattes, and the preview: the template drawn over the scene, beside the scene.

    Args:
        cutter: None to keep the detector's masks for mattes.
    """
    footage, (width, height), shown = capture.footage, capture.scene_size, capture.shown
    small = preview_size(width, height)
    drawn = shaded(template, capture.identity, capture.motion, capture.camera.scaled(*small))
    with (
        VideoWriter(capture.folder / MASKS_FILE, width, height, capture.motion.fps) as mattes,
        VideoWriter(capture.folder / "preview.mp4", 2 * small[0], small[1], capture.motion.fps) as preview,
    ):
        pictures = follow(footage.read(capture.folder), progress, "Cutting out", len(capture))
        for index, (frame, (shading, covered)) in enumerate(zip(pictures, drawn, strict=True)):
            frame = footage.evened(index, frame)
            matte = cv2.resize(observations.masks[index], (width, height), interpolation=cv2.INTER_LINEAR)
            if cutter is not None:
                matte = cutter(index, frame, matte, covered)
            mattes.write(np.repeat(matte[..., None], 3, 2))
            seen = footage.in_scene(index, frame, small)
            over = seen.copy()
            if shown[index]:
                over[covered] = (0.45 * seen[covered] + 0.55 * shading[covered]).astype(np.uint8)
            preview.write(np.concatenate([seen, over], 1))


class _Cutter:
    """Makes mattes, with the plate brought to where each frame sees it.

    Args:
        background: [H, W, 3] uint8 the plate; None where it is not known.
        known: [H, W] bool, where the plate is not a guess.
    """

    def __init__(self, footage: Footage, background: np.ndarray | None, known: np.ndarray):
        self._footage, self._background, self._known = footage, background, known
        self._same = None  # for all frames
        if background is None:
            self._same = Matting()
        elif not footage.moves:
            self._same = Matting(background, known)

    def __call__(self, index: int, frame: np.ndarray, mask: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """[H, W] uint8 of a frame, its coarse mask [H, W] and the mesh in the scene [h, w] bool, which may be small."""
        size, to_frame = self._footage.size, np.eye(3)
        if self._footage.moves:
            to_frame = np.linalg.inv(self._footage.matrix(index))
        enlarge = np.diag([size[0] / mesh.shape[1], size[1] / mesh.shape[0], 1.0])
        mesh = warp(mesh.astype(np.uint8) * 255, to_frame @ enlarge, size) > 127
        if self._same is not None:
            return self._same(frame, mask, mesh)
        plate = warp(self._background, to_frame, size, cv2.INTER_CUBIC)
        known = warp(self._known.astype(np.uint8) * 255, to_frame, size) > 250
        return Matting(plate, known)(frame, mask, mesh)
