"""Where hidden limbs are: the rule that the offline fit and the live solve share.

Detectors imagine a leg behind a desk, and a different one in every frame, so hidden limbs are not compared with their
landmarks. For a moment they keep their pose, or move to where they are next seen; then their bones point as those of a
person at rest (`motion.resting`), who sits if the visible legs do, and otherwise stands. Hips whose legs are both at
rest are upright.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..body.kinematics import Kinematics
from ..body.template import FINGERS, BodyTemplate
from ..motion.motion import LIMBS
from ..motion.resting import (
    at_ease,
    eased,
    lift,
    limb_roles,
    lying,
    seated,
    standing_axes,
)
from . import energy
from .correspondence import Correspondence
from .detection.topology import LIMB_BONES, Topology
from .observations import Observations, limb_visibility, trust

Array = NDArray[np.float64]
THIGHS = (4, 6)  # among `LIMB_BONES`
REST_AFTER = 1.0  # seconds until a hidden limb is at rest
LIMB_SEEN = 0.5  # visibility from which a limb counts as seen
_FREE = 0.02  # share of a point's skin: points that a hidden limb moves by more are not looked for in the video
_SITS_FOR = 2.0  # seconds: shorter movements of the legs are kicks
_FPS = 25.0  # nominal, live: hidden time is counted in frames


class RestDirections:
    """Directions of a template's limbs at rest, between the detector's landmarks."""

    @torch.no_grad()
    def __init__(self, template: BodyTemplate, topology: Topology):
        identity = template.default_identity()
        pose = torch.from_numpy(at_ease(template, Kinematics(template, identity))).float()
        origin, neutral = torch.zeros(1, 3), torch.zeros(1, len(template.action_names))
        posed = template.body(identity).pose(origin, origin, pose[None], neutral)
        map_ = Correspondence.load(template, topology)
        joints = map_.pose_joints(posed.joints[..., :3, 3], posed.turns)[0].double().numpy()
        start, end = ([map_.joint_landmarks.index(i) for i in ends] for ends in topology.bones(LIMB_BONES).T)
        self._standing = unit(joints[end] - joints[start])  # [8, 3]

    def directions(self, root_rotation: Array, sits: Array | float) -> Array:
        """Return unit vectors [..., 8, 3] in the world along each of `LIMB_BONES` at rest.

        Args:
            root_rotation: [..., 3] rotation vector of the root, radians; of one frame or of N.
            sits: [...] from 0 (stands) to 1.
        """
        axes = standing_axes(root_rotation).as_matrix()
        here = np.broadcast_to(self._standing, (*root_rotation.shape[:-1], *self._standing.shape)).copy()
        for thigh in THIGHS:
            here[..., thigh, :] = lift(self._standing[thigh], sits)
        return here @ axes.swapaxes(-1, -2)


class ClipLimbs:
    """Which limbs are visible in which frames of a clip, and where the others rest. Tensors are float32.

    Args:
        root_rotation: [N, 3] the person's rough orientation.
        in_order: frames follow each other, so that a briefly hidden limb keeps its pose.
    """

    trusted: Tensor  # [N, P] how far to trust each pose landmark
    confidence: Tensor  # [N, 4] of `motion.LIMBS`
    rest_weight: Tensor  # [N, 8] how strongly each of `LIMB_BONES` is pulled to its direction at rest
    hips_weight: Tensor  # [N] how strongly the hips are pulled upright

    def __init__(self, template: BodyTemplate, seen: Observations, root_rotation: Array, in_order: bool):
        trusted = trust(seen.pose.numpy(), seen.visibility.numpy(), seen.width, seen.height)
        trusted = trusted * seen.seen["body"].numpy()[:, None]
        hands = torch.stack([seen.seen["left_hand"], seen.seen["right_hand"]], 1).numpy()
        self._visible, confidence = limb_visibility(trusted, hands, seen.topology)
        hidden = hidden_time(self._visible, seen.fps) if in_order else np.where(self._visible < 1, np.inf, 0.0)
        self.confidence = torch.from_numpy(confidence).float()
        self.trusted = torch.from_numpy(trust_limbs(trusted, self._visible, seen.topology)).float()
        rests = torch.from_numpy(rest_share(self._visible, hidden)).float()
        self.rest_weight = energy.REST * rests.repeat_interleave(2, 1)
        upright = 1.0 - torch.from_numpy(lying(root_rotation)).float()
        self.hips_weight = energy.UPRIGHT * rests[:, 2:].amin(1) * upright
        ends = seen.topology.bones(LIMB_BONES[thigh] for thigh in THIGHS).T
        start, end = (seen.pose_world[:, each.tolist()].double().numpy() for each in ends)
        self._sits = sitting(unit(end - start), root_rotation, self._visible[:, 2:], seen.fps)
        self._rest = RestDirections(template, seen.topology)

    def at_rest(self, root_rotation: Tensor) -> Tensor:
        """Return the directions [N, 8, 3] of `LIMB_BONES` at rest, for the orientations [N, 3]."""
        directions = self._rest.directions(root_rotation.detach().double().numpy(), self._sits)
        return torch.from_numpy(directions).float()

    def shown_surface(self, points: BodyTemplate) -> Tensor:
        """Return how far each of K vertices or points of a template is on visible parts of the person [N, K].

        Where a hidden limb is drawn, the video shows something else.
        """
        weights = torch.stack([points.role_weight(*_surface_roles(limb)) for limb in LIMBS])
        hidden = (1 - torch.from_numpy(self._visible).float()) @ weights
        return (1 - hidden / _FREE).clamp(0, 1)


class LiveLimbs:
    """The same frame by frame, without the future.

    Attributes:
        rest: [8] how strongly each of `LIMB_BONES` is pulled to its direction at rest.
        hips: how strongly the hips are pulled upright.
    """

    def __init__(self, template: BodyTemplate, topology: Topology):
        self._rest_directions = RestDirections(template, topology)
        self._thighs = topology.bones(LIMB_BONES[thigh] for thigh in THIGHS)
        self._hidden = np.full(len(LIMBS), np.inf)  # seconds since each limb was seen
        self._sits: float | None = None  # 0 to 1; None if no leg was ever seen
        self.rest, self.hips = np.zeros(len(LIMB_BONES)), 0.0

    def look(self, visible: Array, pose_world: Array, root: Rotation) -> None:
        """Take the next frame.

        Args:
            visible: [4] how visible each limb is.
            pose_world: [P, 3] the detector's landmarks in metres, world axes.
            root: the person's rough orientation.
        """
        self._hidden = np.where(visible > LIMB_SEEN, 0.0, self._hidden + 1 / _FPS)
        legs = visible[2:] > LIMB_SEEN
        if legs.any():
            start, end = self._thighs.T
            thighs = pose_world[end] - pose_world[start]
            now = float(seated_thighs(unit(thighs), root.as_rotvec())[legs].mean())
            self._sits = now if self._sits is None else self._sits + (now - self._sits) / (_FPS * _SITS_FOR)
        rests = rest_share(visible, self._hidden)
        self.rest = energy.REST * rests.repeat(2)
        self.hips = energy.UPRIGHT * rests[2:].min() * (1.0 - float(lying(root.as_rotvec())))

    def lose(self) -> None:
        """Take a frame without the person."""
        self._hidden = self._hidden + 1 / _FPS

    def continue_from(self, other: "LiveLimbs") -> None:
        """Take over the times and the posture of another."""
        self._hidden, self._sits = other._hidden, other._sits

    def directions(self, root: Rotation) -> Array:
        """Return the directions [8, 3] of `LIMB_BONES` at rest."""
        return self._rest_directions.directions(root.as_rotvec(), self._sits or 0.0)

    def upright(self, root: Rotation) -> tuple[Array, Array]:
        """Return the Hessian [3, 3] and the slope [3], by turns of the root, of the term that keeps hips upright."""
        x, y, z = root.as_matrix()[:, 2]  # the trunk's up axis
        rows = np.array([[0.0, -z], [z, 0.0], [-y, x]])  # how its x and y change
        weight = self.hips / 2  # 1 - cos of an angle is half the squared distance
        return weight * rows @ rows.T, weight * rows @ np.array([x, y])


def _surface_roles(limb: str) -> list[str]:
    """The roles of a limb and of the fingers at its end."""
    roles = limb_roles(limb)
    if limb.endswith("arm"):
        roles += [f"{finger}{k}{roles[0][-2:]}" for finger in FINGERS for k in (1, 2, 3)]
    return roles


def rest_share(visible: Array, hidden: Array) -> Array:
    """Return how far each limb is at rest [...], 0 to 1.

    Args:
        visible: [...] how visible it is.
        hidden: [...] seconds since it was seen, or until it is again, whichever is shorter; infinite if never.
    """
    onset = eased(np.clip(hidden / REST_AFTER, 0.0, 1.0))
    return (1.0 - visible) * onset**2  # slow at first, so that a briefly hidden limb keeps its pose


def hidden_time(visible: Array, fps: float) -> Array:
    """Return the seconds [N, 4] to the nearest frame that shows each limb; infinite if none does.

    Args:
        visible: [N, 4] how visible each limb is.
    """
    frames = np.arange(len(visible))
    away = np.full(visible.shape, np.inf)
    for limb, known in enumerate((visible > LIMB_SEEN).T):
        if known.any():
            away[:, limb] = np.abs(frames[:, None] - frames[known]).min(1) / fps
    return away


def sitting(thighs: Array, root_rotation: Array, visible: Array, fps: float) -> Array:
    """Return how far the person sits [N], 0 to 1, by the visible thighs; 0 if none ever is.

    Args:
        thighs: [N, 2, 3] unit vectors in the world from hip to knee.
        root_rotation: [N, 3].
        visible: [N, 2] how visible each leg is.
    """
    known = visible > LIMB_SEEN
    if not known.any():
        return np.zeros(len(visible))
    share = seated_thighs(thighs, root_rotation)
    some = np.flatnonzero(known.any(1))
    measured = np.where(known, share, 0.0).sum(1)[some] / known.sum(1)[some]
    filled = np.interp(np.arange(len(visible)), some, measured)
    return median_filter(filled, 1 + 2 * round(_SITS_FOR * fps / 2), mode="nearest")


def seated_thighs(thighs: Array, root_rotation: Array) -> Array:
    """Return how far each thigh [..., 2, 3] sits [..., 2]."""
    return seated(thighs @ standing_axes(root_rotation).as_matrix())


def trust_limbs(trusted: Array, visible: Array, topology: Topology) -> Array:
    """Return the trust [..., P] in pose landmarks, given how visible the limbs are [..., 4]."""
    trusted = trusted.copy()
    for limb, landmarks in enumerate(topology.limbs):
        trusted[..., list(landmarks)] *= visible[..., limb, None]
    return trusted


def unit(vectors: Array) -> Array:
    """Return vectors [..., 3] at length 1; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
