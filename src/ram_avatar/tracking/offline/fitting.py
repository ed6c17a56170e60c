"""The offline fit: one identity for the clip and a smooth motion, from all frames at once.

The energy of `clip_energy` is minimized by Adam in two stages: the body, then everything. `refit` continues from there,
with points of the surface as well (`refinement`). Lengths in the image are in units of the person's height.
"""

from dataclasses import dataclass

import roma
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.camera import Camera
from ...core.progress import SILENT, Progress
from ...motion.motion import Motion
from ..detection.topology import JOINTS
from ..observations import Observations
from .clip_energy import HANDS, ClipEnergy, FitSettings, SurfaceTargets, Variables
from .initialization import initial_variables, root_orientation

DEFAULTS = FitSettings()
_MARGIN = 1e-3  # from the limits of a bounded quantity, where its gradient would vanish

# Learning rates.
_BODY_STAGE = {"angles": 0.06, "root_rotation": 0.03, "root_translation": 0.03, "identity": 0.03}
_FULL_STAGE = {
    "angles": 0.05, "root_rotation": 0.015, "root_translation": 0.02, "actions": 0.12, "identity": 0.02,
}  # fmt: skip
_REFIT = {"angles": 0.02, "root_rotation": 0.006, "root_translation": 0.008, "actions": 0.05, "identity": 0.01}


@dataclass
class Fit:
    """The result: identity [I], the motion in the camera's world, and the residuals."""

    identity: Tensor
    motion: Motion
    camera: Camera
    errors: dict[str, float | None]  # mean residual to the detector's landmarks, share of the person's height


def fit(
    template: BodyTemplate,
    observations: Observations,
    net_actions: Tensor | None = None,
    settings: FitSettings = DEFAULTS,
    progress: Progress = SILENT,
) -> Fit:
    """Fit the template to a clip.

    Args:
        observations: they show the person in at least one frame.
        net_actions: [N, A] facial actions of the blendshape net, NaN where it gives none.
    """
    turned = root_orientation(template, observations)
    clip = ClipEnergy(template, observations, roma.rotmat_to_rotvec(turned), net_actions, settings)
    variables = initial_variables(template, observations, clip.anatomy, clip.camera, turned)
    first, total = settings.body_iterations, settings.body_iterations + settings.full_iterations
    _descend(clip, variables, _BODY_STAGE, range(first), False, progress, total)
    _descend(clip, variables, _FULL_STAGE, range(first, total), True, progress, total)
    return _result(clip, variables)


def refit(
    template: BodyTemplate,
    observations: Observations,
    net_actions: Tensor | None,
    start: Fit,
    surface: SurfaceTargets,
    settings: FitSettings = DEFAULTS,
) -> Fit:
    """Continue from a fit, with points of the surface besides the landmarks. Arguments as in `fit`."""
    rotation = roma.rotmat_to_rotvec(root_orientation(template, observations))
    clip = ClipEnergy(template, observations, rotation, net_actions, settings, surface)
    motion = start.motion
    variables = Variables(
        angles=clip.anatomy.to_angles(motion.pose),
        root_rotation=motion.root_rotation.clone(),
        root_translation=motion.root_translation.clone(),
        actions=motion.facial_actions.logit(_MARGIN),
        identity=template.identity_range.to_free(start.identity, _MARGIN),
    ).trainable()
    _descend(clip, variables, _REFIT, range(settings.refit_iterations), True)
    return _result(clip, variables)


def _descend(
    clip: ClipEnergy,
    variables: Variables,
    rates: dict[str, float],
    iterations: range,
    full: bool,
    progress: Progress = SILENT,
    total: int = 0,
) -> None:
    """Minimize the energy over the variables that have a learning rate; `iterations` are some of `total`."""
    groups = [{"params": [getattr(variables, name)], "lr": rate} for name, rate in rates.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(iterations))
    for iteration in iterations:
        optimizer.zero_grad()
        clip(variables, full).backward()
        optimizer.step()
        schedule.step()
        progress.step("Fitting", iteration + 1, total)


@torch.no_grad()
def _result(clip: ClipEnergy, v: Variables) -> Fit:
    residuals, seen = clip.residuals(clip.predict(v)), clip.seen
    joints = slice(0, len(JOINTS))
    counted = (clip.pose_weight[:, joints] > 0) & seen.seen["body"][:, None]
    errors = {"body": _mean(residuals["pose"][:, joints].norm(dim=-1), counted)}
    for part in (*HANDS, "face"):
        errors[part] = _mean(residuals[part].norm(dim=-1).mean(1), seen.seen[part])
    motion = Motion(
        template=clip.template.name,
        fps=seen.fps,
        root_rotation=v.root_rotation.detach().clone(),
        root_translation=v.root_translation.detach().clone(),
        pose=clip.anatomy.to_pose(v.angles.detach()),
        facial_actions=v.actions.detach().sigmoid(),
        confidence=_confidence(clip, residuals),
    )
    return Fit(clip.identity(v).detach(), motion, clip.camera, errors)


def _confidence(clip: ClipEnergy, residuals: dict[str, Tensor]) -> Tensor:
    """[N, 8]: visibility, and for hands and face also how well the template fits."""
    seen, settings = clip.seen, clip.settings
    columns = [seen.visibility[:, seen.topology.indices(JOINTS)].mean(1) * seen.seen["body"]]
    scales = {"left_hand": settings.hand_scale, "right_hand": settings.hand_scale, "face": settings.face_scale}
    for part, scale in scales.items():
        error = residuals[part].norm(dim=-1).mean(1)
        columns.append(seen.seen[part] * torch.exp(-((error / scale) ** 2)))
    return torch.cat([torch.stack(columns, 1), clip.limbs.confidence], 1)


def _mean(values: Tensor, where: Tensor) -> float | None:
    return float(values[where].mean()) if where.any() else None
