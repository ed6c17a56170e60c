"""Where limbs are that nobody sees: the rule that the offline fit and the live solve share.

The detector imagines a leg behind a desk, another one in every frame. A limb that is not seen is not judged by its
landmarks. For a moment it stays as it was, or goes on to where it is next seen; then its bones point as those of
somebody at rest (`motion.resting`), who sits if legs that are seen do, and else stands. Hips whose legs both rest are
upright.
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
from .correspondence import Correspondence
from .detection.topology import LIMB_BONES, Topology
from .observations import Observations, limb_visibility, trust

Array = NDArray[np.float64]
THIGHS = (4, 6)  # among `LIMB_BONES`
REST_WEIGHT = 10.0  # of a bone's direction at rest, as the fit's energy has directions of bones
HIPS_WEIGHT = 30.0  # of hips that are upright on two legs at rest, likewise: the spine leans, they do not
REST_AFTER = 1.0  # seconds for which a limb has not been seen until it is at rest
LIMB_SEEN = 0.5  # how far a limb is seen from which it counts as seen
_CLEAR = 0.02  # of a point's skin: one that a hidden limb moves by more is not looked for in the video
_SITS_FOR = 2.0  # seconds: what legs do for less is a kick
_FPS = 25.0  # nominal, live: the time that a limb has not been seen is counted in frames


class RestingLimbs:
    """Directions of a template's limbs at rest, between the detector's landmarks."""

    @torch.no_grad()
    def __init__(self, template: BodyTemplate, topology: Topology):
        identity = template.default_identity()
        pose = torch.from_numpy(at_ease(template, Kinematics(template, identity))).float()
        nowhere, calm = torch.zeros(1, 3), torch.zeros(1, len(template.action_names))
        posed = template.body(identity).pose(nowhere, nowhere, pose[None], calm)
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


class LimbsOfClip:
    """Which limbs are seen in which frames of a clip, and where the others rest. Tensors are float32.

    Args:
        root_rotation: [N, 3] about how the person is turned.
        in_order: frames follow each other, so that a limb that is hidden for a moment stays.
    """

    trusted: Tensor  # [N, P] how far to trust each landmark of the pose
    confidence: Tensor  # [N, 4] of `motion.LIMBS`
    rest_weight: Tensor  # [N, 8] how strongly each of `LIMB_BONES` is to point as at rest
    hips_weight: Tensor  # [N] how strongly the hips are to be upright

    def __init__(self, template: BodyTemplate, seen: Observations, root_rotation: Array, in_order: bool):
        trusted = trust(seen.pose.numpy(), seen.visibility.numpy(), seen.width, seen.height)
        trusted = trusted * seen.seen["body"].numpy()[:, None]
        hands = torch.stack([seen.seen["left_hand"], seen.seen["right_hand"]], 1).numpy()
        self._seen, confidence = limb_visibility(trusted, hands, seen.topology)
        away = unseen_for(self._seen, seen.fps) if in_order else np.where(self._seen < 1, np.inf, 0.0)
        self.confidence = torch.from_numpy(confidence).float()
        self.trusted = torch.from_numpy(trust_limbs(trusted, self._seen, seen.topology)).float()
        rests = torch.from_numpy(share_of_rest(self._seen, away)).float()
        self.rest_weight = REST_WEIGHT * rests.repeat_interleave(2, 1)
        upright = 1.0 - torch.from_numpy(lying(root_rotation)).float()
        self.hips_weight = HIPS_WEIGHT * rests[:, 2:].amin(1) * upright
        ends = seen.topology.bones(LIMB_BONES[thigh] for thigh in THIGHS).T
        start, end = (seen.pose_world[:, each.tolist()].double().numpy() for each in ends)
        self._sits = sits(unit(end - start), root_rotation, self._seen[:, 2:], seen.fps)
        self._resting = RestingLimbs(template, seen.topology)

    def at_rest(self, root_rotation: Tensor) -> Tensor:
        """Return the directions [N, 8, 3] of `LIMB_BONES` at rest of a person who is turned by [N, 3]."""
        directions = self._resting.directions(root_rotation.detach().double().numpy(), self._sits)
        return torch.from_numpy(directions).float()

    def shown_surface(self, points: BodyTemplate) -> Tensor:
        """Return how far each of K vertices or points of a template is on what is seen of the person [N, K].

        What is drawn of a limb that is not seen lies on something else in the video.
        """
        weights = torch.stack([points.role_weight(*_surface_roles(limb)) for limb in LIMBS])
        hidden = (1 - torch.from_numpy(self._seen).float()) @ weights
        return (1 - hidden / _CLEAR).clamp(0, 1)


class LiveLimbs:
    """The same frame by frame, without the future.

    Attributes:
        rest: [8] how strongly each of `LIMB_BONES` is to point as at rest.
        hips: how strongly the hips are to be upright.
    """

    def __init__(self, template: BodyTemplate, topology: Topology):
        self._resting = RestingLimbs(template, topology)
        self._thighs = topology.bones(LIMB_BONES[thigh] for thigh in THIGHS)
        self._unseen = np.full(len(LIMBS), np.inf)  # seconds since each limb was seen
        self._sits: float | None = None  # how far, 0 to 1; None where no leg was ever seen
        self.rest, self.hips = np.zeros(len(LIMB_BONES)), 0.0

    def look(self, seen: Array, pose_world: Array, root: Rotation) -> None:
        """Take note of the next frame.

        Args:
            seen: [4] how far each limb is.
            pose_world: [P, 3] the detector's landmarks in metres, world axes.
            root: about how the person is turned.
        """
        self._unseen = np.where(seen > LIMB_SEEN, 0.0, self._unseen + 1 / _FPS)
        legs = seen[2:] > LIMB_SEEN
        if legs.any():
            start, end = self._thighs.T
            thighs = pose_world[end] - pose_world[start]
            told = float(seated_thighs(unit(thighs), root.as_rotvec())[legs].mean())
            self._sits = told if self._sits is None else self._sits + (told - self._sits) / (_FPS * _SITS_FOR)
        rests = share_of_rest(seen, self._unseen)
        self.rest = REST_WEIGHT * rests.repeat(2)
        self.hips = HIPS_WEIGHT * rests[2:].min() * (1.0 - float(lying(root.as_rotvec())))

    def lose(self) -> None:
        """Take note of a frame without the person."""
        self._unseen = self._unseen + 1 / _FPS

    def go_on_from(self, other: "LiveLimbs") -> None:
        self._unseen, self._sits = other._unseen, other._sits

    def directions(self, root: Rotation) -> Array:
        """Return the directions [8, 3] of `LIMB_BONES` at rest."""
        return self._resting.directions(root.as_rotvec(), self._sits or 0.0)

    def upright(self, root: Rotation) -> tuple[Array, Array]:
        """Return the Hessian [3, 3] and the slope [3], by turns of the root, of what keeps the hips upright."""
        x, y, z = root.as_matrix()[:, 2]  # where the trunk's own up points
        rows = np.array([[0.0, -z], [z, 0.0], [-y, x]])  # how its x and y change
        weight = self.hips / 2  # 1 - cos of an angle is half the square of the distance
        return weight * rows @ rows.T, weight * rows @ np.array([x, y])


def _surface_roles(limb: str) -> list[str]:
    """The roles of a limb, and of the fingers at its end."""
    roles = limb_roles(limb)
    if limb.endswith("arm"):
        roles += [f"{finger}{k}{roles[0][-2:]}" for finger in FINGERS for k in (1, 2, 3)]
    return roles


def share_of_rest(seen: Array, unseen_for: Array) -> Array:
    """Return how far each limb rests [...], 0 to 1.

    Args:
        seen: [...] how far it is seen.
        unseen_for: [...] seconds since it was, or until it is again, whichever is shorter; infinite if never.
    """
    onset = eased(np.clip(unseen_for / REST_AFTER, 0.0, 1.0))
    return (1.0 - seen) * onset**2  # hardly at first: a limb that is hidden for a moment stays


def unseen_for(seen: Array, fps: float) -> Array:
    """Return the seconds [N, 4] to the nearest frame in which each limb is seen [N, 4]; infinite if there is none."""
    frames = np.arange(len(seen))
    away = np.full(seen.shape, np.inf)
    for limb, known in enumerate((seen > LIMB_SEEN).T):
        if known.any():
            away[:, limb] = np.abs(frames[:, None] - frames[known]).min(1) / fps
    return away


def sits(thighs: Array, root_rotation: Array, seen: Array, fps: float) -> Array:
    """Return how far the person sits [N], 0 to 1, by the thighs that are seen; 0 where none ever is.

    Args:
        thighs: [N, 2, 3] unit vectors in the world from hip to knee.
        root_rotation: [N, 3].
        seen: [N, 2] how far each leg is.
    """
    known = seen > LIMB_SEEN
    if not known.any():
        return np.zeros(len(seen))
    share = seated_thighs(thighs, root_rotation)
    some = np.flatnonzero(known.any(1))
    told = np.where(known, share, 0.0).sum(1)[some] / known.sum(1)[some]
    through = np.interp(np.arange(len(seen)), some, told)
    return median_filter(through, 1 + 2 * round(_SITS_FOR * fps / 2), mode="nearest")


def seated_thighs(thighs: Array, root_rotation: Array) -> Array:
    """Return how far each thigh [..., 2, 3] sits [..., 2]."""
    return seated(thighs @ standing_axes(root_rotation).as_matrix())


def trust_limbs(trusted: Array, seen: Array, topology: Topology) -> Array:
    """Return the trust [..., P] in pose landmarks, given how visible the limbs are [..., 4]."""
    trusted = trusted.copy()
    for limb, landmarks in enumerate(topology.limbs):
        trusted[..., list(landmarks)] *= seen[..., limb, None]
    return trusted


def unit(vectors: Array) -> Array:
    """Return vectors [..., 3] at length 1; those of no length stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
