"""Show avatars in poses that their videos never showed: a row per avatar, a column per moment of a motion file.

Usage: `python scripts/picture_poses_never_filmed.py OUT.jpg MOTION:SHARE[,SHARE...] ... --avatars AVATAR ...`. A share
is a moment of the motion, from 0 to 1; the poses are not aligned.

    python scripts/picture_poses_never_filmed.py docs/images/poses_never_filmed.jpg slash.bvh:.15,.45 dance.bvh:.3 \\
        --avatars bedroom-before bedroom stage-before stage
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from ram_avatar.avatar import Avatar
from ram_avatar.inference.engine import Engine
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.retargeting.retarget import Person, retarget

SIZE, CROP = 384, 80  # pixels of an image, pixels cropped from both its sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("moments", nargs="+", metavar="MOTION:SHARE[,SHARE...]")
    parser.add_argument("--avatars", nargs="+", type=Path, required=True)
    arguments = parser.parse_args()
    moments = [
        (Path(path), float(share))
        for path, shares in (each.rsplit(":", 1) for each in arguments.moments)
        for share in shares.split(",")
    ]
    rows = [np.concatenate(row(Avatar.load(folder), moments), 1) for folder in arguments.avatars]
    cv2.imwrite(str(arguments.out), np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])


def row(avatar: Avatar, moments: list[tuple[Path, float]]) -> list[np.ndarray]:
    """Draw an avatar at moments of motion files, [H, W, 3] uint8 each."""
    engine, template, images = Engine(avatar, close_up=True), avatar.template, []
    for path, share in moments:
        motion = read_motion(path, template, avatar.identity)
        end = int(share * len(motion))
        driven = retarget(
            motion[: end + 1], template, Person.of(motion, template, avatar.identity), avatar.person, align=None
        )
        engine.reset()
        image = cv2.resize(engine.render(driven.frame(end)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        images.append(image[:, CROP:-CROP])
    return images


if __name__ == "__main__":
    main()
