"""The close-ups of a clip, small, for refinement; and the background plate, from the same pass over the video."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...body.template import BodyTemplate
from ...capture.capture import Capture
from ...capture.cropper import CloseUpCropper
from ...core.camera import Camera
from ...core.progress import Progress, follow
from ...rendering.compositing import BackgroundPlate
from ...rendering.framing import Square
from ..observations import Observations

SIZE, _LEAST_SIZE = 384, 64  # pixels of a close-up, at most and at least


@dataclass
class CloseUps:
    """The close-ups of a clip, and what the scene looks like without the person."""

    scene: Camera
    size: int
    squares: list[Square]  # [N]
    frames: list[np.ndarray]  # [N] of [S, S, 3] uint8 RGB
    masks: list[np.ndarray]  # [N] of [S, S] uint8 person
    background: np.ndarray  # [H, W, 3] uint8, the plate
    known: np.ndarray  # [H, W] bool, where the plate is not a guess
    shown: np.ndarray  # [N] bool: whether the frame shows the person
    painted: Sequence[int]  # the frames that the surface is painted from

    def __len__(self) -> int:
        return len(self.frames)

    def camera(self, index: int) -> Camera:
        """Return the camera that sees a close-up."""
        return self.squares[index].camera(self.scene, self.size)

    def behind(self, index: int) -> np.ndarray:
        """Return what is behind the person in a close-up [S, S, 3]: the plate, or the frame where it is not known."""
        square = self.squares[index]
        plate = square.cut(self.background, self.size)
        known = square.cut(self.known.astype(np.uint8) * 255, self.size) == 255
        return np.where(known[..., None], plate, self.frames[index])


def cut_close_ups(
    capture: Capture, template: BodyTemplate, observations: Observations, registered: np.ndarray, progress: Progress
) -> tuple[CloseUps, np.ndarray]:
    """Cut the close-ups of a capture, and make its plate.

    Frames that are left out or not registered show nothing of the background. Where one plate cannot hold the
    background (`Capture.known_background`), no part of it counts as known.

    Args:
        registered: [N] bool, from `CameraPath`.

    Returns:
        The close-ups, and where [H, W] bool any frame showed the background.
    """
    cropper, footage, shown = CloseUpCropper(capture, template), capture.footage, capture.shown
    size = min(SIZE, max(_LEAST_SIZE, int(np.median([square.side for square in cropper.squares]))))
    usable = shown & registered if (shown & registered).any() else shown
    plate = BackgroundPlate(int(usable.sum()))
    frames, masks = [], []
    pictures = follow(footage.read(capture.folder), progress, "Looking behind the person", len(capture))
    for index, frame in enumerate(pictures):
        mask = observations.masks[index]
        if usable[index]:
            plate.add(frame, mask, footage.matrix(index), None if footage.gains is None else footage.gains[index])
        full = cv2.resize(mask, capture.scene_size)
        frames.append(cropper.cut(index, footage.evened(index, frame), size))
        masks.append(cropper.cut(index, full, size))
    background, _ = plate.make()
    covered = np.ones(background.shape[:2], bool) if plate.known is None else plate.known
    known = covered if capture.known_background else np.zeros_like(covered)
    painted = capture.train_frames or capture.held_out  # a driver may have a single frame
    return CloseUps(capture.camera, size, cropper.squares, frames, masks, background, known, shown, painted), covered
