"""Renders videos of the performer together with the capture that a perfect tracker would make.

Errors of an avatar come partly from tracking and partly from learning. The truth separates the two: compare `track` on
the video with the truth, and train an avatar on the truth to see what remains with perfect tracking.
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
from ..capture.capture import CAPTURE_FILE, Capture
from ..capture.footage import Footage
from ..core.errors import UserError
from ..core.files import atomic_folder
from ..core.images import write_picture
from ..core.progress import SILENT, Progress, follow
from ..drivers.sources import open_motion
from ..motion.formats import ReadOptions
from ..motion.motion import Motion
from ..motion.retargeting.retarget import Person, retarget
from ..video import GENERATED, VideoWriter
from .choreography import PERFORMANCES
from .options import DEFAULT_PERFORMER, PerformerName, SynthOptions
from .performances import FLOOR, performance, performer_identity
from .performer import Performer
from .room import WALL

VIDEO, TRUTH = "video.mp4", "truth"
_FPS = 25.0  # of a performance
_POSED_AT_ONCE = 32
_AIRBORNE = 1.0  # seconds; leaving the floor for less than half of this is a jump


def synthesize(
    out: str | Path,
    options: SynthOptions = SynthOptions(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Capture:
    """Render the performer in a motion: `out/video.mp4`, and `out/truth`, a capture with the true parameters.

    The truth has the performer's identity, camera and motion, the rendered masks, and the empty room without shadows
    as its plate. Its frames are decoded from the compressed video, so they are the pixels that tracking and training
    see, and a comparison of the two isolates tracking. Captures of the same size share one camera.

    The motion is a performance ("training", "driving", "walking", which partly leaves the frame, or "narrow", with the
    arms down), a motion file, or a capture folder. A motion file has no identity and is taken as the performer's; a
    capture is scaled from its own identity. A performance repeats to fill `frames`, a file ends where it ends.

    Raises:
        UserError: The motion cannot be read or uses another template, or `out` exists.
    """
    motion, size, seed = options.motion, options.size, options.seed
    with atomic_folder(out, overwrite, marker=f"{TRUTH}/{CAPTURE_FILE}") as folder:
        template = load_template(progress=progress)
        identity = performer_identity(template, seed)
        if motion in PERFORMANCES:
            shown = performance(motion, template, options.frames, options.fps or _FPS)
        else:
            shown = stage(Path(motion), template, identity, options.frames, progress, options)
        truth = Capture(
            folder=folder / TRUTH,
            source=f"{Path(out).name}.mp4",  # a name per clip: it identifies the training data
            camera=Performer.camera(size),
            motion=shown,
            identity=identity,
            footage=Footage(VIDEO, 0, 0, size, size),
            known_background=True,
            report={
                "truth": True,
                "motion": Path(motion).name,
                "performer_seed": seed,
                **({} if options.performer == DEFAULT_PERFORMER else {"performer": options.performer}),
                "detection_rates": dict.fromkeys(("body", "left_hand", "right_hand", "face"), 1.0),
                "face_read_from": "the truth",
                "background_shift": 0.0,
                "background_inpainted": 0.0,
            },
        )
        truth.folder.mkdir()
        with progress.wait("Dressing the performer"):
            person = performer(seed, options.performer)
        _film(person, truth, folder / VIDEO, progress)
        write_picture(truth.folder / "background.png", person.room(size))
        truth.write_description()
    return Capture.load(Path(out) / TRUTH)


def like(truth: Capture, motion: str, frames: int) -> SynthOptions:
    """Return options that film the performer of a truth, in frames of the same size, in another motion."""
    name = truth.report.get("performer", DEFAULT_PERFORMER)
    return SynthOptions(
        motion=motion, frames=frames, size=truth.camera.width, performer=name, seed=truth.report["performer_seed"]
    )


@lru_cache(maxsize=1)
def performer(seed: int, name: PerformerName = DEFAULT_PERFORMER) -> Performer:
    """Return the performer of a seed and a name, cached: dressing takes seconds."""
    return Performer(load_template(), seed, name)


def _film(person: Performer, truth: Capture, video: Path, progress: Progress) -> None:
    """Write the video, a copy of it in the truth, and the truth's masks."""
    size, fps, count = truth.camera.width, truth.motion.fps, len(truth)
    with (
        VideoWriter(video, size, size, fps, metadata=GENERATED) as colors,
        VideoWriter(truth.folder / "masks.mkv", size, size, fps) as grays,
    ):
        rendered = person.render_with_masks(truth.motion, size)
        for frame, mask in follow(rendered, progress, "Rendering the performer", count):
            colors.write(frame)
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
    """Remove slow drift above and below the floor from a motion; jumps are kept.

    Tracked motions drift with errors of depth and the tilt of their camera, and a floating performer would cast
    implausible shadows.
    """
    lowest = _extents(motion, body)[0][:, 2].numpy()
    window = max(1, round(_AIRBORNE * motion.fps))
    drift = gaussian_filter1d(median_filter(lowest, window, mode="nearest"), window / 4, mode="nearest")
    lift = torch.zeros_like(motion.root_translation)
    lift[:, 2] = torch.from_numpy(FLOOR - drift)
    return replace(motion, root_translation=motion.root_translation + lift)


def _out_of_view(motion: Motion, body: Body) -> int:
    """Count the frames in which the person reaches beyond the frame or into the wall."""
    low, high = _extents(motion, body)
    return int(((low[:, 3:] < 0) | (high[:, 3:] > 1)).any(1).logical_or(high[:, 1] > WALL).sum())


@torch.no_grad()
def _extents(motion: Motion, body: Body) -> tuple[Tensor, Tensor]:
    """Return the minima and maxima [N, 5] over the mesh: world x, y, z (metres), and x, y in a frame of side 1."""
    camera, lows, highs = Performer.camera(1), [], []
    for part in motion.batches(_POSED_AT_ONCE):
        vertices = body.pose(*part.parameters()).vertices
        points = torch.cat([vertices, camera.project(vertices)[..., :2]], -1)
        lows.append(points.amin(1))
        highs.append(points.amax(1))
    return torch.cat(lows), torch.cat(highs)


def nearest_pose(motion: Motion, known: Motion, template: BodyTemplate) -> tuple[Tensor, Tensor]:
    """Find the nearest pose of another motion for each frame.

    The distance of two poses is the mean angle between the rotations of their joints (`pose_joints` without fingers
    and eyes, relative to their parents) and of the root.

    Returns:
        [N] distance to the nearest known frame in degrees, and [N] its index.
    """
    compared = [i for i, name in enumerate(template.pose_joints) if not name.startswith(("finger", "eye"))]

    def rotations(m: Motion) -> Tensor:
        vectors = torch.cat([m.root_rotation[:, None], m.pose[:, compared]], 1)
        return roma.rotvec_to_unitquat(vectors.double())  # [N, K, 4]

    cosine = torch.einsum("nkq,mkq->nmk", rotations(motion), rotations(known)).abs().clamp(max=1)
    nearest = torch.rad2deg(2 * cosine.acos()).mean(-1).min(1)
    return nearest.values.float(), nearest.indices
