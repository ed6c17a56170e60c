"""Facial actions from MediaPipe's blendshape net, for those that landmarks measure badly: lids, smile and pucker."""

import os
from pathlib import Path

import cv2
import numpy as np

from ...core.cache import cache_folder, download, sha256
from ...core.errors import UserError
from ...core.progress import Progress
from ...core.silence_stderr import silence_stderr
from .landmarks import Landmarks

MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_BYTES = 3_758_596
MODEL_VARIABLE = "RAM_AVATAR_FACE_MODEL"

# Correlation with synthetic ground truth, net against landmarks: lids .98/.95, smile .93/.89, pucker .50/.23.
# Jaw and lip shape are better from landmarks.
NET_ACTIONS = ("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "mouthPucker")

_CROP = 256  # pixels; the net finds no face in a full frame, and nearly every face in a crop of the head
_CROP_SCALE = 1.6  # side of the crop, by the longer side of the face


def read_by_net(action_names: list[str]) -> list[int]:
    """Return the indices of `NET_ACTIONS` among a template's actions; none if those are not ARKit's."""
    return [index for index, name in enumerate(action_names) if name in NET_ACTIONS]


def find_model(path: str | Path | None = None) -> Path:
    """Return the net's model file: `path`, `$RAM_AVATAR_FACE_MODEL`, the cache folder, or a download, in this order.

    Raises:
        UserError: the file is missing or has another checksum, or cannot be downloaded.
    """
    configured = path or os.environ.get(MODEL_VARIABLE)
    if configured:
        configured = Path(configured)
        if not configured.is_file():
            raise UserError(f"{configured}: no such file (the face model, set by {MODEL_VARIABLE})")
        if sha256(configured) != MODEL_SHA256:
            raise UserError(f"{configured}: not the face model that this version needs (its checksum differs)")
        return configured
    kept = cache_folder() / Path(MODEL_URL).name
    return kept if kept.is_file() and sha256(kept) == MODEL_SHA256 else download(MODEL_URL, MODEL_SHA256, MODEL_BYTES)


def find_model_or_note(path: str | Path | None, progress: Progress) -> Path | None:
    """Return the net's model file; without one, note that faces are read from landmarks alone, and return None.

    Args:
        path: a file that the user asks for; see `find_model`.

    Raises:
        UserError: `path` is given, and is missing or not the model.
    """
    try:
        return find_model(path)
    except UserError as error:
        if path is not None:
            raise
        progress.note(
            f"Faces are read from landmarks alone; lids and smile are better with MediaPipe's face model. {error}"
        )
        return None


class ExpressionNet:
    """ARKit's blendshape scores of a face, from a crop of the head.

    Args:
        model: see `find_model`.
        action_names: the facial actions of the template.
    """

    def __init__(self, model: Path, action_names: list[str]):
        import mediapipe
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)),
            output_face_blendshapes=True,
            min_face_detection_confidence=0.3,
        )
        with silence_stderr():
            self._net = vision.FaceLandmarker.create_from_options(options)
            # Its threads print while they open; by the first result they are done.
            blank = np.zeros((_CROP, _CROP, 3), np.uint8)
            self._net.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=blank))
        self._names = action_names

    def detect(self, frame: np.ndarray, landmarks: Landmarks) -> np.ndarray:
        """Return scores [A] in [0, 1] in the order of `action_names`; NaN without a face, and for other actions.

        Args:
            frame: RGB [H, W, 3] uint8.
            landmarks: found in it.
        """
        import mediapipe

        unknown = np.full(len(self._names), np.nan, np.float32)
        if not np.isfinite(landmarks.face[0, 0]):
            return unknown
        skin = np.delete(landmarks.face[:, :2], list(landmarks.topology.face.irises), axis=0)
        low, high = skin.min(0), skin.max(0)
        side = float((high - low).max()) * _CROP_SCALE
        left, top = (low + high) / 2 - side / 2
        to_crop = np.array([[_CROP / side, 0, -left * _CROP / side], [0, _CROP / side, -top * _CROP / side]])
        crop = cv2.warpAffine(frame, to_crop, (_CROP, _CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        with silence_stderr():
            result = self._net.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=crop))
        if not result.face_blendshapes:
            return unknown
        scores = {entry.category_name: entry.score for entry in result.face_blendshapes[0]}
        return np.array([scores.get(name, np.nan) for name in self._names], np.float32)

    def close(self) -> None:
        self._net.close()
