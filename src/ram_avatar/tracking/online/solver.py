"""The live solve: the energy of the offline fit (`fitting`), one frame at a time, from the last frame on.

Gauss-Newton in NumPy over some 120 angles, the root's turn and its place, with the analytic Jacobian of
`landmark_model` and robust residuals as reweighted least squares; then the facial actions, by least squares within
their box, given the head. The build is known and stays as it is. What is not seen is not judged by its landmarks: its
priors and its own past hold it, limbs come to rest (`hidden_limbs`), and its confidence says so.
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
from ..detection.expressions import read_by_net
from ..detection.landmarks import Landmarks
from ..detection.topology import JOINTS, LIMB_BONES, TORSO, WRISTS, Topology
from ..hidden_limbs import LiveLimbs, trust_limbs
from ..observations import (
    HEIGHT_SHARES,
    TO_WORLD,
    bone_heights,
    faces_camera,
    is_plausible_hand,
    limb_visibility,
    trust,
)
from ..offline.fitting import POSE_BONES, pose_weights
from .box_constrained_qp import minimize_in_box
from .landmark_model import LandmarkModel, State

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SolverSettings:
    """Weights as in the offline energy, where nothing else is said."""

    iterations: int = 2
    first_iterations: int = 20
    """From a rough guess: the first frame, and the first one after a gap."""
    body_scale: float = 0.06
    hand_scale: float = 0.03
    face_scale: float = 0.03
    pose_weight: float = 400.0
    hand_weight: float = 400.0
    face_weight: float = 400.0
    """The fit gives 120 to each landmark; here `FaceTopology.anchors` stand for all of them."""
    expression_weight: float = 360.0
    limb_weight: float = 0.6
    hand_bone_weight: float = 0.15
    prior: float = 0.02
    backwards: float = 5.0
    steady: float = 0.4
    """Of angles, against the last frame; per squared radian."""
    steady_root: float = 2.0
    steady_place: tuple[float, float, float] = (20.0, 320.0, 20.0)
    """Of the root's x, y and z; depth is the least certain of the three."""
    steady_actions: float = 0.3
    sparse_actions: float = 0.015
    net_weight: float = 1.0


DEFAULTS = SolverSettings()
_LONGEST_GAP = 12  # frames without a person after which the pose of before is no start any more
_ASTRAY = 0.08  # of the height: with landmarks of the body farther off than this on average, the solve is lost
_LARGEST_STEP = 0.6  # radians, of any angle in an iteration
_DAMPING = 1e-3
_SHRINKS = 0.005  # of the height in pixels, a frame: foreshortening is not taken for going away
_NEAREST = 0.05  # metres: nothing is nearer to the camera
_STRETCHED = 0.05  # radians that a hinge may go backwards, as in the fit
_ROUNDS, _FIRST_ROUNDS = 2, 6  # of linearizing what facial actions do


class LiveSolver:
    """Follows one person of known build from frame to frame.

    Args:
        identity: [I].
        camera: of the pictures that the landmarks are of.
    """

    def __init__(
        self,
        template: BodyTemplate,
        identity: Tensor,
        camera: Camera,
        topology: Topology,
        settings: SolverSettings = DEFAULTS,
    ):
        self.settings, self.camera, self._topology = settings, camera, topology
        face = topology.face
        self._anchors, self._telling = list(face.anchors), list(face.deforming)
        self._joints = topology.indices(JOINTS)
        self._pose_bones, self._hand_bones = topology.bones(POSE_BONES), topology.hand_bones
        self._model = LandmarkModel(template, identity, topology, self._anchors, self._telling)
        self._start = Start(template, identity, self._model)
        place_of = {landmark: i for i, landmark in enumerate(self._model.pose_landmarks)}
        hands = [self._model.parts[part].start + self._hand_bones for part in WRISTS]
        pose = np.array([(place_of[a], place_of[b]) for a, b in self._pose_bones.tolist()])
        self._bones = np.concatenate([pose, *hands])  # [L, 2]
        self._pose_weight = np.array(pose_weights(self._model.pose_landmarks, topology))
        self._expressive = np.where(np.isin(self._telling, face.expressive), 3.0, 1.0)
        self._net = read_by_net(template.action_names)
        self._limbs = LiveLimbs(template, topology)
        of_limbs = np.isin(self._model.free[:, 0], np.concatenate(limb_rows(template)))
        self._trunk = np.append(~of_limbs, [True] * 6)  # [D + 6] what is no limb's: the trunk's angles and the root
        self._state: State | None = None
        self._gap = 0
        self._heights = np.full(len(HEIGHT_SHARES), np.nan)  # as each bone tells it
        self._height = np.nan  # of the person, pixels: the unit of residuals

    def solve(self, landmarks: Landmarks, net_actions: Array | None = None) -> Frame:
        """The next frame of the person's motion.

        Args:
            net_actions: [A] facial actions of the blendshape net, NaN where it says nothing.

        Returns:
            Confidence as the offline fit gives it, that of the body by the joints that are within the picture; 0 for
            what is not seen. Without a person, the pose of before.
        """
        if not landmarks.found:
            self._gap += 1
            self._limbs.lose()
            return self._frame(np.zeros(len(PARTS)))
        targets = self._look(landmarks)
        fresh = self._state is None or self._gap > 0
        if self._state is None or self._gap > _LONGEST_GAP:
            self._state = self._start.guess(landmarks, self.camera, self._height)
        self._gap = 0
        last = None if fresh else self._state.copy()
        self._limbs.look(targets.limbs, landmarks.pose_world @ TO_WORLD.T, self._state.root)
        for _ in range(self.settings.first_iterations if fresh else self.settings.iterations):
            self._step(self._state, last, targets)
        if targets.seen["face"]:
            self._express(self._state, last, landmarks.face[self._telling, :2], net_actions)
        confidence, error = self._judge(landmarks, targets)
        if error > _ASTRAY:
            self._gap = _LONGEST_GAP + 1  # to be looked for anew
        return self._frame(confidence)

    def go_on_from(self, other: "LiveSolver") -> None:
        """Take over from a solver of the same person with another build, in the midst of a motion."""
        self._state, self._gap = None if other._state is None else other._state.copy(), max(other._gap, 1)
        self._limbs.go_on_from(other._limbs)
        self._heights, self._height = other._heights.copy(), other._height

    # What is seen ---------------------------------------------------------------------------------------------------

    def _look(self, landmarks: Landmarks) -> "_Targets":
        """Gates as for the clip (`observations`), and what is left to be met."""
        settings, model, parts = self.settings, self._model, self._model.parts
        topology = self._topology
        heights = bone_heights(landmarks.pose, landmarks.visibility, topology)
        if np.isnan(self._heights).all() and np.isnan(heights).all():
            heights[:] = np.ptp(landmarks.pose[:, 1])
        self._heights = np.fmax(self._heights * (1 - _SHRINKS), heights)
        self._height = float(np.nanmedian(self._heights))
        world = landmarks.pose_world @ TO_WORLD.T
        trusted = trust(landmarks.pose, landmarks.visibility, self.camera.width, self.camera.height)
        places, weights = np.zeros((model.points, 2)), np.zeros(model.points)
        scales = np.full(model.points, settings.body_scale)
        directions, bone_weights = np.zeros((len(self._bones), 3)), np.zeros(len(self._bones))
        seen = {"body": True}
        for side, (part, wrist) in enumerate(WRISTS.items()):
            hand = getattr(landmarks, part)
            seen[part] = bool(np.isfinite(hand[0, 0])) and bool(
                is_plausible_hand(hand[:, :2], landmarks.pose[topology.pose[wrist]], self._height, topology)
            )
            if seen[part]:
                places[parts[part]], scales[parts[part]] = hand[:, :2], settings.hand_scale
                weights[parts[part]] = settings.hand_weight
                rows = len(POSE_BONES) + side * len(self._hand_bones) + np.arange(len(self._hand_bones))
                directions[rows] = np.diff((hand @ TO_WORLD.T)[self._hand_bones], axis=1)[:, 0]
                bone_weights[rows] = settings.hand_bone_weight
        limbs, confidence = limb_visibility(trusted, np.array([seen[part] for part in WRISTS]), topology)
        shown = trust_limbs(trusted, limbs, topology)
        places[parts["pose"]] = landmarks.pose[model.pose_landmarks]
        weights[parts["pose"]] = settings.pose_weight * shown[model.pose_landmarks] * self._pose_weight
        start, end = self._pose_bones.T
        directions[: len(POSE_BONES)] = world[end] - world[start]
        bone_weights[: len(POSE_BONES)] = settings.limb_weight * np.minimum(shown[start], shown[end])
        seen["face"] = bool(np.isfinite(landmarks.face[0, 0])) and bool(faces_camera(world, topology))
        if seen["face"]:
            places[parts["face"]], scales[parts["face"]] = landmarks.face[self._anchors, :2], settings.face_scale
            weights[parts["face"]] = settings.face_weight
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
        met, bent = weights > 0, bone_weights > 0
        bones = _Bones(self._bones[bent], directions[bent], bone_weights[bent])
        return _Targets(met, places[met], weights[met], scales[met], bones, seen, limbs, confidence)

    def _inside(self, landmarks: Landmarks) -> NDArray[np.bool_]:
        """[P] whether the picture holds them."""
        size = np.array([self.camera.width, self.camera.height])
        return ((landmarks.pose >= 0) & (landmarks.pose <= size)).all(-1)

    # The pose -------------------------------------------------------------------------------------------------------

    def _step(self, state: State, last: State | None, targets: "_Targets") -> None:
        """One iteration of Gauss-Newton; `state` is changed. `last`: of the frame before, where there is one."""
        points, moves = self._model.with_jacobian(state)
        rows, residuals, weights = self._picture(points[targets.met], moves[..., targets.met], targets)
        terms = [(rows, residuals, weights), _directed(points, moves, targets.bones)]
        if self._limbs.rest.any():
            rest = _Bones(self._bones[: len(LIMB_BONES)], self._limbs.directions(state.root), self._limbs.rest)
            terms.append(_directed(points, moves, rest))
            terms[-1][0][self._trunk] = 0.0  # limbs follow the trunk to rest, and do not pull at it
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

    def _picture(self, points: Array, moves: Array, targets: "_Targets") -> tuple[Array, Array, Array]:
        """Residuals [2K] in the picture, shares of the height, with their Jacobian [D + 6, 2K] and weights."""
        unit = self.camera.focal / self._height / np.maximum(points[:, 1], _NEAREST)
        across, up = points[:, 0] / points[:, 1], points[:, 2] / points[:, 1]
        rows = np.concatenate(
            [unit * (moves[:, 0] - across * moves[:, 1]), -unit * (moves[:, 2] - up * moves[:, 1])], 1
        )
        off = (project(points, self.camera) - targets.places) / self._height  # [K, 2]
        robust = targets.weights * (targets.scales**2 / ((off**2).sum(1) + targets.scales**2)) ** 2
        return rows, off.T.ravel(), np.tile(robust, 2)

    def _priors(self, state: State) -> tuple[Array, Array]:
        """Diagonal [D + 6] of the Hessian, and slope [D + 6], of what holds for every pose."""
        settings, model = self.settings, self._model
        free = tuple(model.free.T)
        angles = state.angles[free]
        diagonal = settings.prior * model.stiffness
        pull = diagonal * (angles - model.relaxed[free])
        beyond = np.where(model.hinges, np.minimum(angles + _STRETCHED, 0.0), 0.0)
        beyond += np.where(model.fingers, np.maximum(angles - MAX_FINGER_FLEXION, 0.0), 0.0)
        diagonal = diagonal + settings.backwards * (beyond != 0)
        return np.append(diagonal, np.zeros(6)), np.append(pull + settings.backwards * beyond, np.zeros(6))

    def _steadiness(self, state: State, last: State) -> tuple[Array, Array]:
        """The same of the changes since the last frame."""
        settings, free = self.settings, tuple(self._model.free.T)
        turned = (state.root * last.root.inv()).as_rotvec()
        change = np.concatenate([state.angles[free] - last.angles[free], turned, state.place - last.place])
        weights = np.full(len(change), settings.steady)
        weights[-6:-3], weights[-3:] = settings.steady_root, settings.steady_place
        return weights, weights * change

    # The face -------------------------------------------------------------------------------------------------------

    def _express(self, state: State, last: State | None, places: Array, net_actions: Array | None) -> None:
        """Facial actions by landmarks [F, 2] of the face, given the head; `state` is changed."""
        settings, telling = self.settings, self._model.telling(state)
        for _ in range(_FIRST_ROUNDS if last is None else _ROUNDS):
            points = telling.at(state.actions)
            unit = self.camera.focal / self._height / np.maximum(points[:, 1], _NEAREST)
            across, up = points[:, 0] / points[:, 1], points[:, 2] / points[:, 1]
            moves = telling.moves
            rows = np.stack(
                [unit * (moves[..., 0] - across * moves[..., 1]), unit * (up * moves[..., 1] - moves[..., 2])], 1
            )
            off = ((project(points, self.camera) - places) / self._height).T
            square = settings.face_scale**2
            robust = settings.expression_weight * self._expressive * (square / ((off**2).sum(0) + square)) ** 2
            weighted = (rows * robust).reshape(len(rows), -1)
            hessian = weighted @ rows.reshape(len(rows), -1).T
            slope = weighted @ off.ravel() - hessian @ state.actions + settings.sparse_actions / 2
            diagonal = np.full(len(hessian), _DAMPING)
            if last is not None:
                diagonal += settings.steady_actions
                slope -= settings.steady_actions * last.actions
            if net_actions is not None:
                known = [i for i in self._net if np.isfinite(net_actions[i])]
                diagonal[known] += settings.net_weight
                slope[known] -= settings.net_weight * net_actions[known]
            hessian[np.diag_indices_from(hessian)] += diagonal
            state.actions = minimize_in_box(hessian, slope, state.actions)

    # The result -----------------------------------------------------------------------------------------------------

    def _judge(self, landmarks: Landmarks, targets: "_Targets") -> tuple[Array, float]:
        """Confidence [8] by part, and how far the body is off, in shares of the height."""
        settings, parts = self.settings, self._model.parts
        off = np.zeros(self._model.points)
        seen_at = project(self._model.at(self._state)[targets.met], self.camera)
        off[targets.met] = np.linalg.norm(seen_at - targets.places, axis=1) / self._height
        inside = self._inside(landmarks)[self._joints]  # of somebody at a desk, a few joints are all that can be seen
        confidence = [landmarks.visibility[self._joints][inside].mean() if inside.any() else 0.0]
        scales = {"left_hand": settings.hand_scale, "right_hand": settings.hand_scale, "face": settings.face_scale}
        for part, scale in scales.items():
            confidence.append(targets.seen[part] * np.exp(-((off[parts[part]].mean() / scale) ** 2)))
        judged = targets.met[parts["pose"]][: len(JOINTS)]
        confidence += targets.limb_confidence.tolist()
        return np.array(confidence), float(off[: len(JOINTS)][judged].mean()) if judged.any() else 0.0

    def _frame(self, confidence: Array) -> Frame:
        state = self._state if self._state is not None else self._start.at_rest()
        return Frame(
            root_rotation=state.root.as_rotvec(),
            root_translation=state.place.copy(),
            pose=self._model.pose(state),
            facial_actions=state.actions.copy(),
            confidence=confidence,
        )


@dataclass
class _Bones:
    """L bones and where they are to point."""

    ends: NDArray[np.intp]  # [L, 2] landmarks of the model
    directions: Array  # [L, 3]
    weights: Array  # [L]


@dataclass
class _Targets:
    """What is to be met in one frame: K of the model's landmarks in the picture, bones in space."""

    met: NDArray[np.bool_]  # which landmarks of the model
    places: Array  # [K, 2] pixels
    weights: Array  # [K]
    scales: Array  # [K] beyond which a residual is an outlier, shares of the height
    bones: _Bones
    seen: dict[str, bool]  # body, hands, face
    limbs: Array  # [4] how far each limb is seen
    limb_confidence: Array  # [4]


class Start:
    """Where a person is, of one frame alone: a rough guess to begin with.

    Args:
        identity: [I].
    """

    def __init__(self, template: BodyTemplate, identity: Tensor, model: LandmarkModel):
        body = template.body(identity)
        joints = body.at_reference().joints[0, :, :3, 3].double().numpy()
        at = lambda role: joints[template.joint_of(role)]
        self._hips, self._chest = ((at(f"{role}.L") + at(f"{role}.R")) / 2 for role in ("thigh", "upper_arm"))
        self._upright = _axes(at("thigh.L") - at("thigh.R"), self._chest - self._hips)
        self._stature = float(np.ptp(body.reference_vertices()[:, 2].numpy()))  # metres
        self._rest, self._actions = model.relaxed, len(template.action_names)

    def at_rest(self) -> State:
        """Relaxed, in front of nobody's camera."""
        return State(self._rest.copy(), Rotation.identity(), np.zeros(3), np.zeros(self._actions))

    def guess(self, landmarks: Landmarks, camera: Camera, height: float) -> State:
        """Relaxed, in the place and the direction of a person that is `height` pixels high."""
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


def project(points: Array, camera: Camera) -> Array:
    """[K, 2] pixels of points [K, 3] in the world; `Camera.project` in NumPy."""
    scale = camera.focal / np.maximum(points[:, 1], _NEAREST)
    return np.stack([camera.center_x + points[:, 0] * scale, camera.center_y - points[:, 2] * scale], 1)


def _directed(points: Array, moves: Array, bones: _Bones) -> tuple[Array, Array, Array]:
    """Jacobian [D + 6, 3L] of how far the directions of bones are off, how far they are [3L], and weights."""
    start, end = bones.ends.T
    along = points[end] - points[start]
    length = np.maximum(np.linalg.norm(along, axis=1), 1e-9)
    unit = (along / length[:, None]).T  # [3, L]
    moved = moves[:, :, end] - moves[:, :, start]  # [D + 6, 3, L]
    turned = (moved - (moved * unit).sum(1, keepdims=True) * unit) / length
    weights = np.tile(bones.weights / 2, 3)  # 1 - cos of an angle is half the square of the distance
    return turned.reshape(len(moves), -1), (unit - bones.directions.T).ravel(), weights


def _axes(left: Array, up: Array) -> Array:
    """[3, 3] rotation whose columns are left, up made orthogonal, and their cross product."""
    left = left / np.linalg.norm(left)
    up = up - (up @ left) * left
    up = up / np.linalg.norm(up)
    return np.stack([left, up, np.cross(left, up)], 1)
