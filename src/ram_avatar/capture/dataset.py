"""The training data of a capture: close-ups of the person with their mattes, condition maps and boxes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..body.template import HAND_ROLES, SIDES, BodyTemplate, Posed
from ..core.camera import Camera, Lens
from ..core.images import to_tensor
from ..core.progress import Progress, follow
from ..motion.motion import Motion
from ..networks.avatar_network import ConditionMaps
from ..rendering.condition_maps import MAP_CHANNELS, MeshMaps
from ..rendering.frame_maps import FrameMapper
from ..rendering.framing import Square
from .capture import Capture
from .cropper import CloseUpCropper
from .frame_store import FrameStore
from .large_frames import LargeFrames

BOXES = ("face", "left_hand", "right_hand")
"""The parts of the body that have boxes, in their order."""
_KEPT_BYTES = 3 << 30  # of a host's memory; see `_room`
_PREVIOUS_CHANNELS = 4  # of the position map of the frame before
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

    Condition maps are drawn on first use. They are cached on the device (in half precision) if the whole clip fits into
    3 GB, or a third of a GPU's free memory, and redrawn for every batch otherwise.

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
        every = torch.arange(len(frames))
        self._neighbors = torch.stack([capture.neighbors(every, step) for step in (-1, 1)])  # [2, N]
        self._store = FrameStore(self.frames, self.masks, self.inside, self.squares, self._neighbors, device)
        self._background = capture.background()
        self._motion = capture.motion.map(lambda tensor: tensor.to(device))
        self._lenses = torch.tensor([camera.intrinsics for camera in self.cameras]).to(device)
        self._parts = {name: indices.to(device) for name, indices in _parts(template).items()}
        joints = self._project_joints()
        self._boxes = self._boxes_about(joints)
        self.joints, self.boxes = joints.cpu(), self._boxes.cpu()
        self._keeps = len(self) * (MAP_CHANNELS + _PREVIOUS_CHANNELS) * size * size * 2 <= _room(device)
        self._kept: dict[int, MeshMaps] = {}
        self._kept_previous: dict[int, Tensor] = {}
        self._plates: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, index: Tensor, neighbors: bool = True) -> Batch:
        """Return the frames `index` [B].

        At the ends of the clip and next to left-out frames, a frame is its own neighbour.

        Args:
            neighbors: whether images and maps of frames n-1 and n+1 are needed; otherwise frame n takes their place.
        """
        here = index.to(self.device, non_blocking=True)
        image, mask, inside = self._store.frames(index, here)
        return Batch(
            index=here,
            maps=self.maps(index, neighbors),
            image=image,
            mask=mask,
            inside=inside,
            plate=behind(image, mask * inside, self.plates(index)),
            before=self._store.neighbors(index, here, 0) if neighbors else image,
            after=self._store.neighbors(index, here, 1) if neighbors else image,
            boxes=self._boxes[here],
        )

    def maps(self, index: Tensor, neighbors: bool = True) -> ConditionMaps:
        """Return condition maps of the frames `index` [B], with the position maps of the previous frames."""
        now = self._mesh_maps(index)
        if not neighbors:
            return ConditionMaps(previous=now.position, **vars(now))
        previous = torch.cat([self._previous(i) for i in index.tolist()])
        return ConditionMaps(previous=previous.float(), **vars(now))

    def plates(self, index: Tensor) -> Tensor:
        """Return the background plate [B, 3, S, S] in the close-ups of the frames `index` [B]."""
        return to_tensor(torch.stack([self._plate(i) for i in index.tolist()]))

    def plate_window(self, index: int, box: tuple[float, float, float], size: int) -> np.ndarray:
        """Return a square [size, size, 3] uint8 of the background plate.

        Args:
            box: left, top and side of the square in pixels of the frame's close-up.
        """
        square = self.squares[index]
        zoom = square.side / self.size
        left, top, side = (zoom * edge for edge in box)
        return Square(square.left + left, square.top + top, side).cut(self._background, size)

    def _plate(self, index: int) -> Tensor:
        """Return the plate of one frame's close-up [S, S, 3] uint8, from the cache if it is used."""
        if index in self._plates:
            return self._plates[index]
        plate = torch.from_numpy(self.squares[index].cut(self._background, self.size)).to(self.device)
        if self._keeps:
            self._plates[index] = plate
        return plate

    @torch.no_grad()
    def boxes_of(self, posed: Posed, lens: Lens) -> Tensor:
        """Return square boxes [N, 3, 3] about face, left and right hand, of bodies through one close-up's camera."""
        return self._boxes_about(lens.project(posed.joints[..., :3, 3])[..., :2])

    def lens(self, index: int) -> Lens:
        """Return the camera of a frame's close-up, on the device."""
        return Lens(self._lenses[index], self.size, self.size)

    def _mesh_maps(self, index: Tensor) -> MeshMaps:
        """Return the maps of frames, from the cache if it is used."""
        if not self._keeps:
            return self._draw(index)
        for i in index.tolist():
            if i not in self._kept:
                maps = self._draw(torch.tensor([i]))
                self._kept[i] = MeshMaps(**{name: t.half() for name, t in vars(maps).items()})
        kept = MeshMaps.cat([self._kept[i] for i in index.tolist()])
        return MeshMaps(**{name: t.float() for name, t in vars(kept).items()})

    def _draw(self, index: Tensor) -> MeshMaps:
        return MeshMaps.cat([self.mapper.draw(self.posed(i), self.lens(i))[0] for i in index.tolist()])

    def _previous(self, index: int) -> Tensor:
        """Return the position map [1, 4, S, S] of the frame before one, through its close-up."""
        if index in self._kept_previous:
            return self._kept_previous[index]
        before = int(self._neighbors[0][index])
        previous = self.mapper.position(self.posed(before), self.lens(index)).half()
        if self._keeps:
            self._kept_previous[index] = previous
        return previous

    def moment(self, index: int) -> Motion:
        """Return the motion of one frame, on the device."""
        return self._motion[index : index + 1]

    def posed(self, index: int) -> Posed:
        """Return the body as in one frame."""
        return self.mapper.pose(self.moment(index))

    @torch.no_grad()
    def _project_joints(self) -> Tensor:
        """Project the joints [N, J, 2] of every frame to pixels of its close-up."""
        scene, joints = self.capture.camera, []
        for part in self._motion.batches(_DRAWN_AT_ONCE):
            posed = self.mapper.body.pose(*part.parameters())
            joints.append(scene.project(posed.joints[..., :3, 3])[..., :2])
        corners = torch.tensor([[square.left, square.top] for square in self.squares]).to(self.device)
        zooms = torch.tensor([self.size / square.side for square in self.squares]).to(self.device)
        return (torch.cat(joints) - corners[:, None]) * zooms[:, None, None]

    def _boxes_about(self, joints: Tensor) -> Tensor:
        """Return square boxes [N, 3, 3] (left, top, side in pixels) about face, left and right hand, given joints."""
        boxes = []
        for part, indices in self._parts.items():
            low, high = joints[:, indices].amin(1), joints[:, indices].amax(1)
            side = (high - low).amax(1) * (1 + 2 * _BOX_MARGIN) * (1.6 if part == "face" else 1.2)
            boxes.append(torch.cat([(low + high) / 2 - side[:, None] / 2, side[:, None]], 1))
        return torch.stack(boxes, 1)


def _room(device: torch.device) -> int:
    """Return how many bytes the cached maps of a clip may take."""
    return torch.cuda.mem_get_info(device)[0] // 3 if device.type == "cuda" else _KEPT_BYTES


def _parts(template: BodyTemplate) -> dict[str, Tensor]:
    """Return the joints of each of `BOXES`."""
    hands = (template.joints_of(*HAND_ROLES, side=side) for side in SIDES)
    joints = (template.joints_of("neck2", "head", "eye"), *hands)
    return {part: torch.tensor(indices) for part, indices in zip(BOXES, joints, strict=True)}


def behind(image: Tensor, mask: Tensor, plate: Tensor, zoom: float = 1.0) -> Tensor:
    """Return the background [B, 3, S, S] of frames: the frame itself away from the person, the plate near them.

    The plate is a still of a background that moves, flickers and changes its light. The network need not paint that.

    Args:
        zoom: how much larger the images are than those of the mask's own size.
    """
    reach = round(_NEAR * zoom)
    near = F.max_pool2d(mask, 2 * reach + 1, 1, reach)
    return torch.lerp(image, plate, (near / _PERSON).clamp(max=1))
