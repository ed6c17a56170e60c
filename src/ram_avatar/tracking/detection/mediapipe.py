"""MediaPipe: its numbering, Holistic as a detector, and Face Mesh and Pose on single images."""

from contextlib import nullcontext
from typing import Any

import cv2
import numpy as np

from ...core.silence_stderr import silence_stderr
from .landmarks import Landmarks
from .topology import Eye, FaceTopology, Topology

_UPPER_LIDS = (33, 246, 161, 160, 159, 158, 157, 173, 133, 263, 466, 388, 387, 386, 385, 384, 398, 362)
_LOWER_LIDS = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
_OUTER_LIPS = (0, 17, 61, 291, 37, 267, 84, 314, 39, 269, 181, 405)
_CORNERS = {33, 133, 263, 362, 78, 308}  # of eyes and mouth: they hardly move with lids and lips

_FACE = FaceTopology(
    count=478,
    irises=tuple(range(468, 478)),
    upper_lids=_UPPER_LIDS,
    lower_lids=_LOWER_LIDS,
    upper_lip=_UPPER_LIP,
    lower_lip=_LOWER_LIP,
    expressive=tuple(sorted({*_UPPER_LIDS, *_LOWER_LIDS, *_UPPER_LIP, *_LOWER_LIP, *_OUTER_LIPS} - _CORNERS)),
    head=(
        1, 4, 5, 6, 168, 195, 197, 2, 98, 327, 33, 133, 362, 263, 10, 338, 109, 67, 297, 151, 9, 8, 127, 356, 234, 454,
        93, 323, 50, 280, 117, 346, 118, 347, 103, 332, 54, 284, 21, 251,
    ),
    brows_and_jaw=(
        70, 63, 105, 66, 107, 300, 293, 334, 296, 336, 46, 53, 52, 65, 55, 276, 283, 282, 295, 285, 152, 148, 377, 176,
        400, 149, 378, 205, 425, 172, 397, 136, 365, 150, 379, 40, 270, 91, 321, 185, 409, 146, 375,
    ),
    eyes=(Eye((33, 133), ((160, 144), (158, 153))), Eye((263, 362), ((387, 373), (385, 380)))),
    outer_eye_corners=(33, 263),
    inner_lips=(13, 14),
    mouth_corners=(61, 291),
    drawn=(
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
        33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
        70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    ),
)  # fmt: skip

MEDIAPIPE = Topology(
    name="mediapipe",
    pose_count=33,
    pose={
        "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_mouth": 9, "right_mouth": 10,
        "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14, "left_wrist": 15,
        "right_wrist": 16, "left_hip": 23, "right_hip": 24, "left_knee": 25, "right_knee": 26, "left_ankle": 27,
        "right_ankle": 28, "left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32,
    },
    limbs=((13, 15, 17, 19, 21), (14, 16, 18, 20, 22), (25, 27, 29, 31), (26, 28, 30, 32)),
    hand=tuple(range(21)),
    face=_FACE,
)  # fmt: skip


class HolisticDetector:
    """MediaPipe Holistic (wheel 0.10.21, the last that ships its models); Apache-2.0, CPU.

    Args:
        masks: find the person's mask, too, which takes an eighth of the time; otherwise masks are empty.
        separate: the images do not follow each other, so detect afresh in each.
    """

    topology = MEDIAPIPE
    mask_side = 512  # pixels; the segmentation is soft and coarse, so more would store nothing new

    def __init__(self, masks: bool = True, separate: bool = False):
        from mediapipe.python.solutions import holistic

        # Complexity 2 would be downloaded; 1 is in the wheel.
        with silence_stderr():
            self._model = holistic.Holistic(
                static_image_mode=separate,
                model_complexity=1,
                smooth_landmarks=not separate,
                enable_segmentation=masks,
                smooth_segmentation=masks and not separate,
                refine_face_landmarks=True,
            )
            # Its threads log while they start, which is over once the first image is done.
            self._model.process(np.zeros((64, 64, 3), np.uint8))
        self._unused = {"pose_landmarks", "left_hand_landmarks", "right_hand_landmarks", "face_landmarks"}

    def detect(self, frame: np.ndarray) -> Landmarks:
        height, width = frame.shape[:2]
        # Each part logs a warning when first used; after that, stderr stays open for other threads.
        with silence_stderr() if self._unused else nullcontext():
            result = self._model.process(np.ascontiguousarray(frame))
        self._unused = {part for part in self._unused if getattr(result, part) is None}
        scale = np.array([width, height, width], np.float32)  # depth is in units of the width

        def points(landmarks: Any, count: int) -> np.ndarray:
            if landmarks is None:
                return np.full((count, 3), np.nan, np.float32)
            return np.array([[p.x, p.y, p.z] for p in landmarks.landmark], np.float32)

        if result.pose_landmarks is None:
            visibility = np.zeros(MEDIAPIPE.pose_count, np.float32)
        else:
            visibility = np.array([p.visibility for p in result.pose_landmarks.landmark], np.float32)
        return Landmarks(
            topology=MEDIAPIPE,
            pose=(points(result.pose_landmarks, MEDIAPIPE.pose_count) * scale)[:, :2],
            visibility=visibility,
            pose_world=points(result.pose_world_landmarks, MEDIAPIPE.pose_count),
            left_hand=points(result.left_hand_landmarks, MEDIAPIPE.hand_count) * scale,
            right_hand=points(result.right_hand_landmarks, MEDIAPIPE.hand_count) * scale,
            face=points(result.face_landmarks, MEDIAPIPE.face.count) * scale,
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


class MediaPipeStills:
    """MediaPipe Face Mesh and Pose, less strict than Holistic: they are shown renders, not people."""

    topology = MEDIAPIPE

    def __init__(self) -> None:
        from mediapipe.python.solutions import face_mesh, pose

        with silence_stderr():
            self._face = face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.2)
            self._pose = pose.Pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.3)
            # Their threads print while they open; by the first result they are done.
            blank = np.zeros((64, 64, 3), np.uint8)
            self._face.process(blank)
            self._pose.process(blank)

    def face(self, image: np.ndarray) -> np.ndarray | None:
        found = self._face.process(image).multi_face_landmarks
        return _pixels(found[0], image) if found else None

    def pose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        found = self._pose.process(image).pose_landmarks
        if found is None:
            return None
        return _pixels(found, image), np.array([p.visibility for p in found.landmark])

    def close(self) -> None:
        self._face.close()
        self._pose.close()


def _pixels(landmarks: Any, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array([[p.x, p.y] for p in landmarks.landmark]) * [width, height]
