"""The built-in performer in any motion: true pictures of some of its frames, kept in a folder."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ram_avatar.body import BodyTemplate
from ram_avatar.core.files import atomic_folder
from ram_avatar.core.progress import Progress, follow
from ram_avatar.motion.formats import is_motion_file
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.motion import Motion
from ram_avatar.rendering.framing import Square
from ram_avatar.synthetic.choreography import PERFORMANCES
from ram_avatar.synthetic.laboratory import performer, stage
from ram_avatar.synthetic.options import DEFAULT_PERFORMER, PerformerName
from ram_avatar.synthetic.performances import performance, performer_identity

FPS = 25.0  # of a performance
_MOTION, _PICTURES = "motion.npz", "pictures.npz"


@dataclass(frozen=True)
class Filming:
    """Which frames of a motion are filmed, and how."""

    frames: int
    """Longest part of a motion, from its middle."""
    every: int
    """Only every n-th of them has a picture."""
    size: int
    """Side of the pictures in pixels."""
    seed: int
    """Seed of the performer's face."""
    performer: PerformerName = DEFAULT_PERFORMER
    """What the performer wears."""


@dataclass(frozen=True)
class Performed:
    """The performer in a motion."""

    motion: Motion
    """As performed, N frames."""
    numbers: list[int]
    """Which K of them have pictures."""
    frames: np.ndarray
    """[K, S, S, 3] uint8 RGB, the whole scene."""
    masks: np.ndarray
    """[K, S, S] uint8, the performer's coverage."""

    def cut(self, squares: Sequence[Square], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut a square from each picture; return frames [K, size, size, 3], masks, and where the square is inside."""
        scene = self.masks.shape[1]
        frames, masks = (
            np.stack([square.cut(image, size) for square, image in zip(squares, images, strict=True)])
            for images in (self.frames, self.masks)
        )
        return frames, masks, np.stack([square.inside(scene, scene, size) for square in squares])


def perform(driver: str, folder: Path, filming: Filming, template: BodyTemplate, progress: Progress) -> Performed:
    """Film the performer in a motion, or load what an earlier call with the same arguments kept in the folder.

    Args:
        driver: a performance, a motion file or a capture.

    Raises:
        UserError: The motion cannot be read.
    """
    name = f"{Path(driver).stem}-{filming.frames}-{filming.every}-{filming.size}-{filming.seed}"
    if filming.performer != DEFAULT_PERFORMER:
        name += f"-{filming.performer}"
    if not (folder / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        motion = performed_motion(driver, filming, template, progress)
        numbers = range(0, len(motion), filming.every)
        person = performer(filming.seed, filming.performer)
        rendered = person.render_with_masks(motion, filming.size, filming.every)
        label = f"Rendering the performer: {Path(driver).stem}"
        frames, masks = zip(*follow(rendered, progress, label, len(numbers)), strict=True)
        with atomic_folder(folder / name) as made:
            motion.save(made / _MOTION)
            np.savez_compressed(made / _PICTURES, numbers=np.array(numbers), frames=frames, masks=masks)
    with np.load(folder / name / _PICTURES) as stored:
        return Performed(
            Motion.load(folder / name / _MOTION), stored["numbers"].tolist(), stored["frames"], stored["masks"]
        )


def performed_motion(driver: str, filming: Filming, template: BodyTemplate, progress: Progress) -> Motion:
    """Return a performance, or the middle of a motion as the performer performs it; unaligned."""
    identity = performer_identity(template, filming.seed)
    if driver in PERFORMANCES:
        return performance(driver, template, filming.frames, FPS)
    path = Path(driver)
    if not is_motion_file(path):
        return stage(path, template, identity, filming.frames, progress)
    motion = read_motion(path, template, identity)
    start = max(0, (len(motion) - filming.frames) // 2)
    with tempfile.TemporaryDirectory() as scratch:
        middle = Path(scratch) / f"{path.stem}.npz"
        motion[start : start + filming.frames].save(middle)
        return stage(middle, template, identity, filming.frames, progress)
