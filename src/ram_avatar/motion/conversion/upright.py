"""Find which axis of a motion file points up, where its format does not settle it.

Readers assume y up, as most formats have it. Files from Blender, Unreal and many data sets have z up; files from
camera coordinates have -y up. Read with the wrong axis, a standing person lies on their back.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.progress import Progress
from ..joint_map import JointMap
from ..skeleton import SkeletalClip

# Each axis of the file as a direction in this package's world (x left, y back, z up), when the file is read as y up.
AXES = {
    "x": (1.0, 0.0, 0.0),
    "y": (0.0, 0.0, 1.0),
    "z": (0.0, -1.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "-y": (0.0, 0.0, -1.0),
    "-z": (0.0, 1.0, 0.0),
}
_SAMPLED = 500  # frames that are looked at
_ALONG = 0.9  # cosine: a rest pose whose trunk and legs are this close to an axis stands along it
_UP, _DOWN, _OFTEN = 0.8, 0.4, 0.05  # cosines to an axis of an upright body and of another; share of frames that count
_TILT = 0.94  # cosine (20 degrees): people who stand lean less than this on average
# In lengths of a leg:
_ROSE = (0.35, 1.3)  # how much higher hips are in a standing than in a lying person
_WALKED, _STAYED = 0.8, 0.2  # hips of who lies never move this far up or down; and mostly less than that
_ON_FLOOR = 0.15  # feet and backs are on the floor within this
_LOW, _HIGH = 0.45, 0.5  # hips above the lowest joint, of a person who lies and of one who stands
_CENTRED = 0.03  # hips this near to 0 were put there: their height says nothing


@dataclass(frozen=True)
class Up:
    """Which axis of a file points up."""

    axis: str  # a key of `AXES`
    body: str  # the axis that the body is along, on average; another one for a person who lies


def find_up(clip: SkeletalClip, mapping: JointMap, usual: str | None = "y", sunk: float = 0.0) -> Up:
    """Find the axis of the file that points up.

    It is the axis that the person is upright along, on average, unless they lie. In a format that has a usual axis, a
    rest pose that stands along the same one settles it. Otherwise the motion decides: hips are higher while a body is
    upright, nobody who lies climbs into the air, feet are on the floor of those who stand, backs on that of those who
    lie. Where none of this tells, a person lies whose rest pose stands along another axis, or who is aslant.

    Args:
        clip: read as if y were up.
        usual: the axis that the format has up, None where files differ (y and z) and rest poses tell nothing.
        sunk: metres by which the floor, in a world with y up, may be above 0, since the clip's root is off.
    """
    body = _Body(clip, mapping)
    along, rest = body.along(), _rest_axis(clip, mapping)
    likely = usual if usual != along else None  # where nothing tells
    if usual and rest and rest != usual:
        likely = rest if along != usual else None
        usual = rest if along or body.trunk_is_nearer(rest, usual) else usual  # that of the program that wrote it
    if along is None:
        return Up(usual or body.nearest(), body.nearest())
    for other in (usual,) if usual else ("y", "z"):
        if other == along:
            continue
        lies = body.lies(along, other, sunk)
        if lies is None and other == likely:
            lies = rest == other or (other[-1] != along[-1] and body.leans(along))
        if lies:
            return Up(other, along)
    return Up(along, along)


def stand_up(clip: SkeletalClip, mapping: JointMap, up: str) -> SkeletalClip:
    """Turn a clip that was read as if y were up, so that another axis of the file is up.

    A rest pose that stands along an axis is turned to stand along z, too, so that it is known as a standing one.

    Args:
        mapping: which joint is which.
        up: a key of `AXES`.
    """
    if up == "y":
        return clip
    world, rest = _turn_up(up), _turn_up(_rest_axis(clip, mapping) or "y")
    translations = clip.translations
    if torch.equal(rest, torch.eye(3)):
        offsets, rotations = clip.offsets, clip.rotations.clone()
        translations = None if translations is None else translations.clone()
    else:
        offsets, rotations = clip.offsets @ rest.T, rest @ clip.rotations @ rest.T
        translations = None if translations is None else translations @ rest.T
    root = clip.root @ world.T
    rotations[:, 0] = world @ clip.rotations[:, 0] @ rest.T
    if translations is not None:
        translations[:, 0] = root
    return replace(clip, offsets=offsets, rotations=rotations, root=root, translations=translations)


def tell_up(path: str | Path, up: Up, usual: str, progress: Progress) -> None:
    """Note which axis was taken for up, where it is not the usual one or the person lies."""
    if up.axis == up.body == usual:
        return
    if up.axis == up.body:
        said = f"took {up.axis} for up; pass --up={usual} if that is wrong"
    else:
        said = f"took {up.axis} for up, so the person is not upright; pass --up={up.body} if they should be"
    progress.note(f"{path}: {said}")


class _Body:
    """A person in the frames of a clip, seen from outside."""

    def __init__(self, clip: SkeletalClip, mapping: JointMap):
        frames = torch.linspace(0, len(clip) - 1, min(len(clip), _SAMPLED)).round().long()
        _, self.joints = clip[frames].forward()  # [N, J, 3]
        at = lambda part: self.joints[:, clip.joint(mapping[part])]
        middle = lambda part: 0.5 * (at(f"{part}.L") + at(f"{part}.R"))
        self.hips, head, feet = middle("thigh"), at("head"), middle("foot")
        self.trunk, self.legs, self.whole = (_unit(v) for v in (head - self.hips, self.hips - feet, head - feet))
        self.leg = float((middle("thigh") - middle("shin")).norm(dim=-1).median())
        self.leg += float((middle("shin") - feet).norm(dim=-1).median())
        self.leg = max(self.leg, 1e-6)  # a skeleton without legs is refused later

    def nearest(self) -> str:
        """The axis nearest to the body's own way up, on average."""
        mean = (self.trunk + self.legs).mean(0)
        return max(AXES, key=lambda axis: float(mean @ _direction(axis)))

    def along(self) -> str | None:
        """The axis along which both the trunk and the legs are, on average; None where they are not."""
        axis = self.nearest()
        both = [float(part.mean(0) @ _direction(axis)) for part in (self.trunk, self.legs)]
        return axis if min(both) > 0.5 else None

    def trunk_is_nearer(self, axis: str, other: str) -> bool:
        """Whether the trunk is, on average, nearer to one axis than to another."""
        trunk = self.trunk.mean(0)
        return float(trunk @ _direction(axis)) > float(trunk @ _direction(other))

    def leans(self, along: str) -> bool:
        """Whether the body is further from an axis, on average, than people who stand are from the vertical."""
        return float(_unit(self.whole.mean(0)) @ _direction(along)) < _TILT

    def lies(self, along: str, up: str, sunk: float) -> bool | None:
        """Whether the body, which is along one axis, lies in a world with another one up; None if nothing tells."""
        rose_up, rose_along = self._rise(up), self._rise(along)
        if rose_up or rose_along:
            return rose_up > rose_along
        if self._range(up) > _WALKED or (self._on_floor(along, sunk) and self._above_lowest(along) > _HIGH):
            return False
        low = self._on_floor(up, sunk) and self._above_lowest(up) < _LOW and self._height(up) > _CENTRED
        return True if low and self._range(up) < _STAYED else None

    def _rise(self, axis: str) -> float:
        """How much higher the hips are while the body is along an axis, in legs; 0 where that is no getting up."""
        cosine = self.whole @ _direction(axis)
        upright, down = cosine > _UP, cosine < _DOWN
        if min(upright.float().mean(), down.float().mean()) < _OFTEN:
            return 0.0
        height = self.hips @ _direction(axis)
        rise = float(height[upright].median() - height[down].median()) / self.leg
        return rise if _ROSE[0] < rise < _ROSE[1] else 0.0

    def _on_floor(self, axis: str, sunk: float) -> bool:
        """Whether the lowest joint along an axis is usually on a floor at 0."""
        lowest = float((self.joints @ _direction(axis)).amin(1).median()) / self.leg
        return -_ON_FLOOR < lowest < _ON_FLOOR + (sunk / self.leg if axis == "y" else 0.0)

    def _above_lowest(self, axis: str) -> float:
        """How far the hips are above the lowest joint along an axis, in legs."""
        return self._height(axis) - float((self.joints @ _direction(axis)).amin(1).median()) / self.leg

    def _range(self, axis: str) -> float:
        """How far the hips go along an axis, in legs."""
        height = self.hips @ _direction(axis)
        return float(height.quantile(0.95) - height.quantile(0.05)) / self.leg

    def _height(self, axis: str) -> float:
        """Where the hips are along an axis, in legs."""
        return float((self.hips @ _direction(axis)).median()) / self.leg


def _direction(axis: str) -> Tensor:
    return torch.tensor(AXES[axis])


def _turn_up(axis: str) -> Tensor:
    """[3, 3] the shortest turn that takes an axis of the file to z; about x for the opposite one."""
    x, y, z = AXES[axis]
    if z:
        return torch.diag(torch.tensor([1.0, z, z]))
    # The axis is level: it goes to z, and z to its opposite.
    return torch.tensor([[y * y, -x * y, -x], [-x * y, x * x, -y], [x, y, 0.0]])


def _rest_axis(clip: SkeletalClip, mapping: JointMap) -> str | None:
    """The axis along which the rest pose stands; None where it does not."""
    places = [torch.zeros(3)]
    for joint, parent in enumerate(clip.parents[1:], start=1):
        places.append(places[parent] + clip.offsets[joint])
    at = lambda part: places[clip.joint(mapping[part])]
    hips = 0.5 * (at("thigh.L") + at("thigh.R"))
    bones = torch.stack([at("head") - hips, *(at(f"thigh.{side}") - at(f"foot.{side}") for side in "LR")])
    for axis in AXES:
        if (_unit(bones) @ _direction(axis) > _ALONG).all():
            return axis
    return None


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)
