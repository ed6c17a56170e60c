"""Training frames with limbs in poses that the video never showed; see docs/method.md, "Poses never filmed".

There is no true image of such a pose, but most of one: away from the limb that moves, the video's frame is still true.
The limb itself takes the colours of the surface texture and the template's outline, which is all that is certain about
it. Trained on such images, the network draws a limb plainly where the novelty map says that its pose was never filmed,
and leaves the rest alone. Without that map it would have to learn by heart which poses were filmed, and draw plainly
whatever lies between them.
"""

from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..body import AnnyTemplate, load_template
from ..body.template import SIDES, BodyTemplate, Posed
from ..capture.dataset import Batch, CaptureDataset
from ..core.camera import Lens
from ..motion.alignment.prior_file import load_prior
from ..motion.motion import Motion
from ..motion.pose_features import PoseFeatures, to_rotations
from ..networks.avatar_network import ConditionMaps
from ..rendering.filmed_poses import FilmedPoses, bone_weights

_POOL = 4096  # poses that limbs are drawn from
_SPREAD = 1.3  # standard deviations of the prior's latents: a little more varied than what it was fitted to
_ARM = ("clavicle", "upper_arm", "upper_arm_twist", "forearm", "forearm_twist", "hand")
_LEG = ("thigh", "thigh_twist", "shin", "foot", "toes")
_TRIES, _NOVEL = 8, 0.5  # poses drawn at most, and how novel the limbs should be, on average over their vertices
_BOTH_ARMS, _LEGS = 0.5, 0.25  # how often both arms, and the legs as well, are moved
_MARGIN = 3 / 256  # of the image's side: at least this much about a limb moves with it
_CLOTHES = 16 / 256  # of the image's side: so far from a limb, its clothes are looked for


class PoseAugmentation:
    """Moves limbs of training frames.

    Args:
        data: the training frames.
        seed: of all draws. They depend on it, the step and the frame alone, so a batch may be split over processes.
    """

    def __init__(self, data: CaptureDataset, seed: int):
        self._data, self._seed = data, seed
        template = data.mapper.template
        self._mapper, here = data.mapper, template.to("cpu")
        assert data.mapper.filmed is not None
        # Poses are chosen on the host: a GPU would wait for every try.
        self._body = here.body(data.capture.identity.cpu())
        self._filmed = FilmedPoses(here, data.mapper.filmed.directions.cpu())
        self._moves_legs = self._filmed.legs
        self._pool = _poses(here, torch.Generator().manual_seed(seed))
        self._limbs = {
            kind + side: (_pose_joints(here, roles, side), bone_weights(here, kind, side).sum(0))
            for kind, roles in (("arm", _ARM), ("leg", _LEG))
            for side in SIDES
        }

    @torch.no_grad()
    def __call__(self, batch: Batch, frames: list[int], step: int) -> Batch:
        """Return the frames of a batch with other limbs' poses: their maps, and images of what is known of them."""
        moved = [self._move(batch, place, index, step) for place, index in enumerate(frames)]
        stacked = {name: torch.cat([each[name] for each in moved]) for name in moved[0] if name != "maps"}
        maps = [each["maps"] for each in moved]
        joined = {name: torch.cat([getattr(each, name) for each in maps]) for name in vars(maps[0])}
        return replace(batch, maps=ConditionMaps(**joined), **stacked)

    def _move(self, batch: Batch, place: int, index: int, step: int) -> dict:
        data = self._data
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + step) * 1_000_003 + index)
        lens, filmed = data.lens(index), data.capture.motion[index : index + 1]
        joints, weight = self._choose(generator)
        moved = self._moved(filmed, joints, weight, generator).map(lambda tensor: tensor.to(data.device))
        posed, weight = self._mapper.pose(moved), weight.to(data.device)
        maps, _ = self._mapper.draw(posed, lens)
        before, after = (self._limb_of(body, lens, weight) for body in (data.posed(index), posed))
        here = slice(place, place + 1)
        shown = (tensor[here] for tensor in (batch.image, batch.mask, batch.plate, batch.inside))
        image, mask, plate, inside = shown
        left, covered = _with_clothes(*before, mask), maps.position[:, 3:]
        behind = torch.where(covered > 0.5, maps.color, plate)  # what a limb that has left uncovers
        image, mask = torch.where(left, behind, image), torch.where(left, covered, mask)
        if not data.capture.known_background:
            inside = inside * ~(left & (covered < 0.5))
        # Where a limb happens to be much as filmed, it would look as filmed, which is unknown here.
        inside = inside * torch.where(after[0], maps.novelty, 1.0)
        alpha = F.avg_pool2d(after[0].float(), 3, 1, 1)
        image, mask = torch.lerp(image, maps.color, alpha), torch.maximum(mask, alpha)
        return {
            "maps": ConditionMaps(previous=maps.position, **vars(maps)),
            "image": image,
            "mask": mask,
            "inside": inside,
            "boxes": data.boxes_of(posed, lens),
            "before": image,
            "after": image,
        }

    def _moved(self, filmed: Motion, joints: list[int], weight: Tensor, generator: torch.Generator) -> Motion:
        """Return a frame with the joints of a pose from the pool, the first of some whose limbs are novel."""
        for drawn in self._pool[torch.randint(len(self._pool), (_TRIES,), generator=generator)]:
            pose = filmed.pose.clone()
            pose[:, joints] = drawn[joints]
            posed = Motion(**{**vars(filmed), "pose": pose})
            novelty = self._filmed.novelty(self._body.pose(*posed.parameters()).joints)[0]
            if novelty @ weight > _NOVEL * weight.sum():
                break
        return posed

    def _choose(self, generator: torch.Generator) -> tuple[list[int], Tensor]:
        """Return the pose joints that move, and which vertices move with them [V]."""
        chance = torch.rand(2, generator=generator).tolist()
        sides = SIDES if chance[0] < _BOTH_ARMS else SIDES[int(torch.randint(2, (1,), generator=generator))]
        names = [f"arm{side}" for side in sides] + [
            f"leg{side}" for side in SIDES if self._moves_legs and chance[1] < _LEGS
        ]
        chosen = [self._limbs[name] for name in names]
        weights = torch.stack([weight for _, weight in chosen])
        return [joint for joints, _ in chosen for joint in joints], weights.sum(0)

    def _limb_of(self, posed: Posed, lens: Lens, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return where an image shows the limbs, and where it shows any of the body, [1, 1, S, S] bool each."""
        limb, body = (self._mapper.weight(posed, weight, lens) > 0.5).chunk(2, 1)
        return limb, body


def _with_clothes(limb: Tensor, body: Tensor, mask: Tensor) -> Tensor:
    """Return where a limb is with its clothes, the person's pixels that are nearer to it than to the rest.

    Args:
        limb, body: [1, 1, S, S] bool, where the limb and where any of the body is drawn.
        mask: [1, 1, S, S] of the person.
    """
    size = mask.shape[-1]
    shown, rest, person = torch.cat([limb, body & ~limb, mask > 0.05], 1)[0].cpu().numpy()
    to_limb, to_rest = (cv2.distanceTransform((~part).astype(np.uint8), cv2.DIST_L2, 3) for part in (shown, rest))
    clothes = (to_limb < to_rest) & (to_limb < _CLOTHES * size) & person
    near = (to_limb <= _MARGIN * size) & ~rest
    return torch.from_numpy(shown | clothes | near)[None, None].to(mask.device)


def _poses(template: BodyTemplate, generator: torch.Generator) -> Tensor:
    """Draw poses [N, P, 3] from the motion prior, which is Anny's; other templates take over what has the same role."""
    anny = template if isinstance(template, AnnyTemplate) else load_template()
    features = PoseFeatures(anny)
    prior, _ = load_prior(None, anny.name, features.names)
    latents = _SPREAD * torch.randn(_POOL, prior.config.latent, generator=generator)
    with torch.no_grad():
        decoded = prior.decoder(latents).double().numpy()
    none = np.zeros((_POOL, 3)), np.zeros((_POOL, len(anny.pose_joints), 3))
    _, pose = features.with_body(to_rotations(decoded), *none)
    drawn = dict(zip(anny.pose_roles, torch.from_numpy(pose).float().unbind(1), strict=True))
    return torch.stack([drawn.get(role, torch.zeros(_POOL, 3)) for role in template.pose_roles], 1)


def _pose_joints(template: BodyTemplate, roles: tuple[str, ...], side: str) -> list[int]:
    """Return the indices of a limb's joints among the pose joints; fingers stay as filmed."""
    wanted = {f"{role}.{side}" for role in roles}
    return [index for index, role in enumerate(template.pose_roles) if role in wanted]
