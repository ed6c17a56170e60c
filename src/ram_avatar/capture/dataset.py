"""What the trainer sees of a capture: close-ups of the person, their mattes, maps and boxes, by frame index."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..body.template import HAND_ROLES, BodyTemplate
from ..core.camera import Camera
from ..core.images import to_tensor
from ..core.progress import Progress, follow
from ..motion.motion import Motion
from ..networks.avatar_network import ConditionMaps
from ..rendering.condition_maps import MAP_CHANNELS, ConditionMapper, MeshMaps
from .capture import Capture
from .cropper import CloseUpCropper

_KEPT_BYTES = 3 << 30  # condition maps are kept in memory up to this, and drawn anew beyond
_DRAWN_AT_ONCE = 8
_BOX_MARGIN = 0.25
_NEAR = 2  # pixels about the person in which their frame does not show the background alone
_PERSON = 0.1  # of the matte, from which the frame tells nothing of the background


@dataclass
class Batch:
    """Frames of a capture, as close-ups, on one device. Pictures are in [-1, 1]."""

    index: Tensor  # [B] frame numbers
    maps: ConditionMaps
    image: Tensor  # [B, 3, S, S]
    mask: Tensor  # [B, 1, S, S] person, [0, 1]
    inside: Tensor  # [B, 1, S, S] what the video shows, 0 or 1
    plate: Tensor  # [B, 3, S, S] what is behind the person
    before: Tensor  # [B, 3, S, S] frame n-1, through the close-up of frame n
    after: Tensor  # [B, 3, S, S] frame n+1, likewise


class CaptureDataset:
    """The close-ups of a capture at one size.

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
        cropper = CloseUpCropper(capture, template)
        self.squares = cropper.squares
        self.cameras = [cropper.camera(index, size) for index in range(len(capture))]
        self.mapper = ConditionMapper(template, capture.identity, Camera.default(size, size), texture)
        frames, masks, inside = [], [], []
        for index, (frame, mask) in enumerate(follow(capture.frames(), progress, "Reading frames", len(capture))):
            frames.append(cropper.cut(index, frame, size))
            masks.append(cropper.cut(index, mask, size))
            inside.append(cropper.inside(index, size))
        self.frames = torch.from_numpy(np.stack(frames))  # [N, S, S, 3] uint8
        self.masks = torch.from_numpy(np.stack(masks))[:, None]  # [N, 1, S, S] uint8
        self.inside = torch.from_numpy(np.stack(inside))[:, None]  # [N, 1, S, S] bool
        self._background = capture.background()
        self.joints = self._project_joints()
        self.boxes = self._part_boxes()
        self._keeps = len(self) * MAP_CHANNELS * size * size * 2 <= _KEPT_BYTES
        self._kept: list[MeshMaps | None] = [None] * len(self)

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, index: Tensor, neighbors: bool = True) -> Batch:
        """The frames `index` [B].

        At the ends of the clip, and next to frames that were left out, a frame is its own neighbour.

        Args:
            neighbors: whether frames n-1 and n+1 are needed, in pictures and in maps; without, frame n is there.
        """
        image, mask, inside = self._pictures(index), self.masks[index].to(self.device).float() / 255, self.inside[index]
        inside = inside.to(self.device).float()
        return Batch(
            index=index.to(self.device),
            maps=self.maps(index, neighbors),
            image=image,
            mask=mask,
            inside=inside,
            plate=behind(image, mask * inside, self.plates(index)),
            before=self._seen_through(index, -1) if neighbors else image,
            after=self._seen_through(index, 1) if neighbors else image,
        )

    def maps(self, index: Tensor, neighbors: bool = True) -> ConditionMaps:
        """Condition maps of the frames `index` [B], with the position maps of the frames before them."""
        now = self._mesh_maps(index)
        if not neighbors:
            return ConditionMaps(previous=now.position, **vars(now))
        before = self.capture.neighbors(index, -1).tolist()
        previous = [self._draw_position(there, here) for here, there in zip(index.tolist(), before, strict=True)]
        return ConditionMaps(previous=torch.cat(previous), **vars(now))

    def plates(self, index: Tensor) -> Tensor:
        """[B, 3, S, S] the background plate in the close-ups of the frames `index` [B]."""
        cut = [self.squares[i].cut(self._background, self.size) for i in index.tolist()]
        return to_tensor(np.stack(cut)).to(self.device)

    def _pictures(self, index: Tensor) -> Tensor:
        return to_tensor(self.frames[index].to(self.device))

    def _seen_through(self, index: Tensor, step: int) -> Tensor:
        """[B, 3, S, S] the frames next to some, through the close-ups of these: what both show."""
        there = self.capture.neighbors(index, step)
        grids = []
        for here, other in zip(index.tolist(), there.tolist(), strict=True):
            mine, theirs = self.squares[here], self.squares[other]
            zoom = mine.side / theirs.side
            right = (2 * (mine.left - theirs.left) + mine.side) / theirs.side - 1
            down = (2 * (mine.top - theirs.top) + mine.side) / theirs.side - 1
            grids.append([[zoom, 0.0, right], [0.0, zoom, down]])
        grid = F.affine_grid(
            torch.tensor(grids, dtype=torch.float32, device=self.device), [len(index), 3, self.size, self.size], False
        )
        return F.grid_sample(self._pictures(there), grid, padding_mode="border", align_corners=False)

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
        drawn = [self.mapper(self._moment(i), self.cameras[i]) for i in index.tolist()]
        return MeshMaps.cat(drawn)

    def _draw_position(self, there: int, here: int) -> Tensor:
        """[1, 4, S, S] the position map of one frame through the close-up of another."""
        return self.mapper.positions(self._moment(there), self.cameras[here])

    def _moment(self, index: int) -> Motion:
        return self.capture.motion[[index]].map(lambda t: t.to(self.device))

    @torch.no_grad()
    def _project_joints(self) -> Tensor:
        """[N, J, 2] joints of every frame, in pixels of its close-up."""
        scene, joints = self.capture.camera, []
        for part in self.capture.motion.batches(_DRAWN_AT_ONCE):
            posed = self.mapper.body.pose(*part.map(lambda t: t.to(self.device)).parameters())
            joints.append(scene.project(posed.joints[..., :3, 3])[..., :2].cpu())
        corners = torch.tensor([[square.left, square.top] for square in self.squares])
        zooms = torch.tensor([self.size / square.side for square in self.squares])
        return (torch.cat(joints) - corners[:, None]) * zooms[:, None, None]

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


def behind(image: Tensor, mask: Tensor, plate: Tensor) -> Tensor:
    """[B, 3, S, S] what is behind the person in frames: the frame itself where nobody is near, else the plate.

    A plate is one picture of a background that in truth moves, flickers and is lit anew. None of that is the person's
    to paint.
    """
    near = F.max_pool2d(mask, 2 * _NEAR + 1, 1, _NEAR)
    return torch.lerp(image, plate, (near / _PERSON).clamp(max=1))
