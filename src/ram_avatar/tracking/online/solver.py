"""The live solve: the energy of the offline fit, one frame at a time, starting from the last frame.

Gauss-Newton in NumPy over some 120 angles, the root's rotation and translation, with the analytic Jacobian of
`landmark_model` and robust residuals as reweighted least squares; then the facial actions, given the head
(`action_solver`). The identity is known and fixed. Hidden parts are not compared with their landmarks: priors and their
own past hold them, limbs come to rest (`hidden_limbs`), and their confidence says so.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...body.anatomy import MAX_FINGER_FLEXION
from ...body.template import BodyTemplate
from ...core.camera import Camera
from ...motion.motion import PARTS, Frame
from ...motion.resting import limb_rows
from .. import energy
from ..detection.landmarks import Landmarks
from ..detection.topology import JOINTS, Topology
from ..hidden_limbs import LiveLimbs
from ..observations import TO_WORLD
from .action_solver import ActionSolver
from .initial_guess import InitialGuess
from .landmark_model import LandmarkModel, State
from .projection import project, projection_jacobian
from .targets import Bones, TargetReader, Targets

Array = NDArray[np.float64]
Term = tuple[Array, Array, Array]  # Jacobian [D + 6, R], residuals [R] and weights [R]


@dataclass(frozen=True)
class SolverSettings:
    """How long to solve; the weights of the terms are in `energy`."""

    iterations: int = 2
    first_iterations: int = 20
    """From a rough guess: the first frame, and the first one after a gap."""


DEFAULTS = SolverSettings()
_LONGEST_GAP = 12  # frames without a person, after which the last pose is no longer a useful start
_LOST = 0.08  # of the height: mean residual of the body beyond which the solve starts over
_LARGEST_STEP = 0.6  # radians, of any angle in an iteration
_DAMPING = 1e-3


class LiveSolver:
    """Follows one person of known identity from frame to frame.

    Args:
        identity: [I].
        camera: of the frames that the landmarks were found in.
        topology: of the detector.
    """

    def __init__(
        self,
        template: BodyTemplate,
        identity: Tensor,
        camera: Camera,
        topology: Topology,
        settings: SolverSettings = DEFAULTS,
    ):
        self.settings, self.camera = settings, camera
        face = topology.face
        self._deforming, self._joints = list(face.deforming), topology.indices(JOINTS)
        self._model = LandmarkModel(template, identity, topology, face.anchors, face.deforming)
        self._reader = TargetReader(self._model, topology, face.anchors, camera)
        self._actions = ActionSolver(face, template.action_names, camera)
        self._guess = InitialGuess(template, identity, self._model)
        self._limbs = LiveLimbs(template, topology)
        of_limbs = np.isin(self._model.free[:, 0], np.concatenate(limb_rows(template)))
        self._trunk = np.append(~of_limbs, [True] * 6)  # [D + 6] angles of the trunk and the root
        self._state: State | None = None
        self._gap = 0  # frames since the person was last seen

    def solve(self, landmarks: Landmarks, net_actions: Array | None = None) -> Frame:
        """Return the next frame of the person's motion.

        Args:
            net_actions: [A] facial actions of the blendshape net, NaN where it gives none.

        Returns:
            Confidence as in the offline fit, but that of the body counts only joints within the image; 0 for hidden
            parts. Without a person, the last pose.
        """
        if not landmarks.found:
            self._gap += 1
            self._limbs.lose()
            return self._frame(self._state, np.zeros(len(PARTS)))
        targets = self._reader.read(landmarks)
        fresh = self._state is None or self._gap > 0
        if self._state is None or self._gap > _LONGEST_GAP:
            self._state = self._guess.from_landmarks(landmarks, self.camera, self._reader.height)
        self._gap = 0
        state, last = self._state, None if fresh else self._state.copy()
        self._limbs.look(targets.limbs, landmarks.pose_world @ TO_WORLD.T, state.root)
        for _ in range(self.settings.first_iterations if fresh else self.settings.iterations):
            self._step(state, last, targets)
        if targets.seen["face"]:
            state.actions = self._actions.solve(
                self._model.deforming(state),
                landmarks.face[self._deforming, :2],
                state.actions,
                None if last is None else last.actions,
                net_actions,
                self._reader.height,
            )
        confidence, error = self._judge(state, landmarks, targets)
        if error > _LOST:
            self._gap = _LONGEST_GAP + 1
        return self._frame(state, confidence)

    def continue_from(self, other: "LiveSolver") -> None:
        """Take over in mid-motion from a solver of the same person with another identity."""
        self._state, self._gap = None if other._state is None else other._state.copy(), max(other._gap, 1)
        self._limbs.continue_from(other._limbs)
        self._reader.continue_from(other._reader)

    # The pose -------------------------------------------------------------------------------------------------------

    def _step(self, state: State, last: State | None, targets: Targets) -> None:
        """Run one iteration of Gauss-Newton on `state`, in place. `last`: of the frame before, where there is one."""
        points, moves = self._model.with_jacobian(state)
        terms = [
            self._reprojection(points[targets.met], moves[..., targets.met], targets),
            _bone_directions(points, moves, targets.bones),
        ]
        if self._limbs.rest.any():
            rest = Bones(self._reader.limb_bones, self._limbs.directions(state.root), self._limbs.rest)
            rows, residuals, weights = _bone_directions(points, moves, rest)
            rows[self._trunk] = 0.0  # limbs follow the trunk to rest without pulling at it
            terms.append((rows, residuals, weights))
        rows, residuals, weights = (np.concatenate(each, -1) for each in zip(*terms, strict=True))
        weighted = rows * weights
        hessian, slope = weighted @ rows.T, weighted @ residuals
        diagonal, pull = self._priors(state)
        if last is not None:
            steady, held = self._steadiness(state, last)
            diagonal, pull = diagonal + steady, pull + held
        if self._limbs.hips:
            turns = slice(len(slope) - 6, len(slope) - 3)
            bend, straighten = self._limbs.upright(state.root)
            hessian[turns, turns] += bend
            slope[turns] += straighten
        hessian[np.diag_indices_from(hessian)] += diagonal + _DAMPING
        step = -np.linalg.solve(hessian, slope + pull)
        free = len(self._model.free)
        step *= min(1.0, _LARGEST_STEP / max(np.abs(step[: free + 3]).max(), 1e-9))
        state.angles[tuple(self._model.free.T)] += step[:free]
        state.root = Rotation.from_rotvec(step[free : free + 3]) * state.root
        state.place = state.place + step[free + 3 :]

    def _reprojection(self, points: Array, moves: Array, targets: Targets) -> Term:
        """Residuals in the image [2K], in units of the height."""
        height = self._reader.height
        rows = projection_jacobian(points, moves, self.camera, height)
        off = (project(points, self.camera) - targets.places) / height  # [K, 2]
        robust = targets.weights * (targets.scales**2 / ((off**2).sum(1) + targets.scales**2)) ** 2
        return rows, off.T.ravel(), np.tile(robust, 2)

    def _priors(self, state: State) -> tuple[Array, Array]:
        """Diagonal of the Hessian [D + 6] and slope [D + 6] of the priors on every pose."""
        model = self._model
        free = tuple(model.free.T)
        angles = state.angles[free]
        diagonal = energy.POSE_PRIOR * model.stiffness
        pull = diagonal * (angles - model.relaxed[free])
        beyond = np.where(model.hinges, np.minimum(angles + energy.BACKWARDS, 0.0), 0.0)
        beyond += np.where(model.fingers, np.maximum(angles - MAX_FINGER_FLEXION, 0.0), 0.0)
        diagonal = diagonal + energy.RANGE * (beyond != 0)
        return np.append(diagonal, np.zeros(6)), np.append(pull + energy.RANGE * beyond, np.zeros(6))

    def _steadiness(self, state: State, last: State) -> tuple[Array, Array]:
        """The same of the changes since the last frame."""
        free = tuple(self._model.free.T)
        turned = (state.root * last.root.inv()).as_rotvec()
        change = np.concatenate([state.angles[free] - last.angles[free], turned, state.place - last.place])
        weights = np.full(len(change), energy.ANGLES_CHANGE)
        weights[-6:-3] = energy.ROOT_CHANGE
        weights[-3:] = energy.TRANSLATION_CHANGE * np.array([1.0, energy.DEPTH**2, 1.0])
        return weights, weights * change

    # The result -----------------------------------------------------------------------------------------------------

    def _judge(self, state: State, landmarks: Landmarks, targets: Targets) -> tuple[Array, float]:
        """Confidence [8] by part, and the mean residual of the body in shares of the height."""
        parts = self._model.parts
        off = np.zeros(self._model.points)
        seen_at = project(self._model.at(state)[targets.met], self.camera)
        off[targets.met] = np.linalg.norm(seen_at - targets.places, axis=1) / self._reader.height
        inside = self._inside(landmarks)[self._joints]  # of a person at a desk, only a few joints can be visible
        confidence = [landmarks.visibility[self._joints][inside].mean() if inside.any() else 0.0]
        scales = {"left_hand": energy.HAND_SCALE, "right_hand": energy.HAND_SCALE, "face": energy.FACE_SCALE}
        for part, scale in scales.items():
            confidence.append(targets.seen[part] * np.exp(-((off[parts[part]].mean() / scale) ** 2)))
        counted = targets.met[parts["pose"]][: len(JOINTS)]
        confidence += targets.limb_confidence.tolist()
        return np.array(confidence), float(off[: len(JOINTS)][counted].mean()) if counted.any() else 0.0

    def _inside(self, landmarks: Landmarks) -> NDArray[np.bool_]:
        """[P] whether pose landmarks are within the image."""
        size = np.array([self.camera.width, self.camera.height])
        return ((landmarks.pose >= 0) & (landmarks.pose <= size)).all(-1)

    def _frame(self, state: State | None, confidence: Array) -> Frame:
        state = self._guess.at_rest() if state is None else state
        return Frame(
            root_rotation=state.root.as_rotvec(),
            root_translation=state.place.copy(),
            pose=self._model.pose(state),
            facial_actions=state.actions.copy(),
            confidence=confidence,
        )


def _bone_directions(points: Array, moves: Array, bones: Bones) -> Term:
    """Differences between the directions of bones and their targets [3L]."""
    start, end = bones.ends.T
    along = points[end] - points[start]
    length = np.maximum(np.linalg.norm(along, axis=1), 1e-9)
    unit = (along / length[:, None]).T  # [3, L]
    moved = moves[:, :, end] - moves[:, :, start]  # [D + 6, 3, L]
    turned = (moved - (moved * unit).sum(1, keepdims=True) * unit) / length
    weights = np.tile(bones.weights / 2, 3)  # 1 - cos of an angle is half the squared distance
    return turned.reshape(len(moves), -1), (unit - bones.directions.T).ravel(), weights
