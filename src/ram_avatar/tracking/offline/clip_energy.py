"""The energy of the offline fit: how far a clip's observations are from the template's points.

Robust 2D residuals (Geman and McClure), directions of bones in 3D from the detector's own depth, directions at rest for
hidden limbs (`hidden_limbs`), priors by joint (`anatomy`) and temporal terms; weights in `energy`. Landmarks are points
of the template (`correspondence`), so the fit skins a few hundred points instead of the mesh.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor
from torch.nn import functional as F

from ...body.anatomy import MAX_FINGER_FLEXION, Anatomy, anatomy_of
from ...body.template import BodyTemplate
from ...core.camera import Camera
from .. import energy
from ..correspondence import Correspondence
from ..detection.expressions import read_by_net
from ..detection.topology import LIMB_BONES
from ..hidden_limbs import ClipLimbs
from ..observations import Observations

_BODY_STAGE_BONE = 2.0  # `energy.BONE` in the first stage, while the pose is still rough
_BODY_STAGE_CHANGE = 0.2  # `energy.ANGLES_CHANGE`, likewise
_ACCELERATION = 0.4  # of angles
HANDS = ("left_hand", "right_hand")


@dataclass(frozen=True)
class FitSettings:
    """How long and how strictly to fit; the weights of the terms are in `energy`."""

    body_iterations: int = 100
    full_iterations: int = 200
    body_scale: float = energy.BODY_SCALE
    hand_scale: float = energy.HAND_SCALE
    face_scale: float = energy.FACE_SCALE
    refinements: int = 3
    """Rounds of refinement by the video's own pixels, see `refinement.refine`."""
    refit_iterations: int = 80
    surface_scale: float = 0.03
    surface_weight: float = 128_000.0
    steadiness: float = 1.0
    """Factor of the temporal terms; 0 for frames that do not follow each other."""


@dataclass
class SurfaceTargets:
    """Where K points of the surface are visible in the video."""

    points: BodyTemplate  # the template with the landmarks' points and then these K in place of its vertices
    place: Tensor  # [N, K, 2] pixels of the video
    weight: Tensor  # [N, K] in {0, 1}: whether the point is visible there


@dataclass
class Variables:
    """What is optimized: angles about the anatomical axes, and bounded quantities unconstrained."""

    angles: Tensor  # [N, P, 3]
    root_rotation: Tensor  # [N, 3]
    root_translation: Tensor  # [N, 3]
    actions: Tensor  # [N, A] logits
    identity: Tensor  # [I] unconstrained parameters of the template's `identity_range`

    def trainable(self) -> "Variables":
        """Return the variables themselves, with gradients enabled."""
        for tensor in vars(self).values():
            tensor.requires_grad_()
        return self


class _Hand(NamedTuple):
    places: Tensor  # [N, 21, 2] pixels
    directions: Tensor  # [N, L, 3] of its bones
    seen: Tensor  # [N] in {0, 1}


def geman_mcclure(residual: Tensor, scale: float) -> Tensor:
    """Return the robust squared length of residuals [..., 2]: quadratic near zero, at most `scale` squared."""
    square = residual.square().sum(-1)
    return square / (square + scale**2) * scale**2


class ClipEnergy:
    """The energy of a clip, as a function of `Variables`.

    Args:
        root_rotation: [N, 3] the person's rough orientation.
        net_actions: [N, A] facial actions of the blendshape net, NaN where it gives none.
    """

    def __init__(
        self,
        template: BodyTemplate,
        seen: Observations,
        root_rotation: Tensor,
        net_actions: Tensor | None,
        settings: FitSettings,
        surface: SurfaceTargets | None = None,
    ):
        self.settings, self.template, self.seen, self._surface = settings, template, seen, surface
        topology = seen.topology
        self.anatomy: Anatomy = anatomy_of(template)
        self._map = Correspondence.load(template, topology)
        self._points = surface.points if surface else template.points(self._map.regressor)
        self.camera = Camera.default(seen.width, seen.height)
        self.height = seen.person_height

        self._pose_landmarks = self._map.pose_landmarks
        weight = torch.tensor(energy.pose_weights(self._pose_landmarks, topology))
        self.limbs = ClipLimbs(template, seen, root_rotation.double().numpy(), in_order=settings.steadiness > 0)
        shown = self.limbs.trusted
        self.pose_weight = shown[:, self._pose_landmarks] * weight
        self._bones = torch.from_numpy(_rows(topology.bones(energy.POSE_BONES), self._pose_landmarks)).T
        start, end = torch.from_numpy(topology.bones(energy.POSE_BONES)).T
        self._bone_directions = F.normalize(seen.pose_world[:, end] - seen.pose_world[:, start], dim=-1)
        self._bone_weight = shown[:, start].minimum(shown[:, end])
        self._surface_weight: Tensor | None = None
        if surface:
            on_visible = self.limbs.shown_surface(self._points)[:, len(self._map.regressor) :]
            self._surface_weight = surface.weight * on_visible

        self._hand_bones = torch.from_numpy(topology.hand_bones).T
        self._hands = {part: self._hand(part) for part in HANDS}
        self._face_weight = torch.ones(topology.face.count)
        self._face_weight[list(topology.face.expressive)] = energy.EXPRESSIVE
        self._face_seen = seen.seen["face"].float()
        self._net_mask: Tensor | None = None
        if net_actions is not None:
            columns = read_by_net(template.action_names)
            known = torch.isfinite(net_actions[:, columns]) & seen.seen["face"][:, None]
            self._net_columns, self._net_mask = columns, known.float()
            self._net_target = net_actions[:, columns].nan_to_num().clamp(0, 1)

    def _hand(self, part: str) -> _Hand:
        hand = getattr(self.seen, part)
        start, end = self._hand_bones
        spatial = torch.stack([hand[..., 0], hand[..., 2], -hand[..., 1]], -1)
        directions = F.normalize(spatial[:, end] - spatial[:, start], dim=-1)
        return _Hand(hand[..., :2], directions, self.seen.seen[part].float())

    def identity(self, v: Variables) -> Tensor:
        """Return the identity [I]."""
        return self.template.identity_range.to_identity(v.identity)

    def predict(self, v: Variables) -> dict[str, Tensor]:
        """Return points of the template in the world.

        Pose landmarks [N, 19, 3], hands [N, 21, 3], face [N, F, 3] and the surface [N, K, 3].
        """
        body = self._points.body(self.identity(v))
        posed = body.pose(v.root_rotation, v.root_translation, self.anatomy.to_pose(v.angles), v.actions.sigmoid())
        points, joints = posed.vertices, posed.joints[..., :3, 3]
        return {
            "pose": self._map.pose(points, joints, posed.turns),
            "face": points[:, self._map.face_rows],
            "left_hand": self._map.hand(points, joints, "left"),
            "right_hand": self._map.hand(points, joints, "right"),
            "surface": points[:, len(self._map.regressor) :],
        }

    def residuals(self, predicted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return 2D residuals in units of the person's height, [N, K, 2] per part."""
        targets = {
            "pose": self.seen.pose[:, self._pose_landmarks],
            "face": self.seen.face[..., :2],
            **{part: self._hands[part].places for part in HANDS},
        }
        return {
            part: (self.camera.project(predicted[part])[..., :2] - target) / self.height
            for part, target in targets.items()
        }

    def __call__(self, v: Variables, full: bool) -> Tensor:
        """Return the energy; with `full`, that of hands, face and surface, too."""
        settings, frames = self.settings, len(self.seen)
        predicted = self.predict(v)
        residuals = self.residuals(predicted)
        total = self._body(v, predicted["pose"], residuals["pose"], full)
        total = total + self._prior(v) + settings.steadiness * self._smoothness(v, full)
        if not full:
            return total
        for part, hand in self._hands.items():
            robust = geman_mcclure(residuals[part], settings.hand_scale).sum(1) * hand.seen
            bones = predicted[part][:, self._hand_bones[1]] - predicted[part][:, self._hand_bones[0]]
            turned = (1 - (F.normalize(bones, dim=-1) * hand.directions).sum(-1)).sum(1) * hand.seen
            total = total + (energy.HAND * robust.sum() + energy.HAND_BONE * turned.sum()) / frames
        total = total + self._face(v.actions.sigmoid(), residuals["face"])
        return total + self._surface_term(predicted["surface"])

    def _body(self, v: Variables, pose: Tensor, residual: Tensor, full: bool) -> Tensor:
        frames = len(self.seen)
        direction = F.normalize(pose[:, self._bones[1]] - pose[:, self._bones[0]], dim=-1)
        turned = 1 - (direction * self._bone_directions).sum(-1)
        rest = 1 - (direction[:, : len(LIMB_BONES)] * self.limbs.at_rest(v.root_rotation)).sum(-1)
        robust = geman_mcclure(residual, self.settings.body_scale) * self.pose_weight
        total = energy.POSE * robust.sum() / frames
        bone = energy.BONE if full else _BODY_STAGE_BONE
        total = total + bone * (turned * self._bone_weight).sum() / frames
        leaning = 1 - roma.rotvec_to_rotmat(v.root_rotation)[:, 2, 2]
        return total + ((rest * self.limbs.rest_weight).sum() + (leaning * self.limbs.hips_weight).sum()) / frames

    def _face(self, actions: Tensor, residual: Tensor) -> Tensor:
        settings, frames = self.settings, len(self.seen)
        robust = (geman_mcclure(residual, settings.face_scale) * self._face_weight).sum(1) * self._face_seen
        total = energy.FACE * robust.sum() / frames
        total = total + energy.SPARSE_ACTIONS * actions.sum() / frames
        total = total + energy.ACTIONS_CHANGE * settings.steadiness * _change(actions)
        if self._net_mask is not None:
            off = (actions[:, self._net_columns] - self._net_target).square() * self._net_mask
            total = total + energy.NET * off.sum() / frames
        return total

    def _surface_term(self, predicted: Tensor) -> Tensor:
        """How far points of the surface [N, K, 3] are from where the video shows them."""
        if self._surface is None or self._surface_weight is None:
            return predicted.new_zeros(())
        residuals = (self.camera.project(predicted)[..., :2] - self._surface.place) / self.height
        robust = geman_mcclure(residuals, self.settings.surface_scale) * self._surface_weight
        return self.settings.surface_weight * robust.sum() / self._surface_weight.sum().clamp(min=1)

    def _prior(self, v: Variables) -> Tensor:
        anatomy = self.anatomy
        angles = v.angles - anatomy.relaxed
        flexion = v.angles[..., 0]
        backwards = (-energy.BACKWARDS - flexion[:, anatomy.hinges]).relu().square().sum(1).mean()
        curled = (flexion[:, anatomy.fingers] - MAX_FINGER_FLEXION).relu().square().sum(1).mean()
        shape = self.template.identity_cost(self.identity(v))
        prior = energy.POSE_PRIOR * (angles.square() * anatomy.stiffness).sum((1, 2)).mean()
        return prior + energy.RANGE * (backwards + curled) + shape

    def _smoothness(self, v: Variables, full: bool) -> Tensor:
        if len(v.angles) < 3:
            return v.angles.new_zeros(())
        acceleration = v.angles[2:] - 2 * v.angles[1:-1] + v.angles[:-2]
        shift = v.root_translation * v.root_translation.new_tensor([1.0, energy.DEPTH, 1.0])
        return (
            (energy.ANGLES_CHANGE if full else _BODY_STAGE_CHANGE) * _change(v.angles.flatten(1))
            + _ACCELERATION * acceleration.square().sum((1, 2)).mean()
            + energy.ROOT_CHANGE * _change(v.root_rotation)
            + energy.TRANSLATION_CHANGE * _change(shift)
        )


def _rows(bones: np.ndarray, landmarks: list[int]) -> np.ndarray:
    """Bones [L, 2] as rows of the template's pose landmarks."""
    return np.array([[landmarks.index(end) for end in bone] for bone in bones.tolist()])


def _change(values: Tensor) -> Tensor:
    """Mean over frames of the squared frame-to-frame change of [N, K]."""
    return (values[1:] - values[:-1]).square().sum(1).mean() if len(values) > 1 else values.new_zeros(())
