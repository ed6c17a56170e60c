"""Facial actions of one frame, given the head: least squares within [0, 1]."""

import numpy as np
from numpy.typing import NDArray

from ...core.camera import Camera
from .. import energy
from ..detection.expressions import read_by_net
from ..detection.topology import FaceTopology
from .box_constrained_qp import solve_box_qp
from .landmark_model import DeformingLandmarks
from .projection import project, projection_jacobian

Array = NDArray[np.float64]
_WEIGHT = 360.0  # of a deforming landmark: they stand for all of the face, which have `energy.FACE` each
_ROUNDS, _FIRST_ROUNDS = 2, 6  # of linearizing
_DAMPING = 1e-3


class ActionSolver:
    """Solves for facial actions by the landmarks `FaceTopology.deforming`."""

    def __init__(self, face: FaceTopology, action_names: list[str], camera: Camera):
        expressive = np.isin(face.deforming, face.expressive)
        self._weights = _WEIGHT * np.where(expressive, energy.EXPRESSIVE, 1.0)
        self._net, self._camera = read_by_net(action_names), camera

    def solve(
        self,
        deforming: DeformingLandmarks,
        places: Array,
        actions: Array,
        last: Array | None,
        net_actions: Array | None,
        height: float,
    ) -> Array:
        """Return the actions [A].

        Args:
            places: [F, 2] where the landmarks are seen, pixels.
            actions: [A] to start from.
            last: [A] of the frame before, where there is one.
            net_actions: [A] from the blendshape net, NaN where it gives none.
            height: of the person, pixels.
        """
        square = energy.FACE_SCALE**2
        for _ in range(_FIRST_ROUNDS if last is None else _ROUNDS):
            points = deforming.at(actions)
            rows = projection_jacobian(points, deforming.moves.swapaxes(1, 2), self._camera, height)
            off = ((project(points, self._camera) - places) / height).T
            robust = self._weights * (square / ((off**2).sum(0) + square)) ** 2
            weighted = rows * np.tile(robust, 2)
            hessian = weighted @ rows.T
            slope = weighted @ off.ravel() - hessian @ actions + energy.SPARSE_ACTIONS / 2
            diagonal = np.full(len(hessian), _DAMPING)
            if last is not None:
                diagonal += energy.ACTIONS_CHANGE
                slope -= energy.ACTIONS_CHANGE * last
            if net_actions is not None:
                known = [i for i in self._net if np.isfinite(net_actions[i])]
                diagonal[known] += energy.NET
                slope[known] -= energy.NET * net_actions[known]
            hessian[np.diag_indices_from(hessian)] += diagonal
            actions = solve_box_qp(hessian, slope, actions)
        return actions
