"""Avatars in poses that they never saw: `python benchmarks/unseen_poses.py WORK AVATAR ... --motions CLIPS.zip`.

Drives avatars of the built-in performer, unaligned, and compares their frames with the performer's true ones. They
learned from a performance with few poses, from its video as a user's would or from its truth:

    ram-avatar synth studio --motion narrow --frames 275
    ram-avatar create studio/video.mp4 avatar
    python benchmarks/unseen_poses.py work avatar --motions bandai_namco.zip

`--performer skirt`, of `synth` and of this, is a performer whose hair and skirt have a geometry of their own.

Rows are every avatar, and of the first one the textured mesh and, once its alignment is fitted, `--align on`. The last
row of a driver is the detector's own error: the true frames against the same ones in a wider crop. Columns:

* person PSNR and ST-LPIPS, against the true frames
* arms, legs: mean angle between a bone and the true one in degrees, as MediaPipe sees both, and the share of the bones
  within 20 degrees; a person not found counts in the share
* hands found, finger PCK: see `evaluation.control.measure_control`

WORK keeps the true frames, so only the first run renders them, and a contact sheet of every driver: WORK/DRIVER.png.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro
from measures.bandai_namco import extract_kinds
from measures.contact_sheet import contact_sheet, spread_over
from measures.performed import FPS, Filming, Performed, perform
from measures.results import describe_setup, markdown_table

from ram_avatar.avatar import Avatar
from ram_avatar.body import BodyTemplate
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import to_tensor, write_picture
from ram_avatar.core.progress import Progress, follow
from ram_avatar.evaluation.baselines import textured_mesh
from ram_avatar.evaluation.control import detect_frames, measure_control
from ram_avatar.evaluation.frames import shown_size
from ram_avatar.evaluation.limb_angles import LIMBS, limb_angles, summarize_angles
from ram_avatar.evaluation.metrics import ImageMetric, StLpips, psnr, st_lpips_person
from ram_avatar.inference.engine import Engine
from ram_avatar.motion.alignment.aligner import Aligner
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.retargeting.retarget import Person, retarget
from ram_avatar.rendering.framing import Square
from ram_avatar.synthetic.choreography import PERFORMANCES
from ram_avatar.synthetic.laboratory import nearest_pose
from ram_avatar.synthetic.options import DEFAULT_PERFORMER, PerformerName
from ram_avatar.synthetic.performances import performance, performer_identity
from ram_avatar.tracking.detection.detectors import open_detector
from ram_avatar.tracking.detection.landmarks import Landmarks

MESH, ALIGNED, TWICE = "textured mesh", "`--align on`", "the truth seen twice"
WIDER = 1.1  # side of the crop in which the truth is seen again, as a multiple
COLUMNS = {  # heading: digits
    "person PSNR": 1, "person ST-LPIPS": 4, "arms, degrees": 1, "within 20": 3, "legs, degrees": 1, "within 20 ": 3,
    "hands found": 2, "finger PCK": 3,
}  # fmt: skip

Step = Callable[[int, int], object]
"""Called with the number of frames done and of all frames."""


@dataclass
class Arguments:
    work: tyro.conf.Positional[Path]
    """Folder for true frames and contact sheets."""
    avatars: tyro.conf.Positional[tuple[Path, ...]]
    """Avatars of the built-in performer."""
    drivers: tuple[str, ...] = ("driving",)
    """Performances, motion files or captures."""
    motions: Path | None = None
    """The .zip of Bandai-Namco clips; adds one kick, run, slash and dance to the drivers."""
    learned_from: str = "narrow"
    """The performance that the avatars learned from."""
    frames: int = 240
    """At most this many frames of a driver, from its middle."""
    every: int = 5
    """Compare only every n-th of them; 1 for all."""
    shown: int = 6
    """Frames on a contact sheet."""
    performer: PerformerName = DEFAULT_PERFORMER
    """The performer that they learned."""
    seed: int = 0
    """Seed of the performer's face."""


def main(arguments: Arguments) -> None:
    avatars = load_avatars(arguments.avatars)
    first = next(iter(avatars.values()))
    template = first.template.to("cpu")
    filming = Filming(arguments.frames, arguments.every, first.camera.width, arguments.seed, arguments.performer)
    learned, person = filmed_person(arguments.learned_from, template, arguments.seed)
    compare = Comparison(StLpips())
    rows: list[tuple[str, ...]] = []
    figures: dict[str, list[dict[str, float]]] = {}
    with TemporaryDirectory() as scratch, TerminalProgress() as progress:
        drivers = {Path(driver).stem: driver for driver in arguments.drivers}
        if arguments.motions:
            kinds = extract_kinds(arguments.motions, Path(scratch))
            drivers |= {kind: str(clips[0]) for kind, clips in kinds.items()}
        for name, driver in drivers.items():
            truth = perform(driver, arguments.work / "truth", filming, template, progress)
            ways = draw(avatars, truth, person, progress)
            distance, _ = nearest_pose(truth.motion[truth.numbers], learned, template)
            measured = compare(ways, truth, partial(progress.step, f"Detecting: {name}"))
            for way, values in measured.items():
                figures.setdefault(way, []).append(values)
                rows.append((f"{name}, {float(distance.mean()):.0f} degrees away", way, *formatted(values)))
            write_picture(arguments.work / f"{name}.png", sheet(ways, truth, arguments.shown))
    for way, of_drivers in figures.items():
        rows.append(("mean", way, *formatted(mean_figures(of_drivers))))
    table = markdown_table(rows, ("driver", "", *(heading.strip() for heading in COLUMNS)))
    print(f"{describe_setup()}\n\n{len(drivers)} drivers, every {arguments.every}. frame\n\n{table}")


def load_avatars(folders: Sequence[Path]) -> dict[str, Avatar]:
    """Load the avatars by the names of their folders.

    Raises:
        UserError: There is none, two share a name, or their scenes are not squares of one size.
    """
    avatars = {folder.name: Avatar.load(folder) for folder in folders}
    if not avatars or len(avatars) < len(folders):
        raise UserError("name one or more avatars, in folders of different names")
    if len(scenes := {(a.camera.width, a.camera.height) for a in avatars.values()}) > 1:
        raise UserError(f"the avatars' scenes differ in size: {', '.join(f'{w} x {h}' for w, h in sorted(scenes))}")
    width, height = scenes.pop()
    if width != height:
        raise UserError(f"a scene of {width} x {height} pixels; those of the built-in performer are square")
    return avatars


def filmed_person(name: str, template: BodyTemplate, seed: int) -> tuple[Motion, Person]:
    """Return one period of the performance that the avatars learned from, and who is where in it.

    An avatar stands where its video shows the performer, so it is retargeted from here to where the true frames show
    them, whatever tracking took for their size and distance.
    """
    if name not in PERFORMANCES:
        raise UserError(f"--learned-from {name}: not a performance; choose from {', '.join(PERFORMANCES)}")
    seconds = sum(beat.seconds for beat in PERFORMANCES[name].beats)
    motion = performance(name, template, round(FPS * seconds), FPS)
    return motion, Person.of(motion, template, performer_identity(template, seed))


# Drawing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CloseUps:
    """What one way draws in K frames."""

    images: np.ndarray
    """[K, S, S, 3] uint8 RGB"""
    squares: list[Square]
    """The part of the scene in each."""


def draw(avatars: Mapping[str, Avatar], truth: Performed, person: Person, progress: Progress) -> dict[str, CloseUps]:
    """Draw the frames that have true pictures in every way: the avatars, then the first one's mesh and alignment."""
    ways: dict[str, CloseUps] = {}
    driven = {name: drive(avatar, truth.motion, person) for name, avatar in avatars.items()}
    for name, avatar in avatars.items():
        ways[name] = close_ups(avatar, driven[name], truth.numbers, name, progress)
    name, avatar = next(iter(avatars.items()))
    meshes = np.stack(list(textured_mesh(avatar, driven[name][truth.numbers], shown_size(avatar))))
    ways[MESH] = CloseUps(meshes, ways[name].squares)
    if avatar.alignment:
        aligner = Aligner(avatar.alignment, avatar.template.to("cpu"), truth.motion.fps, "on")
        aligned = retarget(truth.motion, avatar.template.to("cpu"), person, avatar.person, align=aligner)
        ways[ALIGNED] = close_ups(avatar, aligned, truth.numbers, ALIGNED, progress)
    return ways


def drive(avatar: Avatar, motion: Motion, person: Person) -> Motion:
    """Retarget a motion as `animate` does, but with the hips exactly where the true frames show the performer's.

    A floor a little off and planted feet, which hold the path back by a centimetre or two, escape every viewer, but
    shift every pixel. The camera is at the origin: a body twice as large at twice the distance makes the same picture.
    """
    driven = retarget(motion, avatar.template.to("cpu"), person, avatar.person)
    return replace(driven, root_translation=avatar.placement.y / person.placement.y * motion.root_translation)


def close_ups(avatar: Avatar, motion: Motion, numbers: Sequence[int], name: str, progress: Progress) -> CloseUps:
    """Render some frames of a motion, each after the one before it in the motion, as `render` would."""
    size = shown_size(avatar)
    engine = Engine(avatar, close_up=True, size=(size, size))
    images, squares, last = [], [], -1
    for number in follow(numbers, progress, f"Rendering: {name}", len(numbers)):
        if number > last + 1 and avatar.network.config.temporal_attention:
            engine.reset()
            engine.render(motion.frame(number - 1))
        images.append(engine.render(motion.frame(number)))
        squares.append(engine.square)
        last = number
    return CloseUps(np.stack(images), squares)


# Comparing ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Compares close-ups with the true pictures."""

    st_lpips: ImageMetric

    def __call__(self, ways: Mapping[str, CloseUps], truth: Performed, step: Step) -> dict[str, dict[str, float]]:
        """Return the figures, in the order of `COLUMNS`, of every way and of the truth seen twice."""
        seen: dict[tuple[Square, ...], list[Landmarks]] = {}  # in the true pictures, by their squares
        figures = {}
        for name, way in ways.items():
            size, key = way.images.shape[1], tuple(way.squares)
            true, masks, inside = truth.cut(way.squares, size)
            if key not in seen:
                seen[key] = _detect(true, step)
            shown = np.where(inside[..., None], way.images, true)
            images = self._images(shown, true, masks)
            figures[name] = images | control(_detect(shown, step), seen[key])
        squares, expected = next(iter(seen.items()))
        size = round(WIDER * next(iter(ways.values())).images.shape[1])  # the same pixels per metre
        again, _, _ = truth.cut([wider(square) for square in squares], size)
        figures[TWICE] = dict.fromkeys(("person PSNR", "person ST-LPIPS"), np.nan)
        figures[TWICE] |= control(_detect(again, step), expected)
        return figures

    @torch.no_grad()
    def _images(self, shown: np.ndarray, true: np.ndarray, masks: np.ndarray) -> dict[str, float]:
        ratios, distances = [], []
        for a, b, mask in zip(shown, true, masks, strict=True):
            ours, theirs = to_tensor(a)[None], to_tensor(b)[None]
            where = torch.from_numpy(mask)[None, None].float() / 255
            ratios.append(float(psnr(ours, theirs, where)))
            distances.append(float(st_lpips_person(self.st_lpips, ours, theirs, where)))
        return {"person PSNR": float(np.nanmean(ratios)), "person ST-LPIPS": float(np.mean(distances))}


def control(found: list[Landmarks], expected: list[Landmarks]) -> dict[str, float]:
    """Compare the landmarks of K frames by what does not depend on where the person is in the picture."""
    figures, angles = {}, limb_angles(found, expected)
    degrees, shares = ("arms, degrees", "legs, degrees"), ("within 20", "within 20 ")
    for bones, mean, share in zip(LIMBS.values(), degrees, shares, strict=True):
        figures[mean], figures[share] = summarize_angles(angles[:, bones])
    hands = measure_control(found, expected)
    return figures | {"hands found": _mean(hands["hands_found"]), "finger PCK": _mean(hands["hand_pck"])}


def wider(square: Square) -> Square:
    """Return a square `WIDER` times as large about the same middle."""
    margin = (WIDER - 1) / 2 * square.side
    return Square(square.left - margin, square.top - margin, WIDER * square.side)


def _detect(frames: np.ndarray, step: Step) -> list[Landmarks]:
    """Detect landmarks afresh in every frame: they are too far apart to track."""
    return detect_frames(frames, open_detector(masks=False, separate=True), lambda done: step(done, len(frames)))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


# Showing --------------------------------------------------------------------------------------------------------


def mean_figures(of_drivers: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average figures over the drivers that have them."""
    return {heading: _mean(np.array([figures[heading] for figures in of_drivers])) for heading in COLUMNS}


def formatted(figures: Mapping[str, float]) -> list[str]:
    """Return the cells of a row."""
    return [f"{figures[heading]:.{digits}f}".replace("nan", "") for heading, digits in COLUMNS.items()]


def sheet(ways: Mapping[str, CloseUps], truth: Performed, count: int) -> np.ndarray:
    """Lay out moments spread over the driver, by the truth, the mesh and the other ways."""
    mesh = ways[MESH]
    true, _, _ = truth.cut(mesh.squares, mesh.images.shape[1])
    chosen = spread_over(len(true), count)
    columns = {"truth": true[chosen], MESH: mesh.images[chosen]}
    columns |= {name: way.images[chosen] for name, way in ways.items() if name != MESH}
    return contact_sheet(columns, [f"frame {truth.numbers[k]}" for k in chosen])


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
