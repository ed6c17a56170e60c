"""Pictures of alignment, as the supplement's figure 3: `python scripts/picture_alignment.py CAPTURE MOTION... OUT.jpg`.

White is a driver's body, blue the same moment aligned to the motion of a capture. A row for every motion file.

    ram-avatar synth studio    # the motions: subject 02 of mocap.cs.cmu.edu
    python scripts/picture_alignment.py studio/truth 02_05.amc 02_07.amc 02_06.amc docs/images/alignment.jpg
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from ram_avatar.body import load_template
from ram_avatar.camera import Camera
from ram_avatar.motion.alignment import Aligner
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.pose_features import PoseFeatures
from ram_avatar.motion.prior_file import load_prior
from ram_avatar.motion.reading import read_motion
from ram_avatar.motion.retarget import Placement, retarget
from ram_avatar.rendering.shading import BLUE, Color, shaded
from ram_avatar.terminal import TerminalProgress
from ram_avatar.tracking.capture import Capture
from ram_avatar.training.alignment import fit_alignment

SIZE, CUT, COLUMNS = 300, 56, 4  # pixels of a picture, what is cut off its sides, moments of a row
PLACE = Placement(x=0.0, y=3.6, floor=-1.0, leg_length=0.8)
WHITE: Color = (236.0, 236.0, 236.0)
GROUND = np.uint8(38)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("paths", type=Path, nargs="+", metavar="MOTION... OUT")
    arguments = parser.parse_args()
    *motions, out = arguments.paths
    template, capture = load_template(), Capture.load(arguments.capture)
    split = capture.train_frames
    prior, _ = load_prior(None, template.name, PoseFeatures(template).names)
    with TerminalProgress() as progress:
        alignment = fit_alignment(capture.motion[:split], capture.motion[split:], template, prior, progress)
    rows = []
    for path in motions:
        motion = read_motion(path, template)
        aligner = Aligner(alignment, template, motion.fps)
        aligned = Motion.of_frames(motion.template, motion.fps, map(aligner, motion.frames()))
        moments = np.linspace(0.2, 0.93, COLUMNS) * len(motion)
        shown = [
            _drawn(each[moments.astype(int).tolist()], template, capture.identity, tint)
            for each, tint in ((motion, WHITE), (aligned, BLUE))
        ]
        cells = [np.concatenate(pair, 1) for pair in zip(*shown, strict=True)]
        rows.append(np.concatenate(cells, 1))
    picture = np.concatenate(rows, 0)
    cv2.imwrite(str(out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _drawn(motion: Motion, template, identity: torch.Tensor, tint: Color) -> list[np.ndarray]:
    """Pictures [S, S - 2 CUT, 3] on a dark ground, everybody at one place."""
    source = Placement.of(motion, template, identity)
    placed = retarget(motion, source, PLACE, keep_place=True)
    camera = Camera(1.45 * SIZE, SIZE / 2, SIZE / 2, SIZE, SIZE)
    pictures = []
    for shading, mask in shaded(template, identity, placed, camera, tint):
        picture = np.where(mask[..., None], shading, GROUND)
        pictures.append(picture[:, CUT:-CUT])
    return pictures


if __name__ == "__main__":
    main()
