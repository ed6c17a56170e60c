"""The performer as a laboratory: a video together with the capture that a perfect tracker would make of it.

What a learned avatar gets wrong is partly the tracker's fault and partly its own. With the truth at hand the
two come apart: `track` on the video is judged by `evaluation.tracking_error`, and an avatar trained on the
truth shows what remains when tracking is perfect.
"""

import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d, median_filter
from torch import Tensor

from ..body import Body, BodyTemplate, load_template
from ..capture.capture import (
    CAPTURE_FILE,
    Capture,
    Footage,
)
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.images import write_picture
from ..core.progress import SILENT, Progress, follow
from ..drivers.sources import open_motion
from ..motion.formats.reading import ReadOptions
from ..motion.motion import Motion
from ..motion.retargeting.retarget import Person, retarget
from ..video import VideoWriter
from .choreography import PERFORMANCES
from .options import SynthOptions
from .performances import FLOOR, performance, performer_identity
from .performer import Performer
from .room import WALL

VIDEO, TRUTH = "video.mp4", "truth"
_FPS = 25.0  # of a performance
_POSED_AT_ONCE = 32
_AIRBORNE = 1.0  # seconds: what leaves the floor for less than half of this is a jump


def synthesize(
    out: str | Path,
    options: SynthOptions = SynthOptions(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Capture:
    """Render the performer in a motion: `out/video.mp4`, and `out/truth`, a capture with the true parameters.

    The truth has the performer's identity, camera and motion, the masks that its pictures were made with, and
    the empty room, without shadows, as its plate. Its frames are decoded from the compressed video: they are the
    pixels that a tracker and a trainer get of it, so that a comparison of the two tells of tracking alone.
    Captures of one size share one camera.

    `motion` is a performance ("training", "driving", or "walking", which leaves the frame in part), a motion file
    or a capture folder. A motion file has no body of its own and is taken to be the performer's; a capture's is scaled
    from its own identity. A performance goes on for `frames`, a file ends where it ends.

    Raises:
        UserError: `motion` cannot be read, or is of another template; `out` exists.
    """
    motion, size, seed = str(options.motion), options.size, options.seed
    with atomic_folder(out, overwrite, marker=f"{TRUTH}/{CAPTURE_FILE}") as folder:
        template = load_template(progress=progress)
        identity = performer_identity(template, seed)
        if motion in PERFORMANCES:
            shown = performance(motion, template, options.frames, options.fps or _FPS)
        else:
            reading = ReadOptions(options.joint_names, options.up, options.fps)
            shown = stage(Path(motion), template, identity, options.frames, progress, reading)
        truth = Capture(
            folder=folder / TRUTH,
            source=f"{Path(out).name}.mp4",  # every clip its own name: what an avatar was trained on is told by it
            camera=Performer.camera(size),
            motion=shown,
            identity=identity,
            footage=Footage(VIDEO, 0, 0, size, size),
            known_background=True,
            report={
                "truth": True,
                "motion": Path(motion).name,
                "performer_seed": seed,
                "detection_rates": dict.fromkeys(("body", "left_hand", "right_hand", "face"), 1.0),
                "face_read_from": "the truth",
                "background_shift": 0.0,
                "background_inpainted": 0.0,
            },
        )
        truth.folder.mkdir()
        with progress.wait("Dressing the performer"):
            person = performer(seed)
        _film(person, truth, folder / VIDEO, progress)
        write_picture(truth.folder / "background.png", person.room(size))
        truth.write_description()
    return Capture.load(Path(out) / TRUTH)


@lru_cache(maxsize=1)
def performer(seed: int) -> Performer:
    """The performer of a seed: dressing takes seconds, and one performer plays many motions."""
    return Performer(load_template(), seed)


def _film(person: Performer, truth: Capture, video: Path, progress: Progress) -> None:
    """Write the video, once more into the truth, and the truth's masks."""
    size, fps, count = truth.camera.width, truth.motion.fps, len(truth)
    with (
        VideoWriter(video, size, size, fps) as colors,
        VideoWriter(truth.folder / "masks.mkv", size, size, fps) as grays,
    ):
        rendered = person.render_with_masks(truth.motion, size)
        for picture, mask in follow(rendered, progress, "Filming the performer", count):
            colors.write(picture)
            grays.write(np.repeat(mask[..., None], 3, 2))
    shutil.copyfile(video, truth.folder / VIDEO)


def stage(
    path: Path,
    template: BodyTemplate,
    identity: Tensor,
    frames: int,
    progress: Progress = SILENT,
    options: ReadOptions | None = None,
) -> Motion:
    """At most `frames` frames of a motion file or a capture's motion, where the performer stands.

    Feet are on the performer's floor. Who walks out of the picture or into the wall stays at one place.

    Args:
        identity: [I] of the performer.
        options: what a motion file does not say.

    Raises:
        UserError: see `synthesize`.
    """
    with open_motion(path, options).clip(template, identity, progress) as clip:
        moved, mover = clip.motion[:frames], clip.identity
    if len(moved) < 2:
        raise UserError(f"{path}: a motion of {len(moved)} frames; at least 2 make a video")
    body = template.body(identity)
    source = Person.of(moved, template, mover)
    place = Person.of(performance("training", template, 1, moved.fps), template, identity)
    shown = _grounded(retarget(moved, template, source, place), body)
    if _out_of_view(shown, body):
        progress.note(f"{path}: walks out of the picture; the performer stays at one place")
        shown = _grounded(retarget(moved, template, source, place, keep_place=True), body)
        if left := _out_of_view(shown, body):
            progress.note(f"{path}: a part of the performer is out of the picture in {left} of {len(shown)} frames")
    return replace(shown, confidence=torch.ones_like(shown.confidence))


def _grounded(motion: Motion, body: Body) -> Motion:
    """The motion without its slow drift over and under the floor; jumps stay.

    A tracked motion drifts with every error of depth and with the tilt of its camera, and a performer who floats
    would throw shadows that no person throws.
    """
    lowest = _extents(motion, body)[0][:, 2].numpy()
    window = max(1, round(_AIRBORNE * motion.fps))
    drift = gaussian_filter1d(median_filter(lowest, window, mode="nearest"), window / 4, mode="nearest")
    lift = torch.zeros_like(motion.root_translation)
    lift[:, 2] = torch.from_numpy(FLOOR - drift)
    return replace(motion, root_translation=motion.root_translation + lift)


def _out_of_view(motion: Motion, body: Body) -> int:
    """In how many frames somebody reaches over the picture's edge or into the wall."""
    low, high = _extents(motion, body)
    return int(((low[:, 3:] < 0) | (high[:, 3:] > 1)).any(1).logical_or(high[:, 1] > WALL).sum())


@torch.no_grad()
def _extents(motion: Motion, body: Body) -> tuple[Tensor, Tensor]:
    """Lowest and highest values [N, 5] over the mesh: world x, y, z (metres), x and y in a picture of side 1."""
    camera, lows, highs = Performer.camera(1), [], []
    for part in motion.batches(_POSED_AT_ONCE):
        vertices = body.pose(*part.parameters()).vertices
        points = torch.cat([vertices, camera.project(vertices)[..., :2]], -1)
        lows.append(points.amin(1))
        highs.append(points.amax(1))
    return torch.cat(lows), torch.cat(highs)


def nearest_pose(motion: Motion, known: Motion, template: BodyTemplate) -> tuple[Tensor, Tensor]:
    """How far each frame is from all poses of another motion.

    The distance of two poses is the mean angle between the turns of their joints (`pose_joints` without fingers
    and eyes, relative to their parents) and of the root.

    Returns:
        [N] distance to the nearest of the known frames in degrees, and [N] which frame that is.
    """
    counted = [i for i, name in enumerate(template.pose_joints) if not name.startswith(("finger", "eye"))]

    def turns(m: Motion) -> Tensor:
        vectors = torch.cat([m.root_rotation[:, None], m.pose[:, counted]], 1)
        return roma.rotvec_to_unitquat(vectors.double())  # [N, K, 4]

    cosine = torch.einsum("nkq,mkq->nmk", turns(motion), turns(known)).abs().clamp(max=1)
    nearest = torch.rad2deg(2 * cosine.acos()).mean(-1).min(1)
    return nearest.values.float(), nearest.indices
