"""VRM humanoids, as Unity has them, onto the body template.

Unity's axes are left-handed: x to the humanoid's right, y up, z forward. Ours are x to its left, y to its back, z up,
so Unity's point (x, y, z) is (-x, -z, y) here. The change mirrors, so the quaternion (x, y, z, w) becomes
(x, z, -y, w).

A humanoid rests in a T-pose: arms out, palms down, thumbs halfway forward, legs straight, feet level; all bone
rotations are zero there, about world axes. The template has another reference pose. With C a bone's rotation from the
reference pose to the T-pose, a rotation G of the humanoid's bone is G C of the template's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...body.template import FINGERS, SIDES, BodyTemplate
from ..motion import Frame, confidence_of
from .calibration import Reference, swing, turn_between

Array = NDArray[np.float64]
_SIDE_NAMES = {"L": "left", "R": "right"}
_SPINE = ("hips", "spine", "chest", "upperchest", "neck", "head")
_LIMBS = (
    ("shoulder", "upperchest"), ("upperarm", "shoulder"), ("lowerarm", "upperarm"), ("hand", "lowerarm"),
    ("upperleg", "hips"), ("lowerleg", "upperleg"), ("foot", "lowerleg"), ("toes", "foot"), ("eye", "head"),
)  # fmt: skip
_CARRIES = 0.01  # blend shapes above this are more than noise
_PHALANGES = ("proximal", "intermediate", "distal")


def _parents() -> dict[str, str | None]:
    """Return the parents of all humanoid bones, in lower case, parents before children."""
    parents: dict[str, str | None] = dict(zip(_SPINE, (None, *_SPINE[:-1]), strict=True))
    for side in _SIDE_NAMES.values():
        parents |= {side + bone: above if above in _SPINE else side + above for bone, above in _LIMBS}
        for finger in FINGERS:
            chain = [f"{side}{finger}{phalanx}" for phalanx in _PHALANGES]
            parents |= dict(zip(chain, (f"{side}hand", *chain[:-1]), strict=True))
    return parents


BONES = _parents()
# Humanoid bones of the template's roles. Twist joints and the second neck joint follow the bone that they are in.
_ROLES = {"hips": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperchest"}
_ROLES |= {"neck1": "neck", "neck2": "neck", "head": "head"}
for _side, _name in _SIDE_NAMES.items():
    _ROLES |= {
        f"{role}.{_side}": _name + bone
        for role, bone in {
            "clavicle": "shoulder", "upper_arm": "upperarm", "upper_arm_twist": "upperarm",
            "forearm": "lowerarm", "forearm_twist": "lowerarm", "hand": "hand",
            "thigh": "upperleg", "thigh_twist": "upperleg", "shin": "lowerleg",
            "foot": "foot", "toes": "toes", "eye": "eye",
            **{f"{finger}{k}": finger + _PHALANGES[k - 1] for finger in FINGERS for k in (1, 2, 3)},
        }.items()
    }  # fmt: skip
# VRM's blend shapes, in lower case, as ARKit's actions.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "a": {"jawOpen": 0.6},
    "i": {"jawOpen": 0.15, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5},
    "u": {"jawOpen": 0.15, "mouthPucker": 0.7},
    "e": {"jawOpen": 0.3, "mouthStretchLeft": 0.3, "mouthStretchRight": 0.3},
    "o": {"jawOpen": 0.4, "mouthFunnel": 0.6},
    "blink_l": {"eyeBlinkLeft": 1.0},
    "blink_r": {"eyeBlinkRight": 1.0},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "joy": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "angry": {"browDownLeft": 0.8, "browDownRight": 0.8, "mouthFrownLeft": 0.3, "mouthFrownRight": 0.3},
    "sorrow": {"browInnerUp": 0.7, "mouthFrownLeft": 0.6, "mouthFrownRight": 0.6},
    "fun": {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5, "eyeSquintLeft": 0.3, "eyeSquintRight": 0.3},
    "surprised": {"browOuterUpLeft": 0.8, "browOuterUpRight": 0.8, "eyeWideLeft": 0.6, "eyeWideRight": 0.6},
}
# Names of VRM 1.0, and as programs write them.
_ALIASES = {
    "aa": "a", "ih": "i", "ou": "u", "ee": "e", "oh": "o", "blinkleft": "blink_l", "blinkright": "blink_r",
    "happy": "joy", "sad": "sorrow", "relaxed": "fun",
}  # fmt: skip


@dataclass
class Humanoid:
    """A VRM humanoid at one moment, in Unity's axes; names of bones and blend shapes in lower case."""

    positions: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # metres, from the parent bone
    rotations: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)  # x, y, z, w, from the parent
    blends: dict[str, float] = field(default_factory=dict)
    root: tuple[tuple[float, float, float], tuple[float, float, float, float]] = ((0, 0, 0), (0, 0, 0, 1))


class FromHumanoid:
    """Converts humanoids to frames of the template.

    Args:
        identity: [I] of the body that is moved.
    """

    @torch.no_grad()
    def __init__(self, template: BodyTemplate, identity: Tensor):
        self._reference = reference = Reference(template, identity)
        self._roles = template.pose_roles
        known = [role for role in self._roles if role in _ROLES]
        self._above = {role: reference.ancestor(role, {"hips", *known}) for role in known}
        self._rest = reference.at_rest.double().numpy()
        self._constants = {role: turn.double().numpy() for role, turn in _to_t_pose(reference).items()}
        self._thighs, self._leg = reference.middle("thigh").double().numpy(), reference.leg_length()
        self._forearms = {
            side: reference.direction(f"forearm_twist.{side}", f"hand.{side}").double().numpy()
            for side in SIDES
            if f"forearm_twist.{side}" in reference.at
        }
        self._actions = {name.lower(): k for k, name in enumerate(template.action_names)}
        self._eyes = np.array([name.startswith(("eye", "brow")) for name in self._actions], bool)

    def frame(self, humanoid: Humanoid) -> Frame:
        """Convert a humanoid, at the height of the template's legs above the ground of Unity's scene.

        Fingers and faces without data have no confidence.
        """
        turns, middle = self._pose(humanoid)
        turns = {role: turns[bone] @ self._constants[role] for role, bone in _ROLES.items() if role in self._constants}
        for side, axis in self._forearms.items():  # a hand's twist belongs to the forearm
            turn = turns[f"forearm.{side}"].T @ turns[f"hand.{side}"]
            turns[f"forearm_twist.{side}"] = turns[f"forearm.{side}"] @ _twist(turn, axis)
        pose = self._rest.copy()
        for row, role in enumerate(self._roles):
            if role in self._above and _has_data(role, humanoid):
                pose[row] = Rotation.from_matrix(turns[self._above[role]].T @ turns[role]).as_rotvec()
        left, right = (
            float(any(b.startswith(s + f) for b in humanoid.rotations for f in FINGERS)) for s in ("left", "right")
        )
        return Frame(
            root_rotation=Rotation.from_matrix(turns["hips"]).as_rotvec(),
            root_translation=middle * self._scale(humanoid) - turns["hips"] @ self._thighs,
            pose=pose,
            facial_actions=self._face(humanoid.blends),
            confidence=confidence_of(1.0, left, right, float(bool(humanoid.blends))),
        )

    def _pose(self, humanoid: Humanoid) -> tuple[dict[str, Array], Array]:
        """Return world rotations [3, 3] of all bones, and the midpoint [3] of the thighs, in the package's axes."""
        turns: dict[str, Array] = {}
        place, turn = _point(humanoid.root[0]), _turn(humanoid.root[1])
        for bone, parent in BONES.items():
            above = turns[parent] if parent is not None else turn
            turns[bone] = above @ _turn(humanoid.rotations[bone]) if bone in humanoid.rotations else above
        hips = place + turn @ _point(humanoid.positions.get("hips", (0, 0, 0)))
        thighs = [_point(humanoid.positions.get(f"{side}upperleg", (0, 0, 0))) for side in _SIDE_NAMES.values()]
        return turns, hips + turns["hips"] @ np.mean(thighs, 0)

    def _scale(self, humanoid: Humanoid) -> float:
        """Return the ratio of the template's leg length to the humanoid's, where that is known."""
        bones = [humanoid.positions.get(f"left{bone}") for bone in ("lowerleg", "foot")]
        length = sum(float(np.linalg.norm(bone)) for bone in bones if bone is not None)
        return self._leg / length if None not in bones and length > 0.05 else 1.0

    def _face(self, blends: Mapping[str, float]) -> Array:
        """Return the facial actions [A].

        A model with ARKit's 52 shapes ("perfect sync") always sends all of their names, at 0 where something else
        moves the face, such as vowels from lip sync. So values decide, not names: where ARKit's shapes of the eyes or
        of the mouth are nonzero, they alone count; elsewhere VRM's expressions do.
        """
        actions = np.zeros(len(self._actions))
        for name, value in blends.items():
            if name in self._actions:
                actions[self._actions[name]] = value
        free = [not (actions[part] > _CARRIES).any() for part in (self._eyes, ~self._eyes)]
        for name, value in blends.items():
            for action, share in EXPRESSIONS.get(_ALIASES.get(name, name), {}).items():
                k = self._actions.get(action.lower())
                if k is not None and free[0 if self._eyes[k] else 1]:
                    actions[k] += share * value
        return actions.clip(0, 1)


def _has_data(role: str, humanoid: Humanoid) -> bool:
    """Return whether a finger has data. Other bones without data follow the bone above."""
    return not role.startswith(FINGERS) or _ROLES[role] in humanoid.rotations


def _to_t_pose(reference: Reference) -> dict[str, Tensor]:
    """Return rotations [3, 3] of the template by role, from its reference pose to the T-pose."""
    names = {*reference.template.pose_roles, "hips"} & set(_ROLES)
    constants = {role: torch.eye(3) for role in names}
    down, left, up = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    for side, out in zip(SIDES, (left, -left), strict=True):
        hinge = down if side == "L" else up  # elbows bend forward
        arm, leg = reference.limbs[f"upper_arm.{side}"], reference.limbs[f"thigh.{side}"]
        turns = {
            "upper_arm": turn_between((arm.upper, arm.hinge), (out, hinge)),
            "forearm": turn_between((arm.lower, arm.hinge), (out, hinge)),
            "hand": turn_between(reference.hand(side), (out, down)),
            "thigh": turn_between((leg.upper, leg.hinge), (down, left)),
            "shin": turn_between((leg.lower, leg.hinge), (down, left)),
        }
        turns |= {f"{bone}_twist": turns[bone] for bone in ("upper_arm", "forearm", "thigh")}
        forward = torch.tensor([0.0, -1.0, 0.0])
        for finger in FINGERS:
            along = (out + forward) / 2**0.5 if finger == "thumb" else out
            for k in (1, 2, 3):
                carried = turns["hand"] @ reference.bone(f"{finger}{k}.{side}")
                turns[f"{finger}{k}"] = swing(carried[None], along[None])[0] @ turns["hand"]
        constants |= {f"{role}.{side}": turn for role, turn in turns.items() if f"{role}.{side}" in names}
    return constants


def _twist(turn: Array, axis: Array) -> Array:
    """Return the part [3, 3] of a rotation that is about an axis."""
    x, y, z, w = Rotation.from_matrix(turn).as_quat()
    return Rotation.from_rotvec(2 * np.arctan2(np.array([x, y, z]) @ axis, w) * axis).as_matrix()


def _point(unity: tuple[float, float, float]) -> Array:
    """Convert a point in Unity's axes."""
    x, y, z = unity
    return np.array([-x, -z, y], float)


def _turn(unity: tuple[float, float, float, float]) -> Array:
    """Convert a quaternion x, y, z, w in Unity's axes to a rotation matrix [3, 3]."""
    x, y, z, w = unity
    return Rotation.from_quat([x, z, -y, w]).as_matrix()
