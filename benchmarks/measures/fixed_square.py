"""An avatar's scene frames cut to one fixed square, comparable with results from before close-ups.

The square holds the person in all frames, with a margin of 6 % of the larger extent on every side.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture
from ram_avatar.core.images import to_tensor
from ram_avatar.core.progress import Progress, follow
from ram_avatar.evaluation.frames import render_frames
from ram_avatar.evaluation.metrics import ImageMetric, psnr, st_lpips_person
from ram_avatar.rendering.framing import Square

SIZE = 256  # pixels
MARGIN = 0.06  # of the larger extent, on every side


@dataclass(frozen=True)
class SquareErrors:
    """Metrics of the person in N held-out frames, each [N]."""

    psnr: np.ndarray
    st_lpips: np.ndarray
    pixels: float
    """Pixels of the person in the avatar's close-ups per pixel in the square, by area; median over the frames."""


def fixed_square(capture: Capture) -> Square:
    """Return the square around all mattes of the frames that show the person."""
    boxes = []
    for number, (_, matte) in enumerate(capture.frames()):
        if capture.shown[number]:
            rows, columns = np.nonzero(capture.footage.in_scene(number, matte, capture.scene_size) > 127)
            if len(rows):
                boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    left, top = np.min(boxes, 0)[:2].tolist()
    right, bottom = np.max(boxes, 0)[2:].tolist()
    side = max(right - left, bottom - top) * (1 + 2 * MARGIN)
    return Square((left + right - side) / 2, (top + bottom - side) / 2, side)


@torch.no_grad()
def compare_in_square(avatar: Avatar, capture: Capture, st_lpips: ImageMetric, progress: Progress) -> SquareErrors:
    """Compare an avatar's held-out scene frames with the video's, both cut to the fixed square.

    The person is where the capture's mattes are above 0.5. Pixels beyond the video do not count.
    """
    square, numbers = fixed_square(capture), capture.held_out
    held_out = set(numbers)
    footage = (pair for pair in enumerate(capture.frames()) if pair[0] in held_out)
    rendered = render_frames(avatar, capture.motion, numbers, size=capture.scene_size)
    errors, distances = [], []
    pairs = follow(zip(footage, rendered, strict=True), progress, "Comparing in the square", len(numbers))
    for (number, (frame, matte)), ours in pairs:
        to_scene = capture.footage.matrix(number)
        inside = torch.from_numpy(square.inside(*capture.scene_size, SIZE, to_scene))[None, None]
        truth = to_tensor(square.cut(frame, SIZE, to_scene))[None]
        image = torch.where(inside, to_tensor(square.cut(ours, SIZE))[None], truth)
        mask = torch.from_numpy(square.cut(matte, SIZE, to_scene))[None, None].float() / 255 * inside
        errors.append(float(psnr(image, truth, mask)))
        distances.append(float(st_lpips_person(st_lpips, image, truth, mask)))
    framing = capture.framing(avatar.dressed)
    sides = [framing.square(root).side for root in capture.motion.root_translation[numbers].numpy()]
    zoom = (avatar.size / np.median(sides)) / (SIZE / square.side)
    return SquareErrors(np.array(errors), np.array(distances), float(zoom**2))
