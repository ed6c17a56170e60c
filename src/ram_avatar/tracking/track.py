"""From a video to a capture."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..body import BodyTemplate, load_template
from ..errors import UserError
from ..files import atomic_folder
from ..pictures import resize, write_picture
from ..progress import Progress, Silent, follow
from ..rendering.compositing import BackgroundPlate
from ..rendering.shading import shaded
from ..rendering.surface_texture import choose_frames
from ..video import VideoInfo, VideoWriter, probe, rate_note, read_frames
from .capture import CAPTURE_FILE, NOBODY, OTHER_SCENE, Capture, LeftOut
from .correspondence import Correspondence
from .cropping import Crop, choose_crop, mirror_beyond
from .expressions import ExpressionNet, find_model, read_by_net
from .fitting import DEFAULTS, Fit, FitSettings, fit
from .landmarks import HolisticDetector, LandmarkDetector, Landmarks
from .observations import Observations, observe
from .orientation import needed_rotation
from .people import People, find_people
from .refinement import FILM_SIZE, Film, refine
from .scenes import Scenes
from .showing import describe, find_left_out, leave_out
from .stillness import MOVES, camera_moves

MIN_SEEN = 0.5  # of the frames of a scene
_LOOK_EVERY = 0.5  # seconds between looks for other people
_LOOKS_AT_CAMERA = 24  # frames by which it is told whether it moves
_POSED_AT_ONCE = 16


def track(
    video: str | Path,
    capture: str | Path,
    *,
    template: BodyTemplate | None = None,
    detector: LandmarkDetector | None = None,
    face_model: str | Path | None = None,
    rotate: int = 0,
    one_scene: bool = True,
    overwrite: bool = False,
    settings: FitSettings = DEFAULTS,
    progress: Progress | None = None,
) -> Capture:
    """Track the person in a video: landmarks, the template's identity and motion, mask, background.

    Args:
        video: a file with one person in it, filmed by a camera that stands still.
        capture: the folder to make.
        face_model: MediaPipe's face landmarker file; see `expressions.find_model` for where else it is sought.
        rotate: 90, 180 or 270 degrees clockwise, for a video that was filmed sideways; see `video.probe`.
        one_scene: track only the scene that shows the person longest, as learning an avatar needs it; without, all
            scenes that show somebody, as a driver may have them.

    Raises:
        UserError: the video cannot be read, or shows nobody; nobody is found in half of the frames of its scene, with
            `one_scene`; `capture` exists.
    """
    progress = progress or Silent()
    video = Path(video)
    info = probe(video, rotate)
    if note := rate_note(info):
        progress.note(note)
    with atomic_folder(capture, overwrite, marker=CAPTURE_FILE) as folder:
        template = template or load_template(status=progress.wait)
        Correspondence.load(template, progress.wait)  # what has to be measured once is, before minutes of work
        people = _look_for_people(info, progress)
        landmarks, actions, face_from, scenes = _detect(info, people, template, detector, face_model, progress)
        observations = observe(landmarks, info.width, info.height, float(info.fps))
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
        fitted = fit(
            template, observations, actions, settings, lambda done, total: progress.step("Fitting", done, total)
        )
        crop = choose_crop(observations, _boxes(template, fitted))
        camera = fitted.camera.crop(crop.left, crop.top, crop.side, crop.size)
        cut = _cut(info, observations, left_out, crop, folder, progress)
        made = Capture(
            folder=folder,
            source=video.name,
            camera=camera,
            motion=fitted.motion,
            identity=fitted.identity,
            static_camera=cut.shift < MOVES,
            crop=crop.as_dict() | {"source_width": info.width, "source_height": info.height},
            left_out=left_out,
            report={
                "rotated": rotate,
                "detection_rates": observations.rates(),
                "face_read_from": face_from,
                "others_seen": people.others,
                "background_shift": round(cut.shift, 5),
            },
        )
        if not made.static_camera and one_scene:  # of a driver only the motion is used
            progress.note(
                f"The camera moves ({cut.shift:.1%} of the picture): the background is not kept apart, "
                "the whole frame is learned"
            )
        write_picture(folder / "background.png", mirror_beyond(cut.plate, made.inside(crop.size)))
        step = partial(progress.step, "Refining")
        fitted, offsets = refine(template, observations, actions, fitted, made, cut.film, settings, step)
        made = replace(made, motion=fitted.motion, identity=fitted.identity)
        made.report |= {
            "fit_errors": fitted.errors,
            "surface_offsets": [offset and round(offset, 5) for offset in offsets],
            "background_inpainted": round(cut.hole, 4),
        }
        made.write_description()
        _preview(made, cut.film, template, folder / "preview.mp4", progress)
    return Capture.load(capture)


def _frames(info: VideoInfo) -> Iterator[np.ndarray]:
    return read_frames(info.path, rotate=info.rotate)


def _look_for_people(info: VideoInfo, progress: Progress) -> People:
    every = max(1, round(float(info.fps) * _LOOK_EVERY))
    with progress.wait("Looking who is in the picture"):
        people = find_people((i, frame) for i, frame in enumerate(_frames(info)) if i % every == 0)
    if people.others:
        other = "another person" if people.others == 1 else f"{people.others} other people"
        progress.note(f"{info.path.name}: {other} seen; the one who is largest over the clip is followed")
    return people


def _detect(
    info: VideoInfo,
    people: People,
    template: BodyTemplate,
    detector: LandmarkDetector | None,
    face_model: str | Path | None,
    progress: Progress,
) -> tuple[list[Landmarks], torch.Tensor | None, str, np.ndarray]:
    """Landmarks of every frame, the net's facial actions [N, A] where there is a net, which was used, and the scene of
    every frame (`Scenes.labels`)."""
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
        looking = detector or HolisticDetector()
        stack.callback(lambda: looking.close())
        for index, frame in enumerate(follow(_frames(info), progress, "Detecting", info.frames)):
            if scenes.add(frame) and detector is None:
                # It goes on seeing the person for a while where they were, whatever the picture shows now.
                looking.close()
                looking = HolisticDetector()
            found = looking.detect(people.isolate(index, frame))
            landmarks.append(found)
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


@torch.no_grad()
def _boxes(template: BodyTemplate, fitted: Fit) -> torch.Tensor:
    """[N, 4] box of the fitted mesh in the picture."""
    body, boxes = template.body(fitted.identity), []
    for part in fitted.motion.batches(_POSED_AT_ONCE):
        points = fitted.camera.project(body.pose(*part.parameters()).vertices)[..., :2]
        boxes.append(torch.cat([points.amin(1), points.amax(1)], 1))
    return torch.cat(boxes)


class _CutOut(NamedTuple):
    """What is kept of the cut-out frames, which are read no more."""

    film: Film  # what `refine` compares
    plate: np.ndarray  # [S, S, 3] uint8 RGB
    hole: float  # share of the plate that is inpainted
    shift: float  # how far the background does, see `camera_moves`


def _cut(
    info: VideoInfo,
    observations: Observations,
    left_out: Sequence[LeftOut],
    crop: Crop,
    folder: Path,
    progress: Progress,
) -> _CutOut:
    """Write the cut-out frames and masks, lossless. Those that are left out tell nothing of the background."""
    gaps = {index for gap in left_out for index in range(gap.first, gap.last + 1)}
    shown = [index for index in range(info.frames) if index not in gaps]
    looks = set(choose_frames(shown, _LOOKS_AT_CAMERA))
    plate, film, frames, masks = BackgroundPlate(len(shown)), [], [], []
    scale, size = observations.masks.shape[2] / info.width, min(FILM_SIZE, crop.size)
    with (
        VideoWriter(folder / "frames.mkv", crop.size, crop.size, info.fps) as colors,
        VideoWriter(folder / "masks.mkv", crop.size, crop.size, info.fps) as grays,
    ):
        for index, frame in enumerate(follow(_frames(info), progress, "Cutting out", info.frames)):
            color, mask = crop.cut(frame), crop.cut(observations.masks[index], scale, mirror=False)
            colors.write(color)
            grays.write(np.repeat(mask[..., None], 3, 2))
            if index not in gaps:
                plate.add(color, mask)
            film.append((resize(color, size), resize(mask, size)))
            if index in looks:
                frames.append(frame)
                masks.append(observations.masks[index])
    return _CutOut(film, *plate.make(), camera_moves(frames, masks))


def _preview(capture: Capture, film: Film, template: BodyTemplate, path: Path, progress: Progress) -> None:
    """The template drawn over the video, beside the video; not where the video does not show the person."""
    side, shown = len(film[0][0]), capture.shown
    drawn = shaded(template, capture.identity, capture.motion, capture.camera.resized(side))
    with VideoWriter(path, 2 * side, side, capture.motion.fps) as video:
        frames = follow(film, progress, "Preview", len(film))
        for (frame, _), (shading, mask), has_person in zip(frames, drawn, shown, strict=True):
            over = frame.copy()
            if has_person:
                over[mask] = (0.45 * frame[mask] + 0.55 * shading[mask]).astype(np.uint8)
            video.write(np.concatenate([frame, over], 1))
