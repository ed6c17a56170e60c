"""Where the live solve starts: a rough guess from a single frame."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.camera import Camera
from ..detection.landmarks import Landmarks
from ..detection.topology import TORSO
from ..observations import TO_WORLD
from .landmark_model import LandmarkModel, State

Array = NDArray[np.float64]


class InitialGuess:
    """A relaxed body at the person's place.

    Args:
        identity: [I].
    """

    def __init__(self, template: BodyTemplate, identity: Tensor, model: LandmarkModel):
        body = template.body(identity)
        joints = body.at_reference().joints[0, :, :3, 3].double().numpy()

        def at(role: str) -> Array:
            return joints[template.joint_of(role)]

        self._hips, self._chest = ((at(f"{role}.L") + at(f"{role}.R")) / 2 for role in ("thigh", "upper_arm"))
        self._upright = _axes(at("thigh.L") - at("thigh.R"), self._chest - self._hips)
        self._stature = float(np.ptp(body.reference_vertices()[:, 2].numpy()))  # metres
        self._rest, self._actions = model.relaxed, len(template.action_names)

    def at_rest(self) -> State:
        """Return a relaxed pose at the origin, for when nobody has been seen yet."""
        return State(self._rest.copy(), Rotation.identity(), np.zeros(3), np.zeros(self._actions))

    def from_landmarks(self, landmarks: Landmarks, camera: Camera, height: float) -> State:
        """Return a relaxed pose with the place and orientation of a person `height` pixels tall."""
        world, torso = landmarks.pose_world @ TO_WORLD.T, landmarks.topology.indices(TORSO)
        left_shoulder, right_shoulder, left_hip, right_hip = (world[i] for i in torso)
        turned = _axes(
            left_shoulder + left_hip - right_shoulder - right_hip, left_shoulder + right_shoulder - left_hip - right_hip
        )
        state = self.at_rest()
        state.root = Rotation.from_matrix(turned @ self._upright.T)
        distance = camera.focal * self._stature / height
        x, y = landmarks.pose[torso].mean(0)
        middle = np.array([(x - camera.center_x) / camera.focal, 1.0, (camera.center_y - y) / camera.focal]) * distance
        state.place = middle - state.root.apply(self._hips + self._chest) / 2
        return state


def _axes(left: Array, up: Array) -> Array:
    """[3, 3] rotation whose columns are left, up made orthogonal, and their cross product."""
    left = left / np.linalg.norm(left)
    up = up - (up @ left) * left
    up = up / np.linalg.norm(up)
    return np.stack([left, up, np.cross(left, up)], 1)
