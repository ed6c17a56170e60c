"""Make a hand-held copy of a video shot on a tripod, with a known camera path: `python benchmarks/shake.py --help`.

The frame sways, rotates and zooms smoothly about its centre. The copy is cropped just enough to keep every frame
inside the original, so nothing is mirrored, repeated or black. Size, frame rate, frame count and sound are kept.

    python benchmarks/shake.py bedroom.mp4 bedroom-shaken.mp4

This also writes bedroom-shaken.npz. Its `to_original` [N, 3, 3] maps pixels (x, y, 1) of frame n of the copy to pixels
of frame n of the original; x points right, y down, and pixel centres are at half integers.

The crop removes what is near the border, for example feet. To compare a shaken clip with a still one, use `--still`,
which writes the same crop without the shake.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.errors import UserError
from ram_avatar.core.files import atomic_file, check_output
from ram_avatar.core.progress import SILENT, Progress, follow
from ram_avatar.video import VideoWriter, probe, read_frames

MARGIN = 2.0  # pixels of the original kept clear of its border: half the width of the bicubic kernel
WAVES = 12  # sines per channel
LOWEST, HIGHEST = 0.15, 2.5  # hertz, from slow sway to the tremor of a tired arm


@dataclass
class Arguments:
    video: tyro.conf.Positional[Path]
    """The video to shake; its camera should be static."""
    out: tyro.conf.Positional[Path]
    """The copy: .mp4, .mov, .webm or .mkv (lossless). The camera path is written beside it as .npz."""
    shift: float = 0.03
    """Largest shift, as a share of the frame's longer side."""
    rotation: float = 1.5
    """Largest rotation, degrees."""
    zoom: float = 0.02
    """Largest change of scale, in and out."""
    seed: int = 0
    """Seed of the path."""
    still: Path | None = None
    """Also write the same crop without the shake to this file."""
    overwrite: bool = False
    """Overwrite existing files."""


def main(arguments: Arguments) -> None:
    with TerminalProgress() as progress:
        shake(**vars(arguments), progress=progress)
        progress.note(f"{arguments.out}: ready; its camera path is {arguments.out.with_suffix('.npz')}")


def shake(
    video: Path,
    out: Path,
    shift: float = 0.03,
    rotation: float = 1.5,
    zoom: float = 0.02,
    seed: int = 0,
    still: Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> NDArray[np.float64]:
    """Write the shaken copy of `video` and its camera path; see the module and `Arguments`.

    Returns:
        [N, 3, 3]: pixels of the copy to pixels of the original.

    Raises:
        UserError: The video cannot be read, a copy cannot be written, or a limit is out of range.
    """
    info, path = probe(video), out.with_suffix(".npz")
    copies = [out] if still is None else [out, still]
    for copy in copies:
        if copy.suffix.lower() in (".mp4", ".mov") and (info.width % 2 or info.height % 2):
            raise UserError(f"{video} is {info.width} x {info.height}; {copy.suffix} needs even sizes; use .mkv")
        if copy.resolve() == Path(video).resolve():
            raise UserError(f"{copy} is the video itself; choose another name")
    for file in (*copies, path):
        check_output(file, overwrite)
    to_original = camera_path(info.frames, info.rate, (info.width, info.height), shift, rotation, zoom, seed)
    unshaken = np.broadcast_to(_at_rest(to_original, (info.width, info.height)), to_original.shape)
    for copy, label, seen in zip(copies, ("Shaking", "Cropping"), (to_original, unshaken), strict=False):
        with VideoWriter(copy, info.width, info.height, info.rate, audio_from=video) as writer:
            for k, frame in enumerate(follow(read_frames(video), progress, label, info.frames)):
                writer.write(warp(frame, seen[k]))
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, to_original=to_original, width=info.width, height=info.height, seed=seed)
    return to_original


def camera_path(
    frames: int,
    fps: float | Fraction,
    size: tuple[int, int],
    shift: float = 0.03,
    rotation: float = 1.5,
    zoom: float = 0.02,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return a smooth random path of a hand-held camera, cropped to stay inside the original.

    Shift, rotation and zoom each reach their limit once in the clip.

    Args:
        frames: N.
        fps: frames per second.
        size: width and height of the frame in pixels.
        shift, rotation, zoom, seed: see `Arguments`.

    Returns:
        [N, 3, 3] similarities from pixels of the copy to pixels of the original.

    Raises:
        UserError: A limit is negative or too large.
    """
    if not (0 <= shift <= 0.2 and 0 <= rotation <= 20 and 0 <= zoom <= 0.3):
        raise UserError("limits: --shift 0 to 0.2, --rotation 0 to 20, --zoom 0 to 0.3")
    random = np.random.default_rng(seed)
    sway = np.stack([_wander(frames, fps, random) for _ in range(2)], 1)
    offset = _peaking(sway, shift * max(size))
    angle = _peaking(_wander(frames, fps, random)[:, None], np.radians(rotation))[:, 0]
    scale = np.exp(_peaking(_wander(frames, fps, random)[:, None], np.log1p(zoom))[:, 0])
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)  # [N, 2, 2]

    # Crop so that the farthest corner stays inside the original.
    half = np.array(size) / 2
    room = half - MARGIN - np.abs(offset)
    reach = (np.abs(turn) * half).sum(2)  # of the farthest corner, along x and y
    crop = min(1.0, float((room / reach).min()))
    if crop < 0.25:
        raise UserError(f"a frame of {size[0]} x {size[1]} is too small for this much shake")
    to_original = np.zeros((frames, 3, 3))
    to_original[:, :2, :2] = crop * turn
    to_original[:, :2, 2] = half + offset - crop * turn @ half
    to_original[:, 2, 2] = 1
    return to_original


def _at_rest(to_original: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the crop [3, 3] of a path, about the centre of the frame and at its mean scale."""
    crop = np.exp(np.log(np.linalg.det(to_original[:, :2, :2])).mean() / 2)
    middle = np.array(size) / 2
    return np.block([[crop * np.eye(2), ((1 - crop) * middle)[:, None]], [np.zeros((1, 2)), np.ones((1, 1))]])


def warp(frame: NDArray[np.uint8], to_original: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Warp a frame [H, W, 3] by `to_original` [3, 3], at the same size."""
    at_integers = np.eye(3)
    at_integers[:2, 2] = 0.5  # OpenCV's pixel centres are at integers
    matrix = np.linalg.inv(at_integers) @ to_original @ at_integers
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(frame, matrix[:2], frame.shape[1::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT)


def _wander(frames: int, fps: float | Fraction, random: np.random.Generator) -> NDArray[np.float64]:
    """Return [N]: a sum of sines, the slow ones with the largest amplitudes."""
    frequency = np.geomspace(LOWEST, HIGHEST, WAVES) * random.uniform(0.85, 1.15, WAVES)
    phase = random.uniform(0, 2 * np.pi, WAVES)
    seconds = np.arange(frames)[:, None] / float(fps)
    return (frequency**-1.2 * np.sin(2 * np.pi * frequency * seconds + phase)).sum(1)


def _peaking(path: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Centre a path [N, C] in its range and scale it so that its farthest point is at `limit`."""
    path = path - (path.max(0) + path.min(0)) / 2
    farthest = np.linalg.norm(path, axis=1).max()
    return path * (limit / farthest) if farthest > 0 else path


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
