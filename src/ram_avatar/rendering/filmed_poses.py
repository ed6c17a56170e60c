"""How far limbs are from the poses that the video showed; see docs/method.md, "Poses never filmed"."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..body.template import HAND_ROLES, SIDES, Body, BodyTemplate
from ..motion.motion import Motion

MOST_POSES = 1024
"""Most poses that an avatar remembers; of a longer video, evenly spread ones."""
LIMBS = tuple((kind, side) for kind in ("arm", "leg") for side in SIDES)
BONES = {"arm": ("upper_arm", "forearm", "hand"), "leg": ("thigh", "shin", "foot")}  # two bones between three joints
SHAPE = (len(LIMBS), 2, 3)
"""Of one remembered pose: a unit vector for both bones of each limb, in world axes, which are the camera's. Zeros for
a limb that is never novel."""
FAMILIAR, NOVEL = math.radians(25), math.radians(60)
"""Angles to the nearest filmed pose up to which a limb is familiar, and from which it is novel. Held-out frames of a
lively clip are often 20 degrees away, and are drawn well."""


class FilmedPoses:
    """The poses of the limbs in the training frames.

    Args:
        directions: [K, 4, 2, 3], see `SHAPE`.
    """

    def __init__(self, template: BodyTemplate, directions: Tensor):
        self.directions = directions
        device = directions.device
        ends = [_joints(template, kind, side) for kind, side in LIMBS]
        self._joints = torch.tensor(ends, device=device)  # [4, 3]
        weights = [bone_weights(template, kind, side) for kind, side in LIMBS]
        self._weights = torch.cat(weights).to(device)  # [8, V]

    @classmethod
    @torch.no_grad()
    def of(cls, template: BodyTemplate, body: Body, motion: Motion, legs: bool = True) -> "FilmedPoses":
        """Remember the poses of a motion's frames, of at most `MOST_POSES` of them.

        Args:
            legs: whether legs may be novel. Under a skirt, the surface alone would show trousers.
        """
        poses = cls(template, torch.zeros(1, *SHAPE, device=template.skin_weights.device))
        chosen = torch.linspace(0, len(motion) - 1, min(len(motion), MOST_POSES)).round().long()
        found = [poses._directions(body.pose(*part.parameters()).joints) for part in motion[chosen].batches(8)]
        poses.directions = torch.cat(found)
        if not legs:
            poses.directions[:, [kind == "leg" for kind, _ in LIMBS]] = 0.0
        return poses

    def novelty(self, joints: Tensor) -> Tensor:
        """Return how novel the pose is that carries each vertex, [B, V]: 0 as filmed, 1 far from all that was filmed.

        A pose is as far from a filmed one as the worse of a limb's bones, from the body outward: a forearm may be as
        filmed only on an upper arm that is.

        Args:
            joints: [B, J, 4, 4] of the posed body.
        """
        cosine = torch.einsum("blnd,klnd->bkln", self._directions(joints), self.directions)
        cosine = cosine.masked_fill((self.directions == 0).all(-1), 1.0)
        nearest = cosine.cummin(-1).values.amax(1).flatten(1)  # [B, 8]
        angle = torch.acos(nearest.clamp(-1, 1))
        novel = ((angle - FAMILIAR) / (NOVEL - FAMILIAR)).clamp(0, 1)
        return (novel * novel * (3 - 2 * novel)) @ self._weights

    @property
    def legs(self) -> bool:
        """Whether legs may be novel."""
        return bool(self.directions[:, [kind == "leg" for kind, _ in LIMBS]].any())

    def _directions(self, joints: Tensor) -> Tensor:
        """Return the directions of the limbs' bones, [B, 4, 2, 3]."""
        ends = joints[:, self._joints, :3, 3]
        return F.normalize(ends[:, :, 1:] - ends[:, :, :-1], dim=-1)


def _joints(template: BodyTemplate, kind: str, side: str) -> list[int]:
    return [template.joint_of(f"{role}.{side}") for role in BONES[kind]]


def bone_weights(template: BodyTemplate, kind: str, side: str) -> Tensor:
    """Return how much each vertex belongs to either bone of a limb, [2, V]."""
    upper, lower, _ = BONES[kind]
    beyond = HAND_ROLES if kind == "arm" else ("foot", "toes")
    roles = (upper, f"{upper}_twist"), (lower, f"{lower}_twist", *beyond)
    return torch.stack([template.role_weight(*(f"{role}.{side}" for role in each)) for each in roles])
