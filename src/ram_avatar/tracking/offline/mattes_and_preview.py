"""Writes the mattes of a capture and its preview, from one pass over the video."""

import cv2
import numpy as np

from ...body.template import BodyTemplate
from ...capture.capture import MASKS_FILE, Capture, preview_size
from ...core.progress import Progress, follow
from ...rendering.shading import shaded
from ...video import VideoWriter
from ..matting.clip_matting import ClipMatting
from ..observations import Observations

PREVIEW_FILE = "preview.mp4"
_SCENE, _TEMPLATE = 0.45, 0.55  # shares in the preview


def write_mattes_and_preview(
    capture: Capture,
    template: BodyTemplate,
    observations: Observations,
    matting: ClipMatting | None,
    progress: Progress,
) -> None:
    """Write the mattes, and the preview: the scene beside the scene with the template drawn over it.

    Args:
        matting: None to keep the detector's masks as mattes.
    """
    footage, (width, height), shown = capture.footage, capture.scene_size, capture.shown
    small = preview_size(width, height)
    drawn = shaded(template, capture.identity, capture.motion, capture.camera.scaled(*small))
    with (
        VideoWriter(capture.folder / MASKS_FILE, width, height, capture.motion.fps) as mattes,
        VideoWriter(capture.folder / PREVIEW_FILE, 2 * small[0], small[1], capture.motion.fps) as preview,
    ):
        pictures = follow(footage.read(capture.folder), progress, "Cutting out", len(capture))
        for index, (frame, (shading, covered)) in enumerate(zip(pictures, drawn, strict=True)):
            frame = footage.evened(index, frame)
            matte = cv2.resize(observations.masks[index], (width, height), interpolation=cv2.INTER_LINEAR)
            if matting is not None:
                matte = matting(index, frame, matte, covered)
            mattes.write(np.repeat(matte[..., None], 3, 2))
            scene = footage.in_scene(index, frame, small)
            over = scene.copy()
            if shown[index]:
                over[covered] = (_SCENE * scene[covered] + _TEMPLATE * shading[covered]).astype(np.uint8)
            preview.write(np.concatenate([scene, over], 1))
