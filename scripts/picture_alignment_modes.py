"""Show an avatar with `--align off`, `auto` and `on` side by side, one driver's motion file for all.

Usage: `python scripts/picture_alignment_modes.py AVATAR MOTION OUT.jpg`. One row per mode, the same moments in each.

    ram-avatar synth studio --motion narrow --frames 275    # the performer stands and hardly moves the arms
    ram-avatar train studio/truth avatar
    python scripts/picture_alignment_modes.py avatar dance.bvh docs/images/alignment_modes.jpg
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from ram_avatar.avatar import Avatar
from ram_avatar.inference.render import render
from ram_avatar.motion.alignment.aligner import MODES, Aligner
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.retargeting.retarget import Person, retarget

SIZE, CROP, COLUMNS = 360, 60, 6  # pixels of an image, pixels cropped from both its sides, moments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("motion", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    avatar = Avatar.load(arguments.avatar)
    if not avatar.alignment:
        raise SystemExit(f"{arguments.avatar}: has no alignment; run `ram-avatar train` again to add it")
    template = avatar.template
    motion = read_motion(arguments.motion, template, avatar.identity)
    driver, rows = Person.of(motion, template, avatar.identity), []
    moments = np.linspace(0.1, 0.9, COLUMNS) * len(motion)
    for mode in ("off", *MODES):
        aligner = Aligner(avatar.alignment, template, motion.fps, mode) if mode in MODES else None
        driven = retarget(motion, template, driver, avatar.person, align=aligner)[moments.astype(int).tolist()]
        images = [
            _small(image, label=mode if k == 0 else "") for k, image in enumerate(render(avatar, driven, close_up=True))
        ]
        rows.append(np.concatenate(images, 1))
    cv2.imwrite(str(arguments.out), np.concatenate(rows, 0)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])


def _small(image: np.ndarray, label: str) -> np.ndarray:
    image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[:, CROP:-CROP].copy()
    return cv2.putText(image, label, (10, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20), 2, cv2.LINE_AA)


if __name__ == "__main__":
    main()
