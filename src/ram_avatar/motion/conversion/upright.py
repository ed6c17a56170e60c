"""Finding the up axis of a motion file, where the format does not fix it.

Readers assume y up, as most formats have it. Files from Blender, Unreal and many data sets have z up; files in camera
coordinates have -y up. Read with the wrong axis, a standing person lies on their back.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.progress import Progress
from ..axes import AXES
from ..joint_map import JointMap
from ..skeleton import SkeletalClip

_SAMPLED = 500  # frames that are examined
_ALONG = 0.9  # cosine; a rest pose stands along an axis if its trunk and legs are this close to it
_UP, _DOWN, _OFTEN = 0.8, 0.4, 0.05  # cosines of upright and of lying bodies; fraction of frames that counts
_TILT = 0.94  # cosine (20 degrees); standing people lean less than this on average
# In leg lengths:
_ROSE = (0.35, 1.3)  # how much higher the hips of a standing person are than those of a lying one
_WALKED, _STAYED = 0.8, 0.2  # a lying person's hips never move this far up or down, and mostly less than the second
_ON_FLOOR = 0.15  # feet and backs this close to the floor are on it
_LOW, _HIGH = 0.45, 0.5  # height of the hips above the lowest joint: at most this lying, at least this standing
_CENTRED = 0.03  # hips this close to 0 were centred, so that their height says nothing


@dataclass(frozen=True)
class Up:
    """The up axis of a file."""

    axis: str  # a key of `AXES`
    body: str  # the axis that the body is along on average; differs for a lying person


def find_up(clip: SkeletalClip, mapping: JointMap, usual: str | None = "y", sunk: float = 0.0) -> Up:
    """Find the up axis of a file.

    Usually it is the axis that the person is upright along, on average; not so if they lie. A rest pose that stands
    along the format's usual axis settles it. Otherwise the motion decides: hips are higher while a body is upright,
    lying people do not rise far, and the feet of standing people or the backs of lying ones are on the floor. If none
    of this applies, a person is taken to be lying if the rest pose stands along another axis, or if they are oblique.

    Args:
        clip: read as if y were up.
        usual: the format's usual up axis; None where files differ (y and z) and rest poses tell nothing.
        sunk: metres by which the floor of a y-up world may be above 0, because the clip's root is offset.
    """
    body = _Body(clip, mapping)
    along, rest = body.along(), _rest_axis(clip, mapping)
    likely = usual if usual != along else None  # if nothing else decides
    if usual and rest and rest != usual:
        likely = rest if along != usual else None
        usual = rest if along or body.trunk_is_nearer(rest, usual) else usual  # the writing program's
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
    """Turn a clip that was read as if y were up so that another axis of the file is up.

    A rest pose that stands along an axis is turned to stand along z, too, so that it is recognized as standing.

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


def note_up(path: str | Path, up: Up, usual: str, progress: Progress) -> None:
    """Note which axis was assumed to be up, if it is not the usual one or the person is lying."""
    if up.axis == up.body == usual:
        return
    if up.axis == up.body:
        said = f"assumed {up.axis} is up; pass --up={usual} if that is wrong"
    else:
        said = f"assumed {up.axis} is up, so the person is not upright; pass --up={up.body} if they should be"
    progress.note(f"{path}: {said}")


class _Body:
    """Statistics of a person's body in the frames of a clip."""

    def __init__(self, clip: SkeletalClip, mapping: JointMap):
        frames = torch.linspace(0, len(clip) - 1, min(len(clip), _SAMPLED)).round().long()
        _, self.joints = clip[frames].forward()  # [N, J, 3]
        at = lambda part: self.joints[:, clip.joint(mapping[part])]
        middle = lambda part: 0.5 * (at(f"{part}.L") + at(f"{part}.R"))
        self.hips, head, feet = middle("thigh"), at("head"), middle("foot")
        self.trunk, self.legs, self.whole = (_unit(v) for v in (head - self.hips, self.hips - feet, head - feet))
        self.leg = float((middle("thigh") - middle("shin")).norm(dim=-1).median())
        self.leg += float((middle("shin") - feet).norm(dim=-1).median())
        self.leg = max(self.leg, 1e-6)  # a skeleton without legs is rejected later

    def nearest(self) -> str:
        """Return the axis nearest to the body's own up direction, on average."""
        mean = (self.trunk + self.legs).mean(0)
        return max(AXES, key=lambda axis: float(mean @ _direction(axis)))

    def along(self) -> str | None:
        """Return the axis that both trunk and legs are along, on average; None if there is none."""
        axis = self.nearest()
        both = [float(part.mean(0) @ _direction(axis)) for part in (self.trunk, self.legs)]
        return axis if min(both) > 0.5 else None

    def trunk_is_nearer(self, axis: str, other: str) -> bool:
        """Return whether the trunk is, on average, nearer to one axis than to another."""
        trunk = self.trunk.mean(0)
        return float(trunk @ _direction(axis)) > float(trunk @ _direction(other))

    def leans(self, along: str) -> bool:
        """Return whether the body leans from an axis, on average, more than standing people lean."""
        return float(_unit(self.whole.mean(0)) @ _direction(along)) < _TILT

    def lies(self, along: str, up: str, sunk: float) -> bool | None:
        """Return whether a body along one axis is lying in a world with another one up; None if undecided."""
        rose_up, rose_along = self._rise(up), self._rise(along)
        if rose_up or rose_along:
            return rose_up > rose_along
        if self._range(up) > _WALKED or (self._on_floor(along, sunk) and self._above_lowest(along) > _HIGH):
            return False
        low = self._on_floor(up, sunk) and self._above_lowest(up) < _LOW and self._height(up) > _CENTRED
        return True if low and self._range(up) < _STAYED else None

    def _rise(self, axis: str) -> float:
        """Return how much higher the hips are while the body is along an axis, in leg lengths; 0 if implausible."""
        cosine = self.whole @ _direction(axis)
        upright, down = cosine > _UP, cosine < _DOWN
        if min(upright.float().mean(), down.float().mean()) < _OFTEN:
            return 0.0
        height = self.hips @ _direction(axis)
        rise = float(height[upright].median() - height[down].median()) / self.leg
        return rise if _ROSE[0] < rise < _ROSE[1] else 0.0

    def _on_floor(self, axis: str, sunk: float) -> bool:
        """Return whether the lowest joint along an axis is usually on a floor at 0."""
        lowest = float((self.joints @ _direction(axis)).amin(1).median()) / self.leg
        return -_ON_FLOOR < lowest < _ON_FLOOR + (sunk / self.leg if axis == "y" else 0.0)

    def _above_lowest(self, axis: str) -> float:
        """Return the height of the hips above the lowest joint along an axis, in leg lengths."""
        return self._height(axis) - float((self.joints @ _direction(axis)).amin(1).median()) / self.leg

    def _range(self, axis: str) -> float:
        """Return the range of the hips along an axis, in leg lengths."""
        height = self.hips @ _direction(axis)
        return float(height.quantile(0.95) - height.quantile(0.05)) / self.leg

    def _height(self, axis: str) -> float:
        """Return the position of the hips along an axis, in leg lengths."""
        return float((self.hips @ _direction(axis)).median()) / self.leg


def _direction(axis: str) -> Tensor:
    return torch.tensor(AXES[axis])


def _turn_up(axis: str) -> Tensor:
    """Return the shortest rotation [3, 3] that takes an axis of the file to z; about x for the opposite one."""
    x, y, z = AXES[axis]
    if z:
        return torch.diag(torch.tensor([1.0, z, z]))
    # A level axis goes to z, and z to its opposite.
    return torch.tensor([[y * y, -x * y, -x], [-x * y, x * x, -y], [x, y, 0.0]])


def _rest_axis(clip: SkeletalClip, mapping: JointMap) -> str | None:
    """Return the axis along which the rest pose stands; None if there is none."""
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
