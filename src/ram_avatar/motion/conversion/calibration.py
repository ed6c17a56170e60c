"""What is constant of a skeleton over a clip, for `transfer`: where its joints' axes lie in the body.

A joint's rotation in the file, times a constant, is the turn of that part of the body from the template's
reference pose. The constant is known where the skeleton is once seen upright with its rest pose known: the rest pose
itself, if it is that of somebody who stands; or the first frame, if it is a T-pose. Else it is read off the clip:
pelvis and chest by the lines of hips and shoulders and the spine above; neck, head and collarbones are straight
on the average; feet are level where they stand; a hand without fingers has its palm, on the average, in the plane
in which the elbow bends.
"""

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

_SAMPLED = 1000  # frames of a clip that its constants are read off
_UPRIGHT = 0.9  # cosine of how far legs and trunk may be from the vertical in a pose that is known
_BENT = 0.35  # sine of the bend (20 degrees) from which a limb's plane is trusted
_LEAST_LENGTH = 0.01  # of the leg: a shorter bone points nowhere
_FOOT_ALONE = 0.99  # weight of the foot's joints at vertices that move with it
_SOLE = 0.03  # metres from the lowest vertex of a foot
_UP = torch.tensor([0.0, 0.0, 1.0])
_LEFT = torch.tensor([1.0, 0.0, 0.0])
_LIMBS = (("upper_arm", "forearm", "hand"), ("thigh", "shin", "foot"))
_SIGN = {"L": 1.0, "R": -1.0}


@dataclass(frozen=True)
class Limb:
    """Unit vectors [3] of the template's reference pose."""

    upper: Tensor
    lower: Tensor
    hinge: Tensor  # it bends about this: upper x lower where it is bent


class Reference:
    """The template's joints in the reference pose, the root at the origin, by their roles.

    Args:
        identity: [I] whose body it is; `template.default_identity()` without.
    """

    def __init__(self, template: BodyTemplate, identity: Tensor | None = None):
        self.template = template
        anatomy = anatomy_of(template)
        self.at_rest = anatomy.to_pose(anatomy.relaxed)  # [P, 3] the pose of a person who stands at ease
        posed = template.body(template.default_identity() if identity is None else identity).at_reference()
        self.at = {role: posed.joints[0, template.joint_of(role), :3, 3] for role in template.roles}
        tips = posed.vertices[0][template.fingertips].mean(1)  # [10, 3]
        self.ends = {f"foot.{side}": self.at[f"toes.{side}"] for side in "LR"}
        self.ends["head"] = torch.tensor([*self.at["head"][:2], posed.vertices[0, :, 2].max()])
        self.ends |= {f"{FINGERS[k % 5]}3.{'LR'[k // 5]}": tip for k, tip in enumerate(tips)}
        # [K, 3] points of each sole, from the ankle; they move with the foot.
        self.soles = [_sole(template, posed.vertices[0], side) - self.at[f"foot.{side}"] for side in "LR"]
        self.limbs = {}
        for side in "LR":
            for parts in _LIMBS:
                first, second, third = (self.at[f"{part}.{side}"] for part in parts)
                upper, lower = unit(second - first), unit(third - second)
                # The arm is bent in the reference pose; a leg that is straight bends about the line of the hips.
                hinge = torch.linalg.cross(upper, lower) if parts[0] == "upper_arm" else _LEFT
                self.limbs[f"{parts[0]}.{side}"] = Limb(upper, lower, unit(hinge))

    def direction(self, start: str, end: str) -> Tensor:
        return unit(self.at[end] - self.at[start])

    def bone(self, finger: str) -> Tensor:
        """Where a bone of a finger points, "index1.L"."""
        k = int(finger[-3])
        after = self.at[f"{finger[:-3]}{k + 1}{finger[-2:]}"] if k < 3 else self.ends[finger]
        return unit(after - self.at[finger])

    def middle(self, joint: str) -> Tensor:
        return 0.5 * (self.at[f"{joint}.L"] + self.at[f"{joint}.R"])

    def knuckles(self, side: str) -> tuple[Tensor, Tensor]:
        """Along the hand, and from the index to the little finger."""
        at = lambda joint: self.at[f"{joint}.{side}"]
        return unit(at("middle1") - at("hand")), unit(at("little1") - at("index1"))

    def hand(self, side: str) -> tuple[Tensor, Tensor]:
        """Along the hand, and out of the palm."""
        along, across = self.knuckles(side)
        return along, unit(torch.linalg.cross(across, along)) * _SIGN[side]

    def ancestor(self, joint: str, among) -> str:
        """The role of the nearest joint above that has one of `among`."""
        template = self.template
        role_of = {template.joint_of(role): role for role in among if role in template.roles}
        above = template.joint_parents[template.joint_of(joint)]
        while above not in role_of:
            above = template.joint_parents[above]
        return role_of[above]

    def on_spine(self, below: float) -> Tensor:
        """[3] the point of the spine that is this share of the trunk's length from the neck; 1 is between the hips."""
        joints = [self.at[role] for role in ("neck1", "spine3", "spine2", "spine1")]
        points = torch.stack([*joints, self.middle("thigh")])
        away = (points - points[0]).norm(dim=-1)
        where = int((away / away[-1] < below).sum().clamp(1, len(points) - 1))
        share = (below * away[-1] - away[where - 1]) / (away[where] - away[where - 1])
        return points[where - 1].lerp(points[where], share)

    def leg_length(self) -> float:
        """Hip to ankle; the shorter side's."""
        length = lambda *joints: min((self.at[joints[1] + s] - self.at[joints[0] + s]).norm() for s in (".L", ".R"))
        return float(length("thigh", "shin") + length("shin", "foot"))


class Source:
    """A clip with the meaning of its joints.

    Raises:
        UserError: a bone that is needed has no length.
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
        # Rotations that take the axes of the rest pose to those of the pose that is known, and that pose.
        self.axes = torch.eye(3).repeat(len(clip.names), 1, 1)
        self.rest = _at_rest(clip)
        self.upright = self._find_upright()

    def has_fingers(self, side: str) -> bool:
        return all(f"{finger}.{side}" in self.mapping for finger in ("index", "middle", "little"))

    def pose(self, clip: SkeletalClip) -> "Pose":
        return Pose(self, *clip.forward())

    def _find_upright(self) -> bool:
        """Whether the rest pose or the first frame is one that is known; if so, rotations count from it."""
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
    """N frames of a source, posed."""

    source: Source
    turns: Tensor  # [N, J, 3, 3] from the rest pose
    positions: Tensor  # [N, J, 3]

    def __len__(self) -> int:
        return len(self.turns)

    def turn(self, part: str) -> Tensor:
        """[N, 3, 3] from the pose that is known, where there is one."""
        joint = self.source.joints[part][0]
        return self.turns[:, joint] @ self.source.axes[joint]

    def at(self, part: str) -> Tensor:
        return self.positions[:, self.source.joints[part][0]]

    def direction(self, start: str, end: str) -> Tensor:
        return unit(self.at(end) - self.at(start))

    def middle(self, part: str) -> Tensor:
        return 0.5 * (self.at(f"{part}.L") + self.at(f"{part}.R"))

    def across(self, part: str) -> Tensor:
        """From the right to the left one."""
        return self.at(f"{part}.L") - self.at(f"{part}.R")

    def knuckles(self, side: str) -> tuple[Tensor, Tensor]:
        """Along the hand, and from the index to the little finger."""
        return self.direction(f"hand.{side}", f"middle.{side}"), self.direction(f"index.{side}", f"little.{side}")

    def finger(self, part: str) -> list[Tensor]:
        """Where its three bones point; the last goes on as the one before where it has no end."""
        joints = self.source.joints[part]
        directions = [unit(self.positions[:, b] - self.positions[:, a]) for a, b in pairwise(joints)]
        if len(joints) == 3:
            straight = unit(self.source.rest[joints[2]] - self.source.rest[joints[1]])
            directions.append(self.turns[:, joints[2]] @ self.source.axes[joints[2]] @ straight)
        return directions[:3]

    def heading(self) -> Tensor | None:
        """[3, 3] the turn about the vertical of somebody who stands upright in the only frame; None if not so."""
        left = unit(self.across("thigh")[0])
        legs = [self.direction(f"foot.{side}", f"thigh.{side}")[0, 2] for side in "LR"]
        trunk = self.direction("hips", "head")[0, 2]
        if min(*legs, trunk) < _UPRIGHT or abs(left[2]) > 0.2:
            return None
        return turn_between((_UP, _LEFT), (_UP[None], left[None]))[0]

    def has_spread_arms(self) -> bool:
        left = unit(self.across("thigh")[0])
        spread = [self.direction(f"upper_arm.{side}", f"hand.{side}")[0] @ left * _SIGN[side] for side in "LR"]
        return min(spread) > _UPRIGHT


@dataclass(frozen=True)
class Calibration:
    """Constants of one clip on one body."""

    constants: dict[str, Tensor]  # [3, 3] by part: a joint's turn times this is that of the template's joint
    hinges: dict[str, Tensor]  # [3] by the upper bone of a limb: the axis of its elbow or knee, in its axes
    scale: float  # lengths of the template by those of the source

    @classmethod
    def of(cls, source: Source, reference: Reference) -> "Calibration":
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
    """[K, 3] the vertices of a foot near the floor in the reference pose [V, 3]; of them, those that can touch one."""
    foot = vertices[template.role_weight(f"foot.{side}", f"toes.{side}") > _FOOT_ALONE]
    sole = foot[foot[:, 2] < foot[:, 2].min() + _SOLE]
    return sole[torch.from_numpy(ConvexHull(sole.numpy()).vertices).long()]


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def turn_between(start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Tensor:
    """[N, 3, 3] rotations that take the first vector to the first one, and the second as near as it goes."""
    return _frame(*end) @ _frame(*start).mT


def swing(start: Tensor, end: Tensor) -> Tensor:
    """[N, 3, 3] the shortest rotations of unit vectors [N, 3] to others."""
    quaternion = torch.cat([torch.linalg.cross(start, end), 1 + (start * end).sum(-1, keepdim=True)], -1)
    return roma.unitquat_to_rotmat(unit(quaternion + torch.tensor([1e-6, 0.0, 0.0, 0.0])))


def _frame(first: Tensor, second: Tensor) -> Tensor:
    """[..., 3, 3] with orthonormal columns, the first along `first`, the second nearest to `second`."""
    first = unit(first)
    second = unit(second - (second * first).sum(-1, keepdim=True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _mean(turns: Tensor) -> Tensor:
    """[3, 3] the rotation nearest to rotations [N, 3, 3]."""
    return roma.special_procrustes(turns.mean(0))


def _usual(turns: Tensor) -> Tensor:
    """[3, 3] the rotation that most of [N, 3, 3] are near to: a foot that is down also rolls, and that is no mean."""
    usual = _mean(turns)
    for _ in range(3):
        away = roma.rotmat_geodesic_distance(turns, usual.expand_as(turns))
        usual = _mean(turns[away <= away.median()])
    return usual


def _at_rest(clip: SkeletalClip) -> Tensor:
    """[J, 3] positions in the rest pose, the root at the origin."""
    positions = [torch.zeros(3)]
    for joint, parent in enumerate(clip.parents[1:], start=1):
        positions.append(positions[parent] + clip.offsets[joint])
    return torch.stack(positions)


def _lengths(pose: Pose, part: str) -> Tensor:
    """Length of a bone, over the clip; the shorter side's."""
    after = {start: end for parts in _LIMBS for start, end in pairwise(parts)}[part]
    sides = [(pose.at(f"{after}.{side}") - pose.at(f"{part}.{side}")).norm(dim=-1).median() for side in "LR"]
    return torch.stack(sides).amin()


def _turned_by_file(source: Source) -> list[str]:
    parts = ["hips", "chest", "neck", "head", *(f"{part}.{side}" for part in ("clavicle", "foot") for side in "LR")]
    return [part for part in parts if part in source.joints]


def _trunk(pose: Pose, reference: Reference) -> dict[str, Tensor]:
    """Constants of pelvis, chest, neck, head and collarbones of a skeleton that is never seen upright."""
    source = pose.source
    top = "neck" if "neck" in source.joints else "head"
    shoulders = pose.across("clavicle") if "clavicle.L" in source.joints else pose.across("upper_arm")
    if shoulders.norm(dim=-1).median() < 0.1 * pose.across("upper_arm").norm(dim=-1).median():
        shoulders = pose.across("upper_arm")  # collarbones that begin in one point
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
    """How far a joint is from the top of the trunk, as a share of the trunk's length."""
    trunk = (pose.at(top) - pose.middle("thigh")).norm(dim=-1).median()
    return float((pose.at(top) - pose.at(part)).norm(dim=-1).median() / trunk)


def _foot(pose: Pose, side: str, reference: Reference) -> Tensor:
    """So that the sole is usually level in the fifth of the frames in which this foot is lowest."""
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
    """The axis of an elbow or knee in the axes of the bone above: the mean over frames in which it is bent.

    A limb that never bends has it where the template has it when swung the shortest way from the chest or the
    pelvis to where the limb points; a leg, where its foot says.
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
    """A hand at rest is straight; its palm faces down in a T-pose, else along the elbow's axis on the average."""
    source, key, sign = pose.source, f"hand.{side}", _SIGN[side]
    rest = source.rest
    along = unit(rest[source.joints[key][0]] - rest[source.joints[f"forearm.{side}"][0]])
    turn = pose.turn(key)
    if source.upright:
        palm = swing((sign * _LEFT)[None], along[None])[0] @ -_UP
        return turn_between(reference.hand(side), (along, palm))
    hinge = pose.turn(f"upper_arm.{side}") @ hinges[f"upper_arm.{side}"]
    return _mean(turn.mT @ turn_between(reference.hand(side), (turn @ along, sign * hinge)))
