"""The training data of a capture: close-ups of the person with their mattes, condition maps and boxes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..body.template import HAND_ROLES, SIDES, BodyTemplate
from ..core.camera import Camera
from ..core.images import to_tensor
from ..core.progress import Progress, follow
from ..motion.motion import Motion
from ..networks.avatar_network import ConditionMaps
from ..rendering.condition_maps import MAP_CHANNELS, MeshMaps
from ..rendering.frame_maps import FrameMapper
from ..rendering.framing import Square
from .capture import Capture
from .cropper import CloseUpCropper
from .large_frames import LargeFrames

BOXES = ("face", "left_hand", "right_hand")
"""The parts of the body that have boxes, in their order."""
_KEPT_BYTES = 3 << 30  # condition maps are cached if all fit into this, and redrawn for every batch otherwise
_DRAWN_AT_ONCE = 8
_BOX_MARGIN = 0.25
_NEAR = 2  # pixels about the person where the frame does not show the background alone
_PERSON = 0.1  # matte value from which the frame shows nothing of the background


@dataclass
class Batch:
    """Frames of a capture as close-ups, on one device. Images are in [-1, 1]."""

    index: Tensor  # [B] frame numbers
    maps: ConditionMaps
    image: Tensor  # [B, 3, S, S]
    mask: Tensor  # [B, 1, S, S] person, [0, 1]
    inside: Tensor  # [B, 1, S, S] within the video's frame, 0 or 1
    plate: Tensor  # [B, 3, S, S] background, see `behind`
    before: Tensor  # [B, 3, S, S] frame n-1, through the close-up of frame n
    after: Tensor  # [B, 3, S, S] frame n+1, likewise
    boxes: Tensor  # [B, 3, 3] squares about face, left and right hand: left, top, side in pixels


class CaptureDataset:
    """The close-ups of a capture at one size.

    Condition maps are drawn on first use. They are cached (in half precision) if the whole clip fits into 3 GB, and
    redrawn for every batch otherwise.

    Args:
        texture: [3, T, T] surface colours in [-1, 1].
        size: S, side of the close-ups in pixels.
        device: where batches are placed.
        filmed: [K, 4, 2, 3] poses of the limbs that the network knows (`rendering.filmed_poses`).
        large: side of the larger close-ups to keep as well, at most the video's own; 0 keeps none.

    Attributes:
        large: the larger close-ups, or None.
    """

    def __init__(
        self,
        capture: Capture,
        template: BodyTemplate,
        texture: Tensor,
        size: int,
        device: torch.device,
        progress: Progress,
        filmed: Tensor | None = None,
        large: int = 0,
    ):
        self.capture, self.size, self.device = capture, size, device
        cropper = CloseUpCropper(capture, template)
        self.squares = cropper.squares
        self.cameras = [cropper.camera(index, size) for index in range(len(capture))]
        self.mapper = FrameMapper(template, capture.identity, Camera.default(size, size), texture, filmed)
        own = round(float(np.median([square.side for square in self.squares])))
        self.large = LargeFrames(min(large, own)) if min(large, own) > size else None
        frames, masks, inside = [], [], []
        for index, (frame, mask) in enumerate(follow(capture.frames(), progress, "Reading frames", len(capture))):
            frames.append(cropper.cut(index, frame, size))
            masks.append(cropper.cut(index, mask, size))
            inside.append(cropper.inside(index, size))
            if self.large is not None:
                self.large.append(cropper.cut(index, frame, self.large.size))
        self.frames = torch.from_numpy(np.stack(frames))  # [N, S, S, 3] uint8
        self.masks = torch.from_numpy(np.stack(masks))[:, None]  # [N, 1, S, S] uint8
        self.inside = torch.from_numpy(np.stack(inside))[:, None]  # [N, 1, S, S] bool
        self._background = capture.background()
        self.joints = self._project_joints()
        self.boxes = self._boxes_about(self.joints)
        self._keeps = len(self) * MAP_CHANNELS * size * size * 2 <= _KEPT_BYTES
        self._kept: dict[int, MeshMaps] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, index: Tensor, neighbors: bool = True) -> Batch:
        """Return the frames `index` [B].

        At the ends of the clip and next to left-out frames, a frame is its own neighbour.

        Args:
            neighbors: whether images and maps of frames n-1 and n+1 are needed; otherwise frame n takes their place.
        """
        image, mask = self._images(index), self.masks[index].to(self.device).float() / 255
        inside = self.inside[index].to(self.device).float()
        return Batch(
            index=index.to(self.device),
            maps=self.maps(index, neighbors),
            image=image,
            mask=mask,
            inside=inside,
            plate=behind(image, mask * inside, self.plates(index)),
            before=self._seen_through(index, -1) if neighbors else image,
            after=self._seen_through(index, 1) if neighbors else image,
            boxes=self.part_boxes(index),
        )

    def maps(self, index: Tensor, neighbors: bool = True) -> ConditionMaps:
        """Return condition maps of the frames `index` [B], with the position maps of the previous frames."""
        now = self._mesh_maps(index)
        if not neighbors:
            return ConditionMaps(previous=now.position, **vars(now))
        before = self.capture.neighbors(index, -1).tolist()
        previous = [self._draw_position(there, here) for here, there in zip(index.tolist(), before, strict=True)]
        return ConditionMaps(previous=torch.cat(previous), **vars(now))

    def plates(self, index: Tensor) -> Tensor:
        """Return the background plate [B, 3, S, S] in the close-ups of the frames `index` [B]."""
        cut = [self.squares[i].cut(self._background, self.size) for i in index.tolist()]
        return to_tensor(np.stack(cut)).to(self.device)

    def plate_window(self, index: int, box: tuple[float, float, float], size: int) -> np.ndarray:
        """Return a square [size, size, 3] uint8 of the background plate.

        Args:
            box: left, top and side of the square in pixels of the frame's close-up.
        """
        square = self.squares[index]
        zoom = square.side / self.size
        left, top, side = (zoom * edge for edge in box)
        return Square(square.left + left, square.top + top, side).cut(self._background, size)

    def _images(self, index: Tensor) -> Tensor:
        return to_tensor(self.frames[index].to(self.device))

    def _seen_through(self, index: Tensor, step: int) -> Tensor:
        """Return the neighbours [B, 3, S, S] of frames through the frames' close-ups, where both show the scene."""
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
        return F.grid_sample(self._images(there), grid, padding_mode="border", align_corners=False)

    def part_boxes(self, index: Tensor) -> Tensor:
        """Return square boxes [B, 3, 3] (left, top, side in pixels) about face, left and right hand of frames [B]."""
        return self.boxes[index.cpu()].to(self.device)

    @torch.no_grad()
    def boxes_of(self, motion: Motion, camera: Camera) -> Tensor:
        """Return the same boxes [N, 3, 3] for frames of any motion, through one close-up's camera."""
        joints = self.mapper.body.pose(*motion.parameters()).joints[..., :3, 3]
        return self._boxes_about(camera.project(joints)[..., :2])

    def _mesh_maps(self, index: Tensor) -> MeshMaps:
        """Return the maps of frames, from the cache if it is used."""
        if not self._keeps:
            return self._draw(index)
        for i in index.tolist():
            if i not in self._kept:
                maps = self._draw(torch.tensor([i]))
                self._kept[i] = MeshMaps(**{name: t.half().cpu() for name, t in vars(maps).items()})
        kept = MeshMaps.cat([self._kept[i] for i in index.tolist()])
        return MeshMaps(**{name: t.to(self.device).float() for name, t in vars(kept).items()})

    def _draw(self, index: Tensor) -> MeshMaps:
        drawn = [self.mapper(self.moment(i), self.cameras[i]) for i in index.tolist()]
        return MeshMaps.cat(drawn)

    def _draw_position(self, there: int, here: int) -> Tensor:
        """Draw the position map [1, 4, S, S] of one frame through the close-up of another."""
        return self.mapper.positions(self.moment(there), self.cameras[here])

    def moment(self, index: int) -> Motion:
        """Return the motion of one frame, on the device."""
        return self.capture.motion[[index]].map(lambda t: t.to(self.device))

    @torch.no_grad()
    def _project_joints(self) -> Tensor:
        """Project the joints [N, J, 2] of every frame to pixels of its close-up."""
        scene, joints = self.capture.camera, []
        for part in self.capture.motion.batches(_DRAWN_AT_ONCE):
            posed = self.mapper.body.pose(*part.map(lambda t: t.to(self.device)).parameters())
            joints.append(scene.project(posed.joints[..., :3, 3])[..., :2].cpu())
        corners = torch.tensor([[square.left, square.top] for square in self.squares])
        zooms = torch.tensor([self.size / square.side for square in self.squares])
        return (torch.cat(joints) - corners[:, None]) * zooms[:, None, None]

    def _boxes_about(self, joints: Tensor) -> Tensor:
        """Return square boxes [N, 3, 3] (left, top, side in pixels) about face, left and right hand, given joints."""
        joints_of = self.mapper.template.joints_of
        hands = (joints_of(*HAND_ROLES, side=side) for side in SIDES)
        boxes = []
        for part, indices in zip(BOXES, (joints_of("neck2", "head", "eye"), *hands), strict=True):
            low, high = joints[:, indices].amin(1), joints[:, indices].amax(1)
            side = (high - low).amax(1) * (1 + 2 * _BOX_MARGIN) * (1.6 if part == "face" else 1.2)
            boxes.append(torch.cat([(low + high) / 2 - side[:, None] / 2, side[:, None]], 1))
        return torch.stack(boxes, 1)


def behind(image: Tensor, mask: Tensor, plate: Tensor, zoom: float = 1.0) -> Tensor:
    """Return the background [B, 3, S, S] of frames: the frame itself away from the person, the plate near them.

    The plate is a still of a background that moves, flickers and changes its light. The network need not paint that.

    Args:
        zoom: how much larger the images are than those of the mask's own size.
    """
    reach = round(_NEAR * zoom)
    near = F.max_pool2d(mask, 2 * reach + 1, 1, reach)
    return torch.lerp(image, plate, (near / _PERSON).clamp(max=1))
