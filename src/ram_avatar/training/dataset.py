"""What the trainer sees of a capture: frames, masks, condition maps and boxes, by frame index."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..body.template import HAND_ROLES, BodyTemplate
from ..networks.avatar_network import ConditionMaps
from ..pictures import to_tensor
from ..progress import Progress, follow
from ..rendering.condition_maps import MAP_CHANNELS, ConditionMapper, MeshMaps
from ..tracking.capture import Capture

_KEPT_BYTES = 3 << 30  # condition maps are kept in memory up to this, and drawn anew beyond
_DRAWN_AT_ONCE = 8
_BOX_MARGIN = 0.25


@dataclass
class Batch:
    """Frames of a capture, on one device. Pictures are in [-1, 1]."""

    index: Tensor  # [B] frame numbers
    maps: ConditionMaps
    image: Tensor  # [B, 3, S, S]
    mask: Tensor  # [B, 1, S, S] person, [0, 1]
    before: Tensor  # [B, 3, S, S] frame n-1, see `Capture.neighbors`
    after: Tensor  # [B, 3, S, S] frame n+1


class CaptureDataset:
    """A capture at one size.

    Condition maps are drawn when they are first asked for. They are kept (as half floats) where the whole
    clip fits into 3 GB, and drawn anew for every batch where it does not.
    """

    def __init__(
        self,
        capture: Capture,
        template: BodyTemplate,
        texture: Tensor,
        size: int,
        device: torch.device,
        progress: Progress,
    ):
        self.capture, self.size, self.device = capture, size, device
        self.camera = capture.camera.resized(size)
        self.mapper = ConditionMapper(template, capture.identity, self.camera, texture)
        frames, masks = [], []
        for frame, mask in follow(capture.frames(size), progress, "Reading frames", len(capture)):
            frames.append(frame)
            masks.append(mask)
        self.frames = torch.from_numpy(np.stack(frames))  # [N, S, S, 3] uint8
        self.masks = torch.from_numpy(np.stack(masks))[:, None]  # [N, 1, S, S] uint8
        self.plate = to_tensor(capture.background(size))[None].to(device)  # [1, 3, S, S]
        self.inside = torch.from_numpy(capture.inside(size))[None, None].float().to(device)  # [1, 1, S, S]
        self.joints = self._project_joints()
        self.boxes = self._part_boxes()
        self._keeps = len(self) * MAP_CHANNELS * size * size * 2 <= _KEPT_BYTES
        self._kept: list[MeshMaps | None] = [None] * len(self)

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, index: Tensor) -> Batch:
        """The frames `index` [B]. At the ends of the clip, and next to frames that were left out, a frame is its own
        neighbour."""
        before, after = (self.capture.neighbors(index, step) for step in (-1, 1))
        pictures = lambda i: to_tensor(self.frames[i].to(self.device))  # noqa: E731
        return Batch(
            index=index.to(self.device),
            maps=self.maps(index),
            image=pictures(index),
            mask=self.masks[index].to(self.device).float() / 255,
            before=pictures(before),
            after=pictures(after),
        )

    def maps(self, index: Tensor) -> ConditionMaps:
        """Condition maps of the frames `index` [B], with the position maps of the frames before them."""
        now = self._mesh_maps(index)
        previous = self._mesh_maps(self.capture.neighbors(index, -1)).position
        return ConditionMaps(previous=previous, **vars(now))

    def part_boxes(self, index: Tensor) -> Tensor:
        """[B, 3, 3] square boxes (left, top, side in pixels) about face, left and right hand of the frames [B]."""
        return torch.stack([box[index.cpu()] for box in self.boxes.values()], 1).to(self.device)

    def _mesh_maps(self, index: Tensor) -> MeshMaps:
        if not self._keeps:
            return self._draw(index)
        missing = [i for i in index.tolist() if self._kept[i] is None]
        if missing:
            for i, maps in zip(missing, (self._draw(torch.tensor([i])) for i in missing), strict=True):
                self._kept[i] = MeshMaps(**{name: t.half().cpu() for name, t in vars(maps).items()})
        kept = MeshMaps.cat([self._kept[i] for i in index.tolist()])
        return MeshMaps(**{name: t.to(self.device).float() for name, t in vars(kept).items()})

    def _draw(self, index: Tensor) -> MeshMaps:
        motion = self.capture.motion[index]
        return self.mapper(motion.map(lambda t: t.to(self.device)))

    @torch.no_grad()
    def _project_joints(self) -> Tensor:
        """[N, J, 2] joints of every frame, in pixels."""
        joints = []
        for part in self.capture.motion.batches(_DRAWN_AT_ONCE):
            posed = self.mapper.body.pose(*part.map(lambda t: t.to(self.device)).parameters())
            joints.append(self.camera.project(posed.joints[..., :3, 3])[..., :2].cpu())
        return torch.cat(joints)

    def _part_boxes(self) -> dict[str, Tensor]:
        """Square boxes [N, 3] (left, top, side in pixels) about the face and each hand."""
        joints_of = self.mapper.template.joints_of
        parts = {
            "face": joints_of("neck2", "head", "eye"),
            "left_hand": joints_of(*HAND_ROLES, side="L"),
            "right_hand": joints_of(*HAND_ROLES, side="R"),
        }
        boxes = {}
        for part, indices in parts.items():
            low, high = self.joints[:, indices].amin(1), self.joints[:, indices].amax(1)
            side = (high - low).amax(1) * (1 + 2 * _BOX_MARGIN) * (1.6 if part == "face" else 1.2)
            boxes[part] = torch.cat([(low + high) / 2 - side[:, None] / 2, side[:, None]], 1)
        return boxes
