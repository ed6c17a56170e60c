"""What one frame asks of the live solve: landmarks to meet in the image and bones to align in space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.camera import Camera
from .. import energy
from ..detection.landmarks import Landmarks
from ..detection.topology import LIMB_BONES, WRISTS, Topology
from ..hidden_limbs import trust_limbs
from ..observations import (
    HEIGHT_SHARES,
    TO_WORLD,
    bone_heights,
    faces_camera,
    is_plausible_hand,
    limb_visibility,
    trust,
)
from .landmark_model import LandmarkModel

Array = NDArray[np.float64]
_ANCHOR = 400.0  # `energy.FACE` for all landmarks of the face, here for `FaceTopology.anchors` in their place
_SHRINKS = 0.005  # of the height, a frame: foreshortening must not pass for moving away


@dataclass
class Bones:
    """L bones and where they should point."""

    ends: NDArray[np.intp]  # [L, 2] landmarks of the model
    directions: Array  # [L, 3]
    weights: Array  # [L]


@dataclass
class Targets:
    """What one frame asks for: places of K of the model's landmarks in the image, and directions of bones in space."""

    met: NDArray[np.bool_]  # which landmarks of the model
    places: Array  # [K, 2] pixels
    weights: Array  # [K]
    scales: Array  # [K] beyond which a residual is an outlier, shares of the height
    bones: Bones
    seen: dict[str, bool]  # body, hands, face
    limbs: Array  # [4] how visible each limb is
    limb_confidence: Array  # [4]


class TargetReader:
    """Reads targets from landmarks, gated as the offline fit's are (`observations`).

    Args:
        anchors: the face landmarks that the model's landmarks of the face are.

    Attributes:
        height: of the person, pixels: the unit of residuals.
        limb_bones: [8, 2] `LIMB_BONES` as landmarks of the model.
    """

    def __init__(self, model: LandmarkModel, topology: Topology, anchors: Sequence[int], camera: Camera):
        self._model, self._topology, self._camera = model, topology, camera
        self._anchors = list(anchors)
        self._pose_bones, self._hand_bones = topology.bones(energy.POSE_BONES), topology.hand_bones
        place_of = {landmark: i for i, landmark in enumerate(model.pose_landmarks)}
        pose = np.array([(place_of[a], place_of[b]) for a, b in self._pose_bones.tolist()])
        hands = [model.parts[part].start + self._hand_bones for part in WRISTS]
        self._bones = np.concatenate([pose, *hands])  # [L, 2]
        self.limb_bones = self._bones[: len(LIMB_BONES)]
        self._pose_weight = np.array(energy.pose_weights(model.pose_landmarks, topology))
        self._heights = np.full(len(HEIGHT_SHARES), np.nan)  # by each bone
        self.height = np.nan

    def continue_from(self, other: "TargetReader") -> None:
        """Take over the person's height."""
        self._heights, self.height = other._heights.copy(), other.height

    def read(self, landmarks: Landmarks) -> Targets:
        """Return the targets of the next frame."""
        topology, model, parts = self._topology, self._model, self._model.parts
        self._update_height(landmarks)
        world = landmarks.pose_world @ TO_WORLD.T
        places, weights = np.zeros((model.points, 2)), np.zeros(model.points)
        scales = np.full(model.points, energy.BODY_SCALE)
        directions, bone_weights = np.zeros((len(self._bones), 3)), np.zeros(len(self._bones))
        seen = {"body": True}
        for side, (part, wrist) in enumerate(WRISTS.items()):
            hand = getattr(landmarks, part)
            seen[part] = bool(np.isfinite(hand[0, 0])) and bool(
                is_plausible_hand(hand[:, :2], landmarks.pose[topology.pose[wrist]], self.height, topology)
            )
            if seen[part]:
                places[parts[part]], scales[parts[part]] = hand[:, :2], energy.HAND_SCALE
                weights[parts[part]] = energy.HAND
                rows = len(self._pose_bones) + side * len(self._hand_bones) + np.arange(len(self._hand_bones))
                directions[rows] = np.diff((hand @ TO_WORLD.T)[self._hand_bones], axis=1)[:, 0]
                bone_weights[rows] = energy.HAND_BONE

        trusted = trust(landmarks.pose, landmarks.visibility, self._camera.width, self._camera.height)
        limbs, confidence = limb_visibility(trusted, np.array([seen[part] for part in WRISTS]), topology)
        shown = trust_limbs(trusted, limbs, topology)
        places[parts["pose"]] = landmarks.pose[model.pose_landmarks]
        weights[parts["pose"]] = energy.POSE * shown[model.pose_landmarks] * self._pose_weight
        start, end = self._pose_bones.T
        directions[: len(start)] = world[end] - world[start]
        bone_weights[: len(start)] = energy.BONE * np.minimum(shown[start], shown[end])

        seen["face"] = bool(np.isfinite(landmarks.face[0, 0])) and bool(faces_camera(world, topology))
        if seen["face"]:
            places[parts["face"]], scales[parts["face"]] = landmarks.face[self._anchors, :2], energy.FACE_SCALE
            weights[parts["face"]] = _ANCHOR
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
        met, bent = weights > 0, bone_weights > 0
        bones = Bones(self._bones[bent], directions[bent], bone_weights[bent])
        return Targets(met, places[met], weights[met], scales[met], bones, seen, limbs, confidence)

    def _update_height(self, landmarks: Landmarks) -> None:
        heights = bone_heights(landmarks.pose, landmarks.visibility, self._topology)
        if np.isnan(self._heights).all() and np.isnan(heights).all():
            heights[:] = np.ptp(landmarks.pose[:, 1])
        self._heights = np.fmax(self._heights * (1 - _SHRINKS), heights)
        self.height = float(np.nanmedian(self._heights))
