"""The strongest simple baseline: a U-Net that renders the frame from drawn landmarks.

Follows Chan et al., "Everybody Dance Now", ICCV 2019 (sections 3 and 4.1): the pose is a stick figure, and an
image-to-image network renders the whole frame from it, also given the drawing of the previous frame. There is no
template, texture, style, attention or plate. It is trained on the same frames as the avatar, for as many steps with the
same batch size, at the same cost per frame, with the same photometric and perceptual losses, so that only the method
differs.

The temporal discriminator and the face GAN of that paper are omitted: the fair comparison is an avatar trained
without its discriminator.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.config import Preset, TrainingConfig
from ram_avatar.core.device import choose_precision, multiplies_bf16
from ram_avatar.core.images import to_array, to_tensor
from ram_avatar.core.progress import Progress
from ram_avatar.networks.layers import EqualizedConv2d, activate, upsample
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.training.loss_crops import detail_cuts, person_windows
from ram_avatar.training.losses import PerceptualLoss, smooth_l1
from ram_avatar.training.schedule import frames_of_step, learning_rate_factor

Line = tuple[int, ...]

# Lines through MediaPipe's landmarks, by the channel they are drawn in. One channel per part keeps limbs apart where
# they cross, which colours in one image do not.
BODY_LINES: dict[str, list[Line]] = {
    "torso": [(11, 12, 24, 23, 11)],
    "left_arm": [(11, 13, 15)],
    "right_arm": [(12, 14, 16)],
    "left_leg": [(23, 25, 27, 29, 31, 27)],
    "right_leg": [(24, 26, 28, 30, 32, 28)],
}
HAND_LINES: dict[str, list[Line]] = {
    "thumb": [(0, 1, 2, 3, 4)],
    "index": [(0, 5, 6, 7, 8)],
    "middle": [(0, 9, 10, 11, 12)],
    "ring": [(0, 13, 14, 15, 16)],
    "little": [(0, 17, 18, 19, 20)],
}
FACE_LINES: dict[str, list[Line]] = {
    "outline": [
        (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
         150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    ],
    "brows_and_nose": [(276, 283, 282, 295, 285), (46, 53, 52, 65, 55), (168, 6, 197, 195, 5, 4), (98, 2, 327)],
    "lids": [
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
        (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    ],
    "irises": [(474, 475, 476, 477, 474), (469, 470, 471, 472, 469)],
    "lips": [
        (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146, 61),
        (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78),
    ],
}  # fmt: skip
CHANNELS = (*BODY_LINES, *HAND_LINES, *FACE_LINES)
"""The channels of a drawing. The fingers of both hands share channels; the arms distinguish the hands."""

LEARNING_RATE = 3e-2
"""For equalized layers, see `networks.layers`."""
_BODY_WIDTH, _FINE_WIDTH = 3, 1  # width of lines in pixels at 256; antialiasing widens them by one or two
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_WIDTH_SHARES = (1, 2, 3, 5, 6)  # relative widths of the levels, from half the size down, as in the avatar's network
_COST_TOLERANCE = 0.1
_CONTRAST = 4.0  # drawings are almost all black: amplifies the input of the first layer


def draw_landmarks(
    landmarks: Sequence[Landmarks], size: int, scale: float = 1.0, offset: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """Draw the landmarks of N frames as stick figures.

    The brightness of a bone is the lower visibility of its ends. Hands and faces are drawn in full, or omitted where
    the detector found none (NaN). Lines are antialiased, and their width scales with the size.

    Args:
        size: S, height and width of the drawings.
        scale: pixels of the drawing per pixel of the landmarks.
        offset: position of the landmarks' origin, the corner of their frame, in the drawing (x, y in its pixels).

    Returns:
        [N, C, S, S] uint8, the C channels of `CHANNELS`.
    """
    return torch.from_numpy(np.stack([_draw(frame, size, scale, offset) for frame in landmarks]))


def _draw(frame: Landmarks, size: int, scale: float, offset: tuple[float, float]) -> np.ndarray:
    canvas = {name: np.zeros((size, size), np.uint8) for name in CHANNELS}
    bold, fine = (max(1, round(width * size / 256)) for width in (_BODY_WIDTH, _FINE_WIDTH))
    seen = np.ones(len(frame.face))
    for points, brightness, lines, width in (
        (frame.pose, frame.visibility, BODY_LINES, bold),
        (frame.left_hand, seen, HAND_LINES, fine),
        (frame.right_hand, seen, HAND_LINES, fine),
        (frame.face, seen, FACE_LINES, fine),
    ):
        if not np.isfinite(points[:, :2]).all():
            continue
        # Pixel centres are at integers in OpenCV and at half integers in the detector.
        places = np.rint((points[:, :2] * scale + offset - 0.5) * 2**_SHIFT).astype(np.int32)
        for name, chains in lines.items():
            for a, b in (bone for chain in chains for bone in pairwise(chain)):
                value = round(255 * float(min(brightness[a], brightness[b])))
                ends = tuple(places[a].tolist()), tuple(places[b].tolist())
                cv2.line(canvas[name], *ends, value, width, cv2.LINE_AA, _SHIFT)
    return np.stack(list(canvas.values()))


class LandmarkUNet(nn.Module):
    """A plain U-Net from the drawings of a frame and its predecessor to the whole frame.

    Args:
        widths: channels per level, from half the image size down, halving it each time.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = EqualizedConv2d(2 * len(CHANNELS) + 2, widths[0], stride=2)
        self.refine = nn.ModuleList(EqualizedConv2d(fine, fine) for fine in widths[:-1])
        self.down = nn.ModuleList(EqualizedConv2d(fine, coarse, stride=2) for fine, coarse in pairwise(widths))
        self.across = EqualizedConv2d(widths[-1], widths[-1])
        steps_up = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(EqualizedConv2d(coarse, fine) for coarse, fine in steps_up)
        self.merge = nn.ModuleList(EqualizedConv2d(2 * fine, fine) for _, fine in steps_up)
        self.to_rgb = EqualizedConv2d(widths[0], 3 * 4, gain=1.0)  # four pixels of the full size each
        self.to(memory_format=torch.channels_last)

    def forward(self, drawing: Tensor, previous: Tensor) -> Tensor:
        """Render frames.

        Args:
            drawing, previous: [B, C, S, S] in [0, 1], see `draw_landmarks`; S is divisible by 2**len(widths).

        Returns:
            [B, 3, S, S] RGB, about [-1, 1], not clamped.
        """
        drawn = _CONTRAST * torch.cat([drawing, previous], 1)
        x = torch.cat([drawn, _coordinates(drawn)], 1).contiguous(memory_format=torch.channels_last)
        x = activate(self.enter(x))
        skips = []
        for refine, down in zip(self.refine, self.down, strict=True):
            skips.append(activate(refine(x)))
            x = activate(down(skips[-1]))
        x = activate(self.across(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = upsample(activate(up(x)))
            x = activate(merge(torch.cat([x, skips.pop()], 1)))
        return F.pixel_shuffle(self.to_rgb(x), 2)

    @classmethod
    def of_cost(cls, gflop: float, size: int) -> "LandmarkUNet":
        """Return the U-Net of a given cost per frame of `size` x `size`.

        Raises:
            ValueError: No widths come within 10 % of the cost.
        """
        low, high = 1.0, 1024.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if _gflop(_widths(middle), size) < gflop else (low, middle)
        widths = _widths(high)
        if abs(_gflop(widths, size) / gflop - 1) > _COST_TOLERANCE:
            raise ValueError(
                f"no U-Net of {gflop:.3g} GFLOP per frame of {size} pixels; the nearest widths are {widths}"
            )
        return cls(widths)


def _coordinates(images: Tensor) -> Tensor:
    """Return pixel coordinates [B, 2, S, S] (x, y) in [-1, 1] for images [B, C, S, S].

    The drawings do not show the background; the network renders it from these (Liu et al., "CoordConv", 2018).
    """
    ramp = torch.linspace(-1, 1, images.shape[-1], device=images.device, dtype=images.dtype)
    return torch.stack(torch.meshgrid(ramp, ramp, indexing="xy")).expand(len(images), -1, -1, -1)


def _widths(first: float) -> list[int]:
    return [max(1, round(first * share)) for share in _WIDTH_SHARES]


def _gflop(widths: list[int], size: int) -> float:
    """Return the cost of one frame in 1e9 floating-point operations."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        blank = torch.zeros(1, len(CHANNELS), size, size)
        LandmarkUNet(widths)(blank, blank)
    return counter.get_total_flops() / 1e9


def train_landmark_unet(
    data: CaptureDataset, landmarks: Sequence[Landmarks], preset: Preset, gflop: float, progress: Progress
) -> LandmarkUNet:
    """Train a U-Net on the training frames of an avatar of this preset, with the preset's seed.

    Args:
        landmarks: of every frame of the capture, in pixels of its close-up in `data`.
        gflop: cost per frame, that of the avatar's network by `torch.utils.flop_counter`.

    Raises:
        ValueError: Some frames have no landmarks, or no U-Net has this cost.
    """
    if len(landmarks) != len(data):
        raise ValueError(f"landmarks of {len(landmarks)} frames for a capture of {len(data)}")
    config, frames = preset.training, data.capture.train_frames
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = LandmarkUNet.of_cost(gflop, data.size).to(data.device).train()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, config.betas)
    perceptual = PerceptualLoss(config.perceptual_layers).to(data.device, memory_format=torch.channels_last)
    half = choose_precision("auto", preset.precision, data.device) == "bf16-mixed"
    precision = partial(torch.autocast, data.device.type, torch.bfloat16, enabled=half)

    def draw(index: Tensor) -> Tensor:
        drawn = draw_landmarks([landmarks[i] for i in index.tolist()], data.size)
        return drawn.to(data.device).float() / 255

    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * learning_rate_factor(step, config)
        index = frames_of_step(step, frames, config)
        with precision():
            rendered = network(draw(index), draw(data.capture.neighbors(index, -1))).float()
        loss = _loss(rendered, index, data, config, perceptual)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        progress.step("Training the landmark U-Net", step + 1, config.steps)
    return network.eval()


def _loss(
    rendered: Tensor, index: Tensor, data: CaptureDataset, config: TrainingConfig, perceptual: PerceptualLoss
) -> Tensor:
    """Return the photometric and perceptual terms of the avatar's loss; see `training.trainer`."""
    image = to_tensor(data.frames[index].to(data.device))
    mask = data.masks[index].to(data.device).float() / 255
    inside = data.inside[index].to(data.device).float()
    photometric = smooth_l1(rendered, image, inside * (1 + config.person_weight * mask))
    seen, truth = rendered * inside, image * inside
    with torch.autocast(data.device.type, torch.bfloat16, enabled=multiplies_bf16(data.device)):
        window, cut = person_windows(mask * inside), detail_cuts(data.boxes[index], data.size)
        person = perceptual(window(seen), window(truth))
        detail = perceptual(cut(seen), cut(truth))
    return config.photometric_weight * photometric + config.perceptual_weight * person + config.detail_weight * detail


@torch.no_grad()
def paint(network: LandmarkUNet, drawings: Iterable[Tensor]) -> np.ndarray:
    """Render the frames of a clip, in order.

    Args:
        drawings: [N, C, S, S] uint8, or an iterable of [C, S, S] to save memory.

    Returns:
        [N, S, S, 3] uint8 RGB.
    """
    device = next(network.parameters()).device
    frames, previous = [], None
    for drawing in drawings:
        now = drawing[None].to(device).float() / 255
        frames.append(to_array(network(now, now if previous is None else previous)[0]))
        previous = now
    return np.stack(frames)
