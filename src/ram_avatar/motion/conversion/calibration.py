"""Calibration of a clip's skeleton for `transfer`: how its joint axes lie in the body.

A joint's rotation in the file, times a constant, is that body part's rotation from the template's reference pose. The
constants are known if the skeleton is upright in a known pose: the rest pose, if it is a standing one, or the first
frame, if it is a T-pose. Otherwise they are estimated from the clip: pelvis and chest from the lines of hips and
shoulders and the spine above; neck, head and collarbones are straight on average; standing feet are level; a hand
without fingers has its palm, on average, in the plane in which the elbow bends.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import roma
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from ...body.anatomy import anatomy_of
from ...body.template import BodyTemplate
from ...core.errors import UserError
from ..joint_map import FINGERS, JointMap
from ..skeleton import SkeletalClip

_SAMPLED = 1000  # frames of a clip that the constants are estimated from
_UPRIGHT = 0.9  # cosine; legs and trunk of a known pose are at least this close to the vertical
_BENT = 0.35  # sine (20 degrees) of the flexion from which a limb's plane is trusted
_LEAST_LENGTH = 0.01  # of the leg; shorter bones have no reliable direction
_FOOT_ALONE = 0.99  # weight of the foot's joints from which a vertex counts as rigid with the foot
_SOLE = 0.03  # metres from the lowest vertex of a foot
_UP = torch.tensor([0.0, 0.0, 1.0])
_LEFT = torch.tensor([1.0, 0.0, 0.0])
_LIMBS = (("upper_arm", "forearm", "hand"), ("thigh", "shin", "foot"))
_SIGN = {"L": 1.0, "R": -1.0}


@dataclass(frozen=True)
class Limb:
    """Unit vectors [3] of a limb in the template's reference pose."""

    upper: Tensor
    lower: Tensor
    hinge: Tensor  # the bending axis: upper x lower where it is bent


class Reference:
    """The template's joints in the reference pose, by role; the root at the origin.

    Args:
        identity: [I] of the body; None for `template.default_identity()`.
    """

    def __init__(self, template: BodyTemplate, identity: Tensor | None = None):
        self.template = template
        anatomy = anatomy_of(template)
        self.at_rest = anatomy.to_pose(anatomy.relaxed)  # [P, 3] pose of a relaxed standing person
        posed = template.body(template.default_identity() if identity is None else identity).at_reference()
        self.at = {role: posed.joints[0, template.joint_of(role), :3, 3] for role in template.roles}
        tips = posed.vertices[0][template.fingertips].mean(1)  # [10, 3]
        self.ends = {f"foot.{side}": self.at[f"toes.{side}"] for side in "LR"}
        self.ends["head"] = torch.tensor([*self.at["head"][:2], posed.vertices[0, :, 2].max()])
        self.ends |= {f"{FINGERS[k % 5]}3.{'LR'[k // 5]}": tip for k, tip in enumerate(tips)}
        # [K, 3] points of each sole, from the ankle, rigid with the foot.
        self.soles = [_sole(template, posed.vertices[0], side) - self.at[f"foot.{side}"] for side in "LR"]
        self.limbs = {}
        for side in "LR":
            for parts in _LIMBS:
                first, second, third = (self.at[f"{part}.{side}"] for part in parts)
                upper, lower = unit(second - first), unit(third - second)
                # The arm is bent in the reference pose; the straight leg bends about the line between the hips.
                hinge = torch.linalg.cross(upper, lower) if parts[0] == "upper_arm" else _LEFT
                self.limbs[f"{parts[0]}.{side}"] = Limb(upper, lower, unit(hinge))

    def direction(self, start: str, end: str) -> Tensor:
        """Return the unit vector [3] from one joint to another."""
        return unit(self.at[end] - self.at[start])

    def bone(self, finger: str) -> Tensor:
        """Return the direction of a finger's bone, such as "index1.L"."""
        k = int(finger[-3])
        after = self.at[f"{finger[:-3]}{k + 1}{finger[-2:]}"] if k < 3 else self.ends[finger]
        return unit(after - self.at[finger])

    def middle(self, joint: str) -> Tensor:
        """Return the midpoint [3] of the left and the right joint."""
        return 0.5 * (self.at[f"{joint}.L"] + self.at[f"{joint}.R"])

    def knuckles(self, side: str) -> tuple[Tensor, Tensor]:
        """Return the directions along the hand, and from the index to the little finger."""
        at = lambda joint: self.at[f"{joint}.{side}"]
        return unit(at("middle1") - at("hand")), unit(at("little1") - at("index1"))

    def hand(self, side: str) -> tuple[Tensor, Tensor]:
        """Return the directions along the hand, and out of the palm."""
        along, across = self.knuckles(side)
        return along, unit(torch.linalg.cross(across, along)) * _SIGN[side]

    def ancestor(self, joint: str, among: Collection[str]) -> str:
        """Return the role, one of `among`, of the nearest joint above."""
        template = self.template
        role_of = {template.joint_of(role): role for role in among if role in template.roles}
        above = template.joint_parents[template.joint_of(joint)]
        while above not in role_of:
            above = template.joint_parents[above]
        return role_of[above]

    def on_spine(self, below: float) -> Tensor:
        """Return the point of the spine [3] at a fraction of the trunk's length below the neck; 1 is the hips."""
        joints = [self.at[role] for role in ("neck1", "spine3", "spine2", "spine1")]
        points = torch.stack([*joints, self.middle("thigh")])
        away = (points - points[0]).norm(dim=-1)
        where = int((away / away[-1] < below).sum().clamp(1, len(points) - 1))
        share = (below * away[-1] - away[where - 1]) / (away[where] - away[where - 1])
        return points[where - 1].lerp(points[where], share)

    def leg_length(self) -> float:
        """Return the length of the shorter leg, hip to ankle."""
        length = lambda *joints: min((self.at[joints[1] + s] - self.at[joints[0] + s]).norm() for s in (".L", ".R"))
        return float(length("thigh", "shin") + length("shin", "foot"))


class Source:
    """A clip whose joints are mapped to body parts.

    Raises:
        UserError: a required bone has no length.
    """

    def __init__(self, clip: SkeletalClip, mapping: JointMap):
        self.clip, self.mapping = clip, mapping
        self.joints = {part: [clip.joint(name) for name in names] for part, names in mapping.joints.items()}
        first = "clavicle.L" if "clavicle.L" in mapping else "upper_arm.L"
        self.joints["chest"] = [clip.parents[self.joints[first][0]]]
        for side in "LR":
            foot = self.joints[f"foot.{side}"][0]
            if f"toes.{side}" not in self.joints and foot in clip.parents:
                self.joints[f"toes.{side}"] = [clip.parents.index(foot)]
            for finger in FINGERS:
                chain = self.joints.get(f"{finger}.{side}", [])
                if len(chain) == 3 and chain[-1] in clip.parents:
                    chain.append(clip.parents.index(chain[-1]))
        # Rotations from the axes of the rest pose to those of the known pose, and that pose's joint positions.
        self.axes = torch.eye(3).repeat(len(clip.names), 1, 1)
        self.rest = _at_rest(clip)
        self.upright = self._find_upright()

    def has_fingers(self, side: str) -> bool:
        """Return whether a hand has fingers."""
        return all(f"{finger}.{side}" in self.mapping for finger in ("index", "middle", "little"))

    def pose(self, clip: SkeletalClip) -> "Pose":
        """Pose the joints in the frames of a clip of this skeleton."""
        return Pose(self, *clip.forward())

    def _find_upright(self) -> bool:
        """Return whether the rest pose or the first frame is a known pose; if so, make rotations relative to it."""
        turns, positions = self.clip[:1].forward()
        identity = self.axes
        for turn, position, wanted in ((identity, self.rest, ()), (turns[0], positions[0], ("arms",))):
            pose = Pose(self, turn[None], position[None])
            heading = pose.heading()
            if heading is not None and (not wanted or pose.has_spread_arms()):
                self.axes = turn.mT @ heading
                self.rest = position @ heading
                return True
        return False


@dataclass
class Pose:
    """N posed frames of a source."""

    source: Source
    turns: Tensor  # [N, J, 3, 3] from the rest pose
    positions: Tensor  # [N, J, 3]

    def __len__(self) -> int:
        return len(self.turns)

    def turn(self, part: str) -> Tensor:
        """Return a part's rotations [N, 3, 3], from the known pose if there is one."""
        joint = self.source.joints[part][0]
        return self.turns[:, joint] @ self.source.axes[joint]

    def at(self, part: str) -> Tensor:
        """Return a part's positions [N, 3]."""
        return self.positions[:, self.source.joints[part][0]]

    def direction(self, start: str, end: str) -> Tensor:
        """Return the unit vectors [N, 3] from one part to another."""
        return unit(self.at(end) - self.at(start))

    def middle(self, part: str) -> Tensor:
        """Return the midpoints [N, 3] of the left and the right part."""
        return 0.5 * (self.at(f"{part}.L") + self.at(f"{part}.R"))

    def across(self, part: str) -> Tensor:
        """Return the vectors [N, 3] from the right part to the left one."""
        return self.at(f"{part}.L") - self.at(f"{part}.R")

    def knuckles(self, side: str) -> tuple[Tensor, Tensor]:
        """Return the directions along the hand, and from the index to the little finger."""
        return self.direction(f"hand.{side}", f"middle.{side}"), self.direction(f"index.{side}", f"little.{side}")

    def finger(self, part: str) -> list[Tensor]:
        """Return the directions of a finger's three bones; without a fingertip, the last one continues straight."""
        joints = self.source.joints[part]
        directions = [unit(self.positions[:, b] - self.positions[:, a]) for a, b in pairwise(joints)]
        if len(joints) == 3:
            straight = unit(self.source.rest[joints[2]] - self.source.rest[joints[1]])
            directions.append(self.turns[:, joints[2]] @ self.source.axes[joints[2]] @ straight)
        return directions[:3]

    def heading(self) -> Tensor | None:
        """Return the rotation [3, 3] about the vertical of the only frame; None if the person is not upright."""
        left = unit(self.across("thigh")[0])
        legs = [self.direction(f"foot.{side}", f"thigh.{side}")[0, 2] for side in "LR"]
        trunk = self.direction("hips", "head")[0, 2]
        if min(*legs, trunk) < _UPRIGHT or abs(left[2]) > 0.2:
            return None
        return turn_between((_UP, _LEFT), (_UP[None], left[None]))[0]

    def has_spread_arms(self) -> bool:
        """Return whether the arms of the only frame are spread, as in a T-pose."""
        left = unit(self.across("thigh")[0])
        spread = [self.direction(f"upper_arm.{side}", f"hand.{side}")[0] @ left * _SIGN[side] for side in "LR"]
        return bool(min(spread) > _UPRIGHT)


@dataclass(frozen=True)
class Calibration:
    """Constants of one clip, on one body."""

    constants: dict[str, Tensor]  # [3, 3] by part: a joint's rotation times this is the template joint's
    hinges: dict[str, Tensor]  # [3] by a limb's upper bone: axis of its elbow or knee, in the bone's axes
    scale: float  # template lengths per source length

    @classmethod
    def of(cls, source: Source, reference: Reference) -> "Calibration":
        """Calibrate a clip for a body."""
        clip = source.clip
        frames = torch.linspace(0, len(clip) - 1, min(len(clip), _SAMPLED)).round().long()
        pose = source.pose(clip[frames])
        lengths = {part: _lengths(pose, part) for parts in _LIMBS for part in parts[:2]}
        leg = float(lengths["thigh"] + lengths["shin"])
        for part, length in lengths.items():
            if length < _LEAST_LENGTH * leg or not leg:
                name = source.mapping[f"{part}.L"]
                raise UserError(f"the skeleton's bone at '{name}' or its other side has no length ({part})")
        if source.upright:
            constants = {part: torch.eye(3) for part in _turned_by_file(source)}
        else:
            constants = _trunk(pose, reference) | {f"foot.{side}": _foot(pose, side, reference) for side in "LR"}
        hinges = {}
        for parts in _LIMBS:
            for side in "LR":
                hinges[f"{parts[0]}.{side}"] = _hinge(pose, side, parts, reference, constants)
        for side in "LR":
            constants[f"hand.{side}"] = _hand(pose, side, reference, hinges)
        return cls(constants, hinges, reference.leg_length() / leg)


def _sole(template: BodyTemplate, vertices: Tensor, side: str) -> Tensor:
    """Return the vertices [K, 3] of a sole in the reference pose [V, 3]: those that can touch a floor."""
    foot = vertices[template.role_weight(f"foot.{side}", f"toes.{side}") > _FOOT_ALONE]
    sole = foot[foot[:, 2] < foot[:, 2].min() + _SOLE]
    return sole[torch.from_numpy(ConvexHull(sole.numpy()).vertices).long()]


def unit(vectors: Tensor) -> Tensor:
    """Normalize vectors [..., 3]."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def turn_between(start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Tensor:
    """Return rotations [N, 3, 3] that take the first vector to the first, and the second as near as possible."""
    return _frame(*end) @ _frame(*start).mT


def swing(start: Tensor, end: Tensor) -> Tensor:
    """Return the shortest rotations [N, 3, 3] between unit vectors [N, 3]."""
    quaternion = torch.cat([torch.linalg.cross(start, end), 1 + (start * end).sum(-1, keepdim=True)], -1)
    return roma.unitquat_to_rotmat(unit(quaternion + torch.tensor([1e-6, 0.0, 0.0, 0.0])))


def _frame(first: Tensor, second: Tensor) -> Tensor:
    """Return orthonormal columns [..., 3, 3]: the first along `first`, the second nearest to `second`."""
    first = unit(first)
    second = unit(second - (second * first).sum(-1, keepdim=True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _mean(turns: Tensor) -> Tensor:
    """Return the rotation [3, 3] nearest to rotations [N, 3, 3]."""
    return roma.special_procrustes(turns.mean(0))


def _usual(turns: Tensor) -> Tensor:
    """Return the rotation [3, 3] that most of [N, 3, 3] are near to: grounded feet also roll, which biases a mean."""
    usual = _mean(turns)
    for _ in range(3):
        away = roma.rotmat_geodesic_distance(turns, usual.expand_as(turns))
        usual = _mean(turns[away <= away.median()])
    return usual


def _at_rest(clip: SkeletalClip) -> Tensor:
    """Return joint positions [J, 3] in the rest pose, the root at the origin."""
    positions = [torch.zeros(3)]
    for joint, parent in enumerate(clip.parents[1:], start=1):
        positions.append(positions[parent] + clip.offsets[joint])
    return torch.stack(positions)


def _lengths(pose: Pose, part: str) -> Tensor:
    """Return a bone's median length; the shorter side's."""
    after = {start: end for parts in _LIMBS for start, end in pairwise(parts)}[part]
    sides = [(pose.at(f"{after}.{side}") - pose.at(f"{part}.{side}")).norm(dim=-1).median() for side in "LR"]
    return torch.stack(sides).amin()


def _turned_by_file(source: Source) -> list[str]:
    parts = ["hips", "chest", "neck", "head", *(f"{part}.{side}" for part in ("clavicle", "foot") for side in "LR")]
    return [part for part in parts if part in source.joints]


def _trunk(pose: Pose, reference: Reference) -> dict[str, Tensor]:
    """Return constants of pelvis, chest, neck, head and collarbones of a skeleton that is never upright."""
    source = pose.source
    top = "neck" if "neck" in source.joints else "head"
    shoulders = pose.across("clavicle") if "clavicle.L" in source.joints else pose.across("upper_arm")
    if shoulders.norm(dim=-1).median() < 0.1 * pose.across("upper_arm").norm(dim=-1).median():
        shoulders = pose.across("upper_arm")  # both collarbones begin at one point
    spine = "spine" if source.joints.get("spine", source.joints["hips"]) != source.joints["hips"] else top
    if (pose.at(spine) - pose.at("hips")).norm(dim=-1).median() < 1e-3:
        spine = top
    up = lambda start, end: reference.on_spine(_below(pose, end, top)) - reference.on_spine(_below(pose, start, top))
    pelvis = turn_between((_LEFT, up("hips", spine)), (pose.across("thigh"), pose.direction("hips", spine)))
    chest = turn_between((_LEFT, up("chest", top)), (shoulders, pose.direction("chest", top)))
    constants = {"hips": _mean(pose.turn("hips").mT @ pelvis), "chest": _mean(pose.turn("chest").mT @ chest)}
    chest = pose.turn("chest") @ constants["chest"]
    for part in _turned_by_file(source):
        if part not in constants and not part.startswith("foot"):
            constants[part] = _mean(pose.turn(part).mT @ chest)
    return constants


def _below(pose: Pose, part: str, top: str) -> float:
    """Return a joint's distance from the top of the trunk, as a fraction of the trunk's length."""
    trunk = (pose.at(top) - pose.middle("thigh")).norm(dim=-1).median()
    return float((pose.at(top) - pose.at(part)).norm(dim=-1).median() / trunk)


def _foot(pose: Pose, side: str, reference: Reference) -> Tensor:
    """Return the constant that makes the sole level in the fifth of the frames in which this foot is lowest."""
    key = f"foot.{side}"
    height = pose.at(key)[:, 2]
    down = height <= height.quantile(0.2)
    toes = f"toes.{side}"
    ahead = (
        pose.direction(key, toes)
        if toes in pose.source.joints
        else pose.across("thigh").cross(-_UP.expand(len(pose), 3), dim=-1)
    )
    flat = turn_between((_UP, reference.ends[key] - reference.at[key]), (_UP.expand(len(pose), 3), ahead))
    return _usual((pose.turn(key).mT @ flat)[down])


def _hinge(
    pose: Pose, side: str, parts: tuple[str, str, str], reference: Reference, constants: dict[str, Tensor]
) -> Tensor:
    """Return the axis of an elbow or knee, in the axes of the bone above: the mean over frames in which it is bent.

    A limb that never bends takes the template's axis, swung the shortest way from chest or pelvis to the limb's
    direction; a leg takes it from the direction of its foot.
    """
    first, second, third = (f"{part}.{side}" for part in parts)
    upper, lower = pose.direction(first, second), pose.direction(second, third)
    limb, trunk = reference.limbs[first], "chest" if parts[0] == "upper_arm" else "hips"
    turn = pose.turn(trunk) @ constants[trunk]
    likely = (swing(turn @ limb.upper, upper) @ turn) @ limb.hinge
    if f"toes.{side}" in pose.source.joints and parts[0] == "thigh":
        likely = unit(torch.linalg.cross(pose.direction(third, f"toes.{side}"), lower))
    normal = torch.linalg.cross(upper, lower)
    weight = ((normal.norm(dim=-1, keepdim=True) - _BENT) / (1 - _BENT)).clamp(min=0)
    local = pose.turn(first).mT @ (weight * unit(normal) + 0.02 * likely)[..., None]
    return unit(local.mean(0)[:, 0])


def _hand(pose: Pose, side: str, reference: Reference, hinges: dict[str, Tensor]) -> Tensor:
    """Return a hand's constant: straight at rest; palm down in a T-pose, else along the elbow's axis on average."""
    source, key, sign = pose.source, f"hand.{side}", _SIGN[side]
    rest = source.rest
    along = unit(rest[source.joints[key][0]] - rest[source.joints[f"forearm.{side}"][0]])
    turn = pose.turn(key)
    if source.upright:
        palm = swing((sign * _LEFT)[None], along[None])[0] @ -_UP
        return turn_between(reference.hand(side), (along, palm))
    hinge = pose.turn(f"upper_arm.{side}") @ hinges[f"upper_arm.{side}"]
    return _mean(turn.mT @ turn_between(reference.hand(side), (turn @ along, sign * hinge)))
