"""What a detector sees in a frame, behind one small interface; MediaPipe Holistic is the default."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from ...core.silence_stderr import silent_stderr

POSE, HAND, FACE = 33, 21, 478  # landmarks per part, MediaPipe's numbering


@dataclass
class Landmarks:
    """The landmarks of one person in one frame. A part that was not seen is NaN throughout."""

    pose: np.ndarray  # [33, 2] pixels
    visibility: np.ndarray  # [33] in [0, 1]
    pose_world: np.ndarray  # [33, 3] metres about the hips: x right, y down, z away from the camera
    left_hand: np.ndarray  # [21, 3] pixels, z in pixels too, relative to the wrist
    right_hand: np.ndarray  # [21, 3]
    face: np.ndarray  # [478, 3] pixels; the last ten are the irises
    mask: np.ndarray  # [h, w] uint8 person mask, 255 = person; smaller than the frame

    @property
    def found(self) -> bool:
        return bool(np.isfinite(self.pose[0, 0]))


class LandmarkDetector(Protocol):
    """Follows one person through the frames of a video, in order."""

    def detect(self, frame: np.ndarray) -> Landmarks:
        """Landmarks in an RGB frame [H, W, 3] uint8."""
        ...

    def close(self) -> None: ...


class HolisticDetector:
    """MediaPipe Holistic (wheel 0.10.21, the last that ships its models); Apache-2.0, CPU."""

    mask_side = 512  # the segmentation is soft and coarse: more would store nothing new

    def __init__(self, masks: bool = True, separate: bool = False):
        """
        Args:
            masks: find the person's mask as well, which takes an eighth of the time; without, it is empty.
            separate: the pictures do not follow each other: look anew in each.
        """
        from mediapipe.python.solutions import holistic

        # Complexity 2 would be downloaded; 1 is in the wheel.
        with silent_stderr():
            self._model = holistic.Holistic(
                static_image_mode=separate,
                model_complexity=1,
                smooth_landmarks=not separate,
                enable_segmentation=masks,
                smooth_segmentation=masks and not separate,
                refine_face_landmarks=True,
            )
            # Its threads complain while they open; by the first picture they have.
            self._model.process(np.zeros((64, 64, 3), np.uint8))
        self._unused = {"pose_landmarks", "left_hand_landmarks", "right_hand_landmarks", "face_landmarks"}

    def detect(self, frame: np.ndarray) -> Landmarks:
        height, width = frame.shape[:2]
        # Every part warns when it is first used; from then on others may speak meanwhile.
        with silent_stderr() if self._unused else nullcontext():
            result = self._model.process(np.ascontiguousarray(frame))
        self._unused = {part for part in self._unused if getattr(result, part) is None}
        scale = np.array([width, height, width], np.float32)  # depth comes in units of the width

        def points(landmarks, count: int) -> np.ndarray:
            if landmarks is None:
                return np.full((count, 3), np.nan, np.float32)
            return np.array([[p.x, p.y, p.z] for p in landmarks.landmark], np.float32)

        if result.pose_landmarks is None:
            visibility = np.zeros(POSE, np.float32)
        else:
            visibility = np.array([p.visibility for p in result.pose_landmarks.landmark], np.float32)
        return Landmarks(
            pose=(points(result.pose_landmarks, POSE) * scale)[:, :2],
            visibility=visibility,
            pose_world=points(result.pose_world_landmarks, POSE),
            left_hand=points(result.left_hand_landmarks, HAND) * scale,
            right_hand=points(result.right_hand_landmarks, HAND) * scale,
            face=points(result.face_landmarks, FACE) * scale,
            mask=self._mask(result.segmentation_mask, width, height),
        )

    def _mask(self, mask: np.ndarray | None, width: int, height: int) -> np.ndarray:
        scale = min(1.0, self.mask_side / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if mask is None:
            return np.zeros(size[::-1], np.uint8)
        return (cv2.resize(mask, size, interpolation=cv2.INTER_AREA).clip(0, 1) * 255).astype(np.uint8)

    def close(self) -> None:
        self._model.close()
