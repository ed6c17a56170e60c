"""The offline fit: one identity for the clip, a smooth motion, from all frames at once.

Landmarks are points of the template (`correspondence`), so the fit skins a few hundred points and not the mesh.
The energy has robust 2D residuals (Geman and McClure), directions of bones in 3D from the detector's own
depth, directions at rest for limbs that are not seen (`hidden_limbs`), priors by joint (`anatomy`) and temporal
terms, and is minimized by Adam in two stages: the body, then everything. `refit` goes on from there with points of
the surface as well (`refinement`). Lengths in the picture are in units of the person's height.
"""

from dataclasses import dataclass

import roma
import torch
from torch import Tensor
from torch.nn import functional as F

from ...body.anatomy import MAX_FINGER_FLEXION, Anatomy, anatomy_of
from ...body.template import BodyTemplate
from ...core.camera import Camera
from ...core.progress import SILENT, Progress
from ...motion.motion import Motion
from ..correspondence import Correspondence
from ..detection.expressions import read_by_net
from ..detection.topology import HIPS, JOINTS, LIMB_BONES, SHOULDERS, TORSO, Topology
from ..hidden_limbs import LimbsOfClip
from ..observations import Observations

# Bones of the pose whose 3D direction the detector gives: (from, to).
POSE_BONES = (
    *LIMB_BONES,
    SHOULDERS,
    HIPS,
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_heel", "left_big_toe"),
    ("right_heel", "right_big_toe"),
)
_EDGE = 1e-3  # how near to its limits a squashed quantity starts: at them it could not move
_SKIN_WEIGHT = {"nose": 0.2, "left_ear": 0.2, "right_ear": 0.2}  # of pose landmarks; 1 for the joints
_SKIN_WEIGHT |= {"left_heel": 0.5, "right_heel": 0.5, "left_big_toe": 0.5, "right_big_toe": 0.5}


@dataclass(frozen=True)
class FitSettings:
    body_iterations: int = 100
    full_iterations: int = 200
    body_scale: float = 0.06  # residuals beyond this share of the height are outliers
    hand_scale: float = 0.03
    face_scale: float = 0.03
    refinements: int = 3
    """Rounds of refinement by the video's own pixels, see `refinement.refine`."""
    refit_iterations: int = 80
    surface_scale: float = 0.03
    surface_weight: float = 128_000.0
    steadiness: float = 1.0
    """Share of the temporal terms; 0 for frames that do not follow each other."""


DEFAULTS = FitSettings()


@dataclass
class Fit:
    """The result: identity [I], the motion in the camera's world, and the residuals."""

    identity: Tensor
    motion: Motion
    camera: Camera
    errors: dict[str, float | None]  # mean residual to the detector's landmarks, share of the person's height


@dataclass
class SurfaceTargets:
    """Where K points of the surface are seen in the video."""

    points: BodyTemplate  # the template with the landmarks' points and then these K in the place of its vertices
    place: Tensor  # [N, K, 2] pixels of the video
    weight: Tensor  # [N, K] in {0, 1}: whether the point is seen there


@dataclass
class _Variables:
    """What is optimized; angles about the anatomical axes, bounded quantities through a squashing."""

    angles: Tensor  # [N, P, 3]
    root_rotation: Tensor  # [N, 3]
    root_translation: Tensor  # [N, 3]
    actions: Tensor  # [N, A] logits
    identity: Tensor  # [I] free numbers of the template's `identity_range`

    def trainable(self) -> "_Variables":
        for tensor in vars(self).values():
            tensor.requires_grad_()
        return self


def pose_weights(landmarks: list[int], topology: Topology) -> list[float]:
    """Return the weight of each pose landmark."""
    weights = {topology.pose[role]: weight for role, weight in _SKIN_WEIGHT.items()}
    return [weights.get(landmark, 1.0) for landmark in landmarks]


def geman_mcclure(residual: Tensor, scale: float) -> Tensor:
    """Robust squared length of residuals [..., 2]: quadratic near zero, at most `scale` squared."""
    square = residual.square().sum(-1)
    return square / (square + scale**2) * scale**2


def fit(
    template: BodyTemplate,
    observations: Observations,
    net_actions: Tensor | None = None,
    settings: FitSettings = DEFAULTS,
    progress: Progress = SILENT,
) -> Fit:
    """Fit the template to a clip.

    Args:
        net_actions: [N, A] facial actions of the blendshape net, NaN where it says nothing.
    """
    problem = _Problem(template, observations, net_actions, settings)
    variables = problem.start()
    first, total = settings.body_iterations, settings.body_iterations + settings.full_iterations
    rates = {"angles": 0.06, "root_rotation": 0.03, "root_translation": 0.03, "identity": 0.03}
    _descend(problem, variables, rates, range(first), False, progress, total)
    rates = {"angles": 0.05, "root_rotation": 0.015, "root_translation": 0.02, "actions": 0.12, "identity": 0.02}
    _descend(problem, variables, rates, range(first, total), True, progress, total)
    return problem.result(variables)


def refit(
    template: BodyTemplate,
    observations: Observations,
    net_actions: Tensor | None,
    start: Fit,
    surface: SurfaceTargets,
    settings: FitSettings = DEFAULTS,
) -> Fit:
    """Go on from a fit, with points of the surface beside the landmarks. Arguments as in `fit`."""
    problem = _Problem(template, observations, net_actions, settings, surface)
    variables = problem.go_on(start)
    rates = {"angles": 0.02, "root_rotation": 0.006, "root_translation": 0.008, "actions": 0.05, "identity": 0.01}
    _descend(problem, variables, rates, range(settings.refit_iterations), True)
    return problem.result(variables)


def _descend(
    problem: "_Problem",
    variables: _Variables,
    rates: dict[str, float],
    iterations: range,
    full: bool,
    progress: Progress = SILENT,
    total: int = 0,
) -> None:
    """Minimize the energy over the variables that have a rate; `iterations` are some of `total`."""
    groups = [{"params": [getattr(variables, name)], "lr": rate} for name, rate in rates.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(iterations))
    for iteration in iterations:
        optimizer.zero_grad()
        problem.energy(variables, full).backward()
        optimizer.step()
        schedule.step()
        progress.step("Fitting", iteration + 1, total)


class _Problem:
    """A clip's observations, ready to be compared with the template's points."""

    def __init__(
        self,
        template: BodyTemplate,
        seen: Observations,
        net_actions: Tensor | None,
        settings: FitSettings,
        surface: SurfaceTargets | None = None,
    ):
        self.settings, self.surface = settings, surface
        self.seen = seen
        self.template = template
        self.anatomy: Anatomy = anatomy_of(template)
        topology = seen.topology
        self.map = Correspondence.load(template, topology)
        self.points = surface.points if surface else template.points(self.map.regressor)
        self.camera = Camera.default(seen.width, seen.height)
        self.height = seen.person_height

        self.pose_landmarks = self.map.pose_landmarks
        weight = torch.tensor(pose_weights(self.pose_landmarks, topology))
        root = roma.rotmat_to_rotvec(self._turned())
        self.limbs = LimbsOfClip(template, seen, root.double().numpy(), in_order=settings.steadiness > 0)
        shown, self.rest_weight = self.limbs.trusted, self.limbs.rest_weight
        self.pose_weight = shown[:, self.pose_landmarks] * weight
        place = {landmark: i for i, landmark in enumerate(self.pose_landmarks)}
        bones = topology.bones(POSE_BONES)
        self.bones = torch.tensor([(place[a], place[b]) for a, b in bones.tolist()]).T
        ends = torch.from_numpy(bones).T
        self.bone_directions = F.normalize(seen.pose_world[:, ends[1]] - seen.pose_world[:, ends[0]], dim=-1)
        self.bone_weight = shown[:, ends[0]].minimum(shown[:, ends[1]])
        if surface:
            self.surface_weight = surface.weight * self.limbs.shown_surface(self.points)[:, len(self.map.regressor) :]

        self.hand_bones = torch.from_numpy(topology.hand_bones).T
        start, end = self.hand_bones
        self.hands = {}
        for part in ("left_hand", "right_hand"):
            hand = getattr(seen, part)
            spatial = torch.stack([hand[..., 0], hand[..., 2], -hand[..., 1]], -1)
            directions = F.normalize(spatial[:, end] - spatial[:, start], dim=-1)
            self.hands[part] = (hand[..., :2], directions, seen.seen[part].float())
        self.face_weight = torch.ones(seen.face.shape[1])
        self.face_weight[list(topology.face.expressive)] = 3.0
        self.face_seen = seen.seen["face"].float()
        self.net_mask = None
        if net_actions is not None:
            columns = read_by_net(template.action_names)
            known = torch.isfinite(net_actions[:, columns]) & seen.seen["face"][:, None]
            self.net_columns, self.net_mask = columns, known.float()
            self.net_target = net_actions[:, columns].nan_to_num().clamp(0, 1)

    # Where to start -----------------------------------------------------------------------------------------

    def _joints(self) -> tuple[Tensor, Tensor, Tensor]:
        """The middle between the hips and between the shoulders, and the way [3] from the right hip to the left one,
        of an average body in the reference pose."""
        template = self.template
        reference = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]
        at = lambda role: reference[template.joint_of(role)]
        hips = (at("thigh.L") + at("thigh.R")) / 2
        chest = (at("upper_arm.L") + at("upper_arm.R")) / 2
        return hips, chest, at("thigh.L") - at("thigh.R")

    def _nearest(self) -> Tensor:
        """[N] the nearest frame in which the person is seen."""
        known = self.seen.seen["body"].nonzero().flatten()
        return known[(torch.arange(len(self.seen))[:, None] - known[None]).abs().argmin(1)]

    def _turned(self) -> Tensor:
        """[N, 3, 3] about how the trunk is turned, by the detector's own depth."""
        hips, chest, across = self._joints()
        world = self.seen.pose_world
        left_shoulder, right_shoulder, left_hip, right_hip = (world[:, i] for i in self.seen.topology.indices(TORSO))
        left = left_shoulder + left_hip - right_shoulder - right_hip
        up = left_shoulder + right_shoulder - left_hip - right_hip
        turned = _frame(left, up) @ _frame(across[None], (chest - hips)[None]).mT
        return turned[self._nearest()]

    def start(self) -> _Variables:
        seen, camera, frames = self.seen, self.camera, len(self.seen)
        template = self.template
        default = template.default_identity()
        hips, chest, _ = self._joints()
        nearest, turned = self._nearest(), self._turned()
        rotation = _unwrap(roma.rotmat_to_rotvec(turned))

        body_height = float(template.body(default).reference_vertices()[:, 2].aminmax().max) - float(
            template.body(default).reference_vertices()[:, 2].aminmax().min
        )
        distance = camera.focal * body_height / self.height
        middle = seen.pose[:, seen.topology.indices(TORSO)].mean(1)[nearest]
        centre = camera.unproject(middle, torch.full((frames,), distance))
        translation = centre - (turned @ ((hips + chest) / 2))
        variables = _Variables(
            angles=self.anatomy.relaxed.repeat(frames, 1, 1),
            root_rotation=rotation,
            root_translation=translation,
            actions=torch.full((frames, len(template.action_names)), -3.0),
            identity=template.identity_range.to_free(default),
        )
        return variables.trainable()

    def go_on(self, fitted: Fit) -> _Variables:
        """The variables of a fit."""
        motion = fitted.motion
        return _Variables(
            angles=self.anatomy.to_angles(motion.pose),
            root_rotation=motion.root_rotation.clone(),
            root_translation=motion.root_translation.clone(),
            actions=motion.facial_actions.logit(_EDGE),
            identity=self.template.identity_range.to_free(fitted.identity, _EDGE),
        ).trainable()

    # The energy ---------------------------------------------------------------------------------------------

    def identity(self, v: _Variables) -> Tensor:
        """[I]."""
        return self.template.identity_range.to_identity(v.identity)

    def predict(self, v: _Variables) -> dict[str, Tensor]:
        """Points of the template in the world: pose landmarks [N, 19, 3], hands [N, 21, 3], face [N, F, 3], and
        the surface [N, K, 3]."""
        body = self.points.body(self.identity(v))
        posed = body.pose(v.root_rotation, v.root_translation, self.anatomy.to_pose(v.angles), v.actions.sigmoid())
        points, joints = posed.vertices, posed.joints[..., :3, 3]
        return {
            "pose": self.map.pose(points, joints, posed.turns),
            "face": points[:, self.map.face_rows],
            "left_hand": self.map.hand(points, joints, "left"),
            "right_hand": self.map.hand(points, joints, "right"),
            "surface": points[:, len(self.map.regressor) :],
        }

    def residuals(self, predicted: dict[str, Tensor]) -> dict[str, Tensor]:
        """2D residuals in units of the person's height, [N, K, 2] per part."""
        project = lambda part: self.camera.project(predicted[part])[..., :2]
        targets = {
            "pose": self.seen.pose[:, self.pose_landmarks],
            "face": self.seen.face[..., :2],
            "left_hand": self.hands["left_hand"][0],
            "right_hand": self.hands["right_hand"][0],
        }
        return {part: (project(part) - target) / self.height for part, target in targets.items()}

    def energy(self, v: _Variables, full: bool) -> Tensor:
        settings, frames = self.settings, len(self.seen)
        predicted = self.predict(v)
        residuals = self.residuals(predicted)

        pose = predicted["pose"]
        direction = F.normalize(pose[:, self.bones[1]] - pose[:, self.bones[0]], dim=-1)
        turned = 1 - (direction * self.bone_directions).sum(-1)
        rest = 1 - (direction[:, : len(LIMB_BONES)] * self.limbs.at_rest(v.root_rotation)).sum(-1)
        robust = geman_mcclure(residuals["pose"], settings.body_scale) * self.pose_weight
        energy = 400 * robust.sum() / frames
        energy = energy + (0.6 if full else 2.0) * (turned * self.bone_weight).sum() / frames
        leaning = 1 - roma.rotvec_to_rotmat(v.root_rotation)[:, 2, 2]
        energy = energy + ((rest * self.rest_weight).sum() + (leaning * self.limbs.hips_weight).sum()) / frames
        energy = energy + self._prior(v) + settings.steadiness * self._smoothness(v, full)
        if not full:
            return energy

        for part, (_, directions, seen) in self.hands.items():
            robust = geman_mcclure(residuals[part], settings.hand_scale).sum(1) * seen
            bones = predicted[part][:, self.hand_bones[1]] - predicted[part][:, self.hand_bones[0]]
            turned = (1 - (F.normalize(bones, dim=-1) * directions).sum(-1)).sum(1) * seen
            energy = energy + (400 * robust.sum() + 0.15 * turned.sum()) / frames
        robust = (geman_mcclure(residuals["face"], settings.face_scale) * self.face_weight).sum(1) * self.face_seen
        energy = energy + 120 * robust.sum() / frames
        actions = v.actions.sigmoid()
        energy = energy + 0.015 * actions.sum() / frames + 0.3 * settings.steadiness * _change(actions)
        if self.net_mask is not None:
            energy = energy + ((actions[:, self.net_columns] - self.net_target).square() * self.net_mask).sum() / frames
        return energy + self._surface(predicted["surface"]) if self.surface else energy

    def _surface(self, predicted: Tensor) -> Tensor:
        """How far points of the surface [N, K, 3] are from where the video shows them."""
        residuals = (self.camera.project(predicted)[..., :2] - self.surface.place) / self.height
        robust = geman_mcclure(residuals, self.settings.surface_scale) * self.surface_weight
        return self.settings.surface_weight * robust.sum() / self.surface_weight.sum().clamp(min=1)

    def _prior(self, v: _Variables) -> Tensor:
        anatomy = self.anatomy
        angles = v.angles - anatomy.relaxed
        flexion = v.angles[..., 0]
        backwards = (-0.05 - flexion[:, anatomy.hinges]).relu().square().sum(1).mean()
        curled = (flexion[:, anatomy.fingers] - MAX_FINGER_FLEXION).relu().square().sum(1).mean()
        shape = self.template.identity_cost(self.identity(v))
        return 0.02 * (angles.square() * anatomy.stiffness).sum((1, 2)).mean() + 5 * (backwards + curled) + shape

    def _smoothness(self, v: _Variables, full: bool) -> Tensor:
        if len(v.angles) < 3:
            return v.angles.new_zeros(())
        acceleration = v.angles[2:] - 2 * v.angles[1:-1] + v.angles[:-2]
        # Depth is the least certain of the three.
        shift = v.root_translation * v.root_translation.new_tensor([1.0, 4.0, 1.0])
        return (
            (0.4 if full else 0.2) * _change(v.angles.flatten(1))
            + 0.4 * acceleration.square().sum((1, 2)).mean()
            + 2 * _change(v.root_rotation)
            + 20 * _change(shift)
        )

    # The result ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def result(self, v: _Variables) -> Fit:
        residuals = self.residuals(self.predict(v))
        joints = slice(0, len(JOINTS))
        judged = (self.pose_weight[:, joints] > 0) & self.seen.seen["body"][:, None]
        errors = {"body": _mean(residuals["pose"][:, joints].norm(dim=-1), judged)}
        for part in ("left_hand", "right_hand", "face"):
            errors[part] = _mean(residuals[part].norm(dim=-1).mean(1), self.seen.seen[part])
        motion = Motion(
            template=self.template.name,
            fps=self.seen.fps,
            root_rotation=v.root_rotation.detach().clone(),
            root_translation=v.root_translation.detach().clone(),
            pose=self.anatomy.to_pose(v.angles.detach()),
            facial_actions=v.actions.detach().sigmoid(),
            confidence=self._confidence(residuals),
        )
        return Fit(self.identity(v).detach(), motion, self.camera, errors)

    def _confidence(self, residuals: dict[str, Tensor]) -> Tensor:
        """[N, 8]: seen, by how much, and, of hands and face, how well the template could follow."""
        seen, settings = self.seen, self.settings
        body = seen.visibility[:, seen.topology.indices(JOINTS)].mean(1) * seen.seen["body"]
        columns = [body]
        for part, scale in (
            ("left_hand", settings.hand_scale),
            ("right_hand", settings.hand_scale),
            ("face", settings.face_scale),
        ):
            error = residuals[part].norm(dim=-1).mean(1)
            columns.append(seen.seen[part] * torch.exp(-((error / scale) ** 2)))
        return torch.cat([torch.stack(columns, 1), self.limbs.confidence], 1)


def _change(values: Tensor) -> Tensor:
    """Mean over frames of the squared frame-to-frame change of [N, K]."""
    return (values[1:] - values[:-1]).square().sum(1).mean() if len(values) > 1 else values.new_zeros(())


def _mean(values: Tensor, where: Tensor) -> float | None:
    return float(values[where].mean()) if where.any() else None


def _frame(left: Tensor, up: Tensor) -> Tensor:
    """Rotations [N, 3, 3] whose columns are left, up made orthogonal, and their cross product."""
    left = F.normalize(left, dim=-1)
    up = F.normalize(up - (up * left).sum(-1, keepdim=True) * left, dim=-1)
    return torch.stack([left, up, torch.linalg.cross(left, up)], -1)


def _unwrap(rotation: Tensor) -> Tensor:
    """Rotation vectors [N, 3] without jumps of a whole turn between frames."""
    rotation = rotation.clone()
    for i in range(1, len(rotation)):
        angle = rotation[i].norm().clamp(min=1e-3)
        other = rotation[i] * (1 - 2 * torch.pi / angle)
        if (other - rotation[i - 1]).norm() < (rotation[i] - rotation[i - 1]).norm():
            rotation[i] = other
    return rotation
