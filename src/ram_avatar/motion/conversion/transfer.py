"""Anybody's skeleton onto the body template.

Rest poses of files mean little: arms hang or are spread, and in some data sets every bone lies along one axis.
So limbs, hands and fingers are matched by where their bones point in the posed skeleton, and roll about a limb by
the plane in which its elbow or knee bends. What positions do not show (the turn of the head, of the feet, of a hand
without fingers) is the file's own rotation of the joint, times a constant of the clip (`calibration`).
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
_STRAIGHT, _BENT = np.radians([8.0, 30.0])  # between these a limb's own plane takes over from the clip's
_SPINE = {"spine1": 1 / 3, "spine2": 2 / 3, "spine3": 1.0}  # how far from the pelvis' turn to the chest's


@torch.no_grad()
def to_template(clip: SkeletalClip, mapping: JointMap, reference: Reference) -> Motion:
    """The motion that makes the template do what the skeleton does.

    Upper arms, forearms, thighs, shins and fingers point where the skeleton's point. The pelvis and the chest turn
    with theirs, and the spine between them bends evenly. Positions are scaled by the length of the legs, and the
    soles are at height 0 when the person stands. The face is neutral; fingers that the skeleton does not
    have are those of a hand at rest, and the confidence of such hands and of the face is 0.

    Args:
        reference: of the body that is moved.

    Raises:
        UserError: bones that are needed have no length.
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
    """Frames of a source to the template's parameters, batch after batch."""

    reference: Reference
    calibration: Calibration
    twists: dict[str, float] = field(default_factory=dict)  # of the last frame before: none jumps by a whole turn

    def __call__(self, pose: Pose) -> tuple[Tensor, Tensor, Tensor]:
        """Root rotation [N, 3], root translation [N, 3] and pose [N, P, 3]."""
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
        """Bent evenly, then leant below the chest so that the neck is in the source's direction from the hips."""
        turns = {joint: between(pelvis, chest, share) for joint, share in _SPINE.items()}
        if "neck" not in pose.source.joints:
            return turns
        at = self.reference.at
        fixed = pelvis @ (at["spine1"] - self.reference.middle("thigh")) + chest @ (at["neck1"] - at["spine3"])
        lean = turns["spine1"] @ (at["spine2"] - at["spine1"]) + turns["spine2"] @ (at["spine3"] - at["spine2"])
        trunk = unit(pose.at("neck") - pose.middle("thigh"))
        along = (trunk * fixed).sum(-1, keepdim=True)
        square = along**2 - fixed.square().sum(-1, keepdim=True) + lean.square().sum(-1, keepdim=True)
        length = along + square.clamp(min=0).sqrt()  # of the trunk: `lean` keeps its own
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
        """Turns of an arm's or leg's two bones: they point as the source's, and bend in its plane."""
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
        """A limb's twist, half at its root and half at the joint within the bone; its end stays where it is.

        A template without such a joint turns the bone as one."""
        first, second, end = f"{bone}.{side}", f"{bone}_twist.{side}", f"{after}.{side}"
        if second not in self.reference.at:
            return {first: turn}
        along = self.reference.direction(first, end)
        half = 0.5 * self._twist(first, parent.mT @ turn, along)
        begun = turn @ _about(along, -half)
        return {first: begun, second: begun @ _about(self.reference.direction(second, end), half)}

    def _pronate(self, side: str, lower: Tensor, hand: Tensor) -> dict[str, Tensor]:
        """The hand's twist at the joint within the forearm; without one, half of it at the elbow."""
        elbow, twist = f"forearm.{side}", f"forearm_twist.{side}"
        has_twist = twist in self.reference.at
        axis = self.reference.direction(twist if has_twist else elbow, f"hand.{side}")
        angle = self._twist(f"hand.{side}", lower.mT @ hand, axis)
        if has_twist:
            return {elbow: lower, twist: lower @ _about(axis, angle)}
        return {elbow: lower @ _about(axis, 0.5 * angle)}

    def _twist(self, name: str, turn: Tensor, axis: Tensor) -> Tensor:
        """[N] angle of the part of a turn that is about an axis, without jumps over time."""
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
        """Each bone turned the shortest way from where the one before would carry it."""
        if not pose.source.has_fingers(side) or f"{finger}.{side}" not in pose.source.mapping:
            return {}
        turns, turn = {}, hand
        for k, direction in enumerate(pose.finger(f"{finger}.{side}"), start=1):
            role = f"{finger}{k}.{side}"
            turn = swing(turn @ self.reference.bone(role), direction) @ turn
            turns[role] = turn
        return turns


def between(start: Tensor, end: Tensor, share: float) -> Tensor:
    """A share of the way from one rotation [N, 3, 3] to another."""
    return start @ roma.rotvec_to_rotmat(share * roma.rotmat_to_rotvec(start.mT @ end))


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    """[N, 3, 3] turns by angles [N] about an axis [3]."""
    return roma.rotvec_to_rotmat(angle[:, None] * axis)
