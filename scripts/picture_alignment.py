"""Illustrate alignment, as in the paper's supplement, figure 3.

Usage: `python scripts/picture_alignment.py CAPTURE MOTION... OUT.jpg`. One row per motion file; the driver's body is
white, the same moment aligned to the motion of the capture is blue.

    ram-avatar synth studio    # the motions: subject 02 of mocap.cs.cmu.edu
    python scripts/picture_alignment.py studio/truth 02_05.amc 02_07.amc 02_06.amc docs/images/alignment.jpg
"""

import argparse
import math
from pathlib import Path

import cv2
import numpy as np

from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.motion.alignment.aligner import Aligner
from ram_avatar.motion.alignment.fitting import fit_alignment
from ram_avatar.motion.alignment.prior_file import load_prior
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.pose_features import PoseFeatures
from ram_avatar.motion.retargeting.retarget import Person, retarget
from ram_avatar.rendering.shading import BLUE, Color
from ram_avatar.rendering.stage import Stage

SIZE, CROP, COLUMNS = 300, 48, 4  # pixels of an image, pixels cropped from both its sides, moments per row
WHITE: Color = (232.0, 232.0, 232.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("paths", type=Path, nargs="+", metavar="MOTION... OUT")
    arguments = parser.parse_args()
    *motions, out = arguments.paths
    template, capture = load_template(), Capture.load(arguments.capture)
    prior, _ = load_prior(None, template.name, PoseFeatures(template).names)
    person, rows = Person.of(capture.shown_motion, template, capture.identity), []
    with TerminalProgress() as progress:
        alignment = fit_alignment(capture.train_motion, capture.held_out_motion, template, prior, progress)
    for path in motions:
        motion = read_motion(path, template, capture.identity)
        driver = Person.of(motion, template, capture.identity)
        aligner = Aligner(alignment, template, motion.fps, max_turn=math.inf)
        moments = (np.linspace(0.2, 0.93, COLUMNS) * len(motion)).astype(int).tolist()
        driven = [retarget(motion, template, driver, person, align=each)[moments] for each in (None, aligner)]
        stage = Stage.around(driven[0], template, capture.identity, SIZE)
        drawn = [list(stage.draw(each, tint)) for each, tint in zip(driven, (WHITE, BLUE), strict=True)]
        images = (image[:, CROP:-CROP] for pair in zip(*drawn, strict=True) for image in pair)
        rows.append(np.concatenate(list(images), 1))
    cv2.imwrite(str(out), np.concatenate(rows, 0)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])


if __name__ == "__main__":
    main()
