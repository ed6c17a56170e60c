"""Transfer of any skeleton's motion to the body template.

Rest poses of files mean little: arms hang or are spread, and in some data sets all bones lie along one axis. So limbs,
hands and fingers are matched by the directions of their bones in the posed skeleton, and roll about a limb by the plane
in which its elbow or knee bends. What positions do not show (rotations of the head, the feet, and hands without
fingers) is the file's own joint rotation, times a constant of the clip (`calibration`).
"""

from dataclasses import dataclass, field

import numpy as np
import roma
import torch
from torch import Tensor

from ..joint_map import FINGERS, JointMap
from ..motion import Motion, confidence_of
from ..skeleton import SkeletalClip
from .calibration import (
    Calibration,
    Pose,
    Reference,
    Source,
    swing,
    turn_between,
    unit,
)
from .ground import find_floor, lift_toes

_FRAMES_AT_ONCE = 2048
_STRAIGHT, _BENT = np.radians([8.0, 30.0])  # flexion over which a limb's own plane takes over from the clip's
_SPINE = {"spine1": 1 / 3, "spine2": 2 / 3, "spine3": 1.0}  # fraction of the rotation from pelvis to chest


@torch.no_grad()
def to_template(clip: SkeletalClip, mapping: JointMap, reference: Reference) -> Motion:
    """Convert a clip to a motion of the template.

    Upper arms, forearms, thighs, shins and fingers point where the skeleton's do. Pelvis and chest rotate with theirs,
    and the spine between them bends evenly. Positions are scaled by the leg length, and the soles of a standing person
    are at height 0. The face is neutral; missing fingers are relaxed; the confidence of such hands and of the face
    is 0.

    Args:
        reference: the body that is moved.

    Raises:
        UserError: a required bone has no length.
    """
    template, source = reference.template, Source(clip, mapping)
    calibration = Calibration.of(source, reference)
    transfer = _Transfer(reference, calibration)
    parts = [transfer(source.pose(part)) for part in clip.batches(_FRAMES_AT_ONCE)]
    root_rotation, root_translation, pose = (torch.cat(each) for each in zip(*parts, strict=True))
    hands = [float(source.has_fingers(side)) for side in "LR"]
    motion = Motion(
        template=template.name,
        fps=clip.fps,
        root_rotation=root_rotation,
        root_translation=root_translation,
        pose=pose,
        facial_actions=torch.zeros(len(clip), len(template.action_names)),
        confidence=torch.from_numpy(confidence_of(1.0, *hands)).float().repeat(len(clip), 1),
    )
    motion.root_translation[:, 2] -= find_floor(motion, reference)
    return lift_toes(motion, reference)


@dataclass
class _Transfer:
    """Converts a source's frames to the template's parameters, batch after batch."""

    reference: Reference
    calibration: Calibration
    twists: dict[str, float] = field(default_factory=dict)  # of the previous frame, to avoid jumps by a whole turn

    def __call__(self, pose: Pose) -> tuple[Tensor, Tensor, Tensor]:
        """Return root rotation [N, 3], root translation [N, 3] and pose [N, P, 3]."""
        constant = self.calibration.constants
        pelvis, chest = (pose.turn(part) @ constant[part] for part in ("hips", "chest"))
        head = pose.turn("head") @ constant["head"]
        neck = pose.turn("neck") @ constant["neck"] if "neck" in constant else between(chest, head, 1 / 3)
        turns = {"hips": pelvis, "neck1": neck, "neck2": between(neck, head, 0.5), "head": head}
        turns |= self._spine(pose, pelvis, chest)
        for side in "LR":
            turns |= self._arm(pose, side, chest) | self._leg(pose, side, pelvis)
        rotations = self.reference.at_rest.repeat(len(pose), 1, 1)
        for index, role in enumerate(self.reference.template.pose_roles):
            if role in turns:
                parent = turns[self.reference.ancestor(role, turns)]
                rotations[:, index] = roma.rotmat_to_rotvec(parent.mT @ turns[role])
        hips = pose.middle("thigh") * self.calibration.scale
        translation = hips - pelvis @ self.reference.middle("thigh")
        return roma.rotmat_to_rotvec(pelvis), translation, rotations

    def _spine(self, pose: Pose, pelvis: Tensor, chest: Tensor) -> dict[str, Tensor]:
        """Bend the spine evenly, then lean it below the chest so that the neck lies in the source's direction."""
        turns = {joint: between(pelvis, chest, share) for joint, share in _SPINE.items()}
        if "neck" not in pose.source.joints:
            return turns
        at = self.reference.at
        fixed = pelvis @ (at["spine1"] - self.reference.middle("thigh")) + chest @ (at["neck1"] - at["spine3"])
        lean = turns["spine1"] @ (at["spine2"] - at["spine1"]) + turns["spine2"] @ (at["spine3"] - at["spine2"])
        trunk = unit(pose.at("neck") - pose.middle("thigh"))
        along = (trunk * fixed).sum(-1, keepdim=True)
        square = along**2 - fixed.square().sum(-1, keepdim=True) + lean.square().sum(-1, keepdim=True)
        length = along + square.clamp(min=0).sqrt()  # of the trunk, such that `lean` keeps its length
        correction = swing(unit(lean), unit(length * trunk - fixed))
        return turns | {joint: correction @ turns[joint] for joint in ("spine1", "spine2")}

    def _arm(self, pose: Pose, side: str, chest: Tensor) -> dict[str, Tensor]:
        key = f"clavicle.{side}"
        clavicle = pose.turn(key) @ self.calibration.constants[key] if key in self.calibration.constants else chest
        upper, lower = self._limb(pose, side, ("upper_arm", "forearm", "hand"))
        turns = {key: clavicle} | self._spread("upper_arm", "forearm", side, clavicle, upper)
        hand = self._hand(pose, side)
        turns |= self._pronate(side, lower, hand) | {f"hand.{side}": hand}
        for finger in FINGERS:
            turns |= self._finger(pose, side, finger, hand)
        return turns

    def _leg(self, pose: Pose, side: str, pelvis: Tensor) -> dict[str, Tensor]:
        upper, lower = self._limb(pose, side, ("thigh", "shin", "foot"))
        turns = {f"shin.{side}": lower} | self._spread("thigh", "shin", side, pelvis, upper)
        turns[f"foot.{side}"] = pose.turn(f"foot.{side}") @ self.calibration.constants[f"foot.{side}"]
        return turns

    def _limb(self, pose: Pose, side: str, parts: tuple[str, str, str]) -> tuple[Tensor, Tensor]:
        """Return the rotations of a limb's two bones: they point as the source's do, and bend in its plane."""
        first, second, third = (f"{part}.{side}" for part in parts)
        upper, lower = pose.direction(first, second), pose.direction(second, third)
        normal = torch.linalg.cross(upper, lower)
        bend = torch.atan2(normal.norm(dim=-1), (upper * lower).sum(-1))[:, None]
        share = ((bend - _STRAIGHT) / (_BENT - _STRAIGHT)).clamp(0, 1)
        share = share * share * (3 - 2 * share)
        usual = pose.turn(first) @ self.calibration.hinges[first]
        hinge = unit(share * unit(normal) + (1 - share) * unit(usual))
        reference = self.reference.limbs[first]
        return (
            turn_between((reference.upper, reference.hinge), (upper, hinge)),
            turn_between((reference.lower, reference.hinge), (lower, hinge)),
        )

    def _spread(self, bone: str, after: str, side: str, parent: Tensor, turn: Tensor) -> dict[str, Tensor]:
        """Split a limb's twist evenly between its root and the twist joint within the bone; its end is unaffected.

        A template without such a joint rotates the bone as one.
        """
        first, second, end = f"{bone}.{side}", f"{bone}_twist.{side}", f"{after}.{side}"
        if second not in self.reference.at:
            return {first: turn}
        along = self.reference.direction(first, end)
        half = 0.5 * self._twist(first, parent.mT @ turn, along)
        begun = turn @ _about(along, -half)
        return {first: begun, second: begun @ _about(self.reference.direction(second, end), half)}

    def _pronate(self, side: str, lower: Tensor, hand: Tensor) -> dict[str, Tensor]:
        """Put the hand's twist on the joint within the forearm, or half of it on the elbow if there is none."""
        elbow, twist = f"forearm.{side}", f"forearm_twist.{side}"
        has_twist = twist in self.reference.at
        axis = self.reference.direction(twist if has_twist else elbow, f"hand.{side}")
        angle = self._twist(f"hand.{side}", lower.mT @ hand, axis)
        if has_twist:
            return {elbow: lower, twist: lower @ _about(axis, angle)}
        return {elbow: lower @ _about(axis, 0.5 * angle)}

    def _twist(self, name: str, turn: Tensor, axis: Tensor) -> Tensor:
        """Return the angle [N] of a rotation's twist about an axis, continuous over time."""
        quaternion = roma.rotmat_to_unitquat(turn)
        angle = 2 * torch.atan2(quaternion[:, :3] @ axis, quaternion[:, 3])
        before = self.twists.get(name, 0.0)
        angles = np.unwrap(np.concatenate([[before], angle.double().numpy()]))[1:]
        self.twists[name] = float(angles[-1])
        return torch.from_numpy(angles).float()

    def _hand(self, pose: Pose, side: str) -> Tensor:
        key = f"hand.{side}"
        if pose.source.has_fingers(side):
            return turn_between(self.reference.knuckles(side), pose.knuckles(side))
        return pose.turn(key) @ self.calibration.constants[key]

    def _finger(self, pose: Pose, side: str, finger: str, hand: Tensor) -> dict[str, Tensor]:
        """Rotate each bone the shortest way from where the one before carries it."""
        if not pose.source.has_fingers(side) or f"{finger}.{side}" not in pose.source.mapping:
            return {}
        turns, turn = {}, hand
        for k, direction in enumerate(pose.finger(f"{finger}.{side}"), start=1):
            role = f"{finger}{k}.{side}"
            turn = swing(turn @ self.reference.bone(role), direction) @ turn
            turns[role] = turn
        return turns


def between(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Interpolate between rotations [N, 3, 3] by a fraction."""
    return start @ roma.rotvec_to_rotmat(share * roma.rotmat_to_rotvec(start.mT @ end))


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    """Return rotations [N, 3, 3] by angles [N] about an axis [3]."""
    return roma.rotvec_to_rotmat(angle[:, None] * axis)
