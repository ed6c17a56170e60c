"""An avatar within seconds: the first avatar of a few frames of a video, until there is a better one."""

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from ..avatar import (
    AVATAR_FILE,
    EARLIER_VERSIONS,
    FORMAT_VERSION,
    Avatar,
)
from ..body.template import BodyTemplate
from ..config import Preset
from ..core.errors import UserError
from ..core.files import read_description
from ..core.images import shrunk
from ..core.progress import Progress, Silent
from ..tracking.detection.landmarks import HolisticDetector
from ..tracking.offline.fitting import FitSettings
from ..tracking.offline.track import track
from ..training.first_avatar import first_avatar
from ..video import VideoWriter, probe, read_frames

FRAMES = 48  # of the video, evenly spread
_SIDE = 720  # pixels of their longer side, at most
_WORTH = 2  # times as many frames as these: a shorter clip is tracked nearly as soon
# The frames do not follow each other, and nothing is refined.
_SETTINGS = FitSettings(full_iterations=120, refinements=0, steadiness=0.0)


def draft_avatar(
    video: Path,
    template: BodyTemplate,
    preset: Preset,
    progress: Progress,
    *,
    face_model: str | Path | None = None,
    rotate: int = 0,
) -> Avatar | None:
    """Make an untrained avatar from a few frames; None of a clip too short to need it, or that shows too little.

    What is wrong with a video is told when all of it is tracked.

    Args:
        video: a file that can be read.
        rotate: degrees clockwise, see `video.probe`.
    """
    info = probe(video, rotate)
    if info.frames < _WORTH * FRAMES:
        return None
    with TemporaryDirectory() as scratch, progress.wait("Drafting a first avatar from a few frames"):
        few = Path(scratch) / f"{video.stem}.mp4"
        every = info.frames // FRAMES
        size = shrunk(info.width, info.height, _SIDE)
        with VideoWriter(few, *size, info.fps / every) as writer:
            for index, frame in enumerate(read_frames(video, rotate=rotate)):
                if index % every == 0:
                    writer.write(np.ascontiguousarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)))
        try:
            capture = track(
                few,
                Path(scratch) / "capture",
                template=template,
                detector=HolisticDetector(separate=True),
                face_model=face_model,
                settings=_SETTINGS,
            )
        except UserError:
            return None
        made = first_avatar(capture, template, preset, Silent())
    made.training["draft"] = True
    return made


def is_draft(folder: Path) -> bool:
    """Whether a folder holds an avatar that `draft_avatar` made."""
    path = folder / AVATAR_FILE
    if not path.is_file():
        return False
    described = read_description(path, "avatar", FORMAT_VERSION, *EARLIER_VERSIONS)
    return bool(described.get("training", {}).get("draft"))
