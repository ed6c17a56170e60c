"""The avatar's network: condition maps in, a person over any background out. See docs/method.md."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .containers import ModuleDict
from .dual_attention import AttentionBranch, DualAttention
from .feature_unet import FeatureUNet
from .hand_detail import DRAWING, TRAINING, keep_hands
from .layers import channels_last, fold
from .neural_texture import NeuralTexture
from .opacity import PersonAlpha, WholeFrame, soft_outline
from .style_unet import StyleUNet

FACE_MAP_CHANNELS = 3
HAND_MAP_CHANNELS = 5
SURFACE_CHANNELS = 4


@dataclass
class ConditionMaps:
    """The network's input: a batch of maps of a posed body. Float tensors, all on one device."""

    position: Tensor
    """[B, 4, H, W]: canonical coordinates in [-1, 1], 0 outside; then the coverage mask {0, 1}."""
    previous: Tensor
    """[B, 4, H, W]: the position map of frame n-1; at the start of a clip, that of frame n itself."""
    expanded: Tensor
    """[B, 4, H, W]: the position map of the mesh pushed out along its normals."""
    face: Tensor
    """[B, 3, H, W]: the face map."""
    hands: Tensor
    """[B, 5, H, W]: the finger bones, one channel per finger."""
    color: Tensor
    """[B, 3, H, W]: colours of the template's surface texture in [-1, 1], spread beyond its outline; 0 far from it."""
    novelty: Tensor
    """[B, 1, H, W]: how far the limb shown is from the poses that were filmed, 0 to 1; spread likewise."""

    @property
    def mask(self) -> Tensor:
        """[B, 1, H, W]: the coverage mask {0, 1}."""
        return self.position[:, 3:]

    @property
    def surface(self) -> Tensor:
        """[B, 4, H, W]: the surface colours and the coverage mask, input of the warm start."""
        return torch.cat([self.color, self.mask], 1)

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, samples: slice | list[int] | Tensor) -> "ConditionMaps":
        """Select samples; the batch dimension stays."""
        return ConditionMaps(**{name: tensor[samples] for name, tensor in vars(self).items()})

    def to(self, *args: Any, **kwargs: Any) -> "ConditionMaps":
        """Apply `Tensor.to` to every map."""
        return ConditionMaps(**{name: tensor.to(*args, **kwargs) for name, tensor in vars(self).items()})


@dataclass
class Rendering:
    """A person, to be composited over a background."""

    color: Tensor
    """[B, 3, H, W] RGB, roughly in [-1, 1], not clamped."""
    alpha: Tensor
    """[B, 1, H, W] in [0, 1]."""

    def over(self, plate: Tensor) -> Tensor:
        """Composite over a plate [B or 1, 3, H, W] in [-1, 1]; return the image [B, 3, H, W]."""
        return plate + self.alpha * (self.color - plate)


class AvatarNetwork(nn.Module):
    """Neural texture, dual attention, face and hand networks, StyleUNet.

    Untrained, it draws the surface colours of the condition maps, over the plate if it has an alpha; without a warm
    start it draws nothing. Its parameters are in channels-last order, which is faster on CPUs and tensor cores.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.neural_texture = NeuralTexture(config.texture_channels, config.texture_resolution)
        self.dual_attention = _dual_attention(config)
        self.part_networks = _part_networks(config)
        self.base_color: Callable[[ConditionMaps], Tensor] = surface_color if config.warm_start else no_color
        self.limit: Callable[[ConditionMaps, Tensor, bool], tuple[Tensor, Tensor]]
        self.limit = limited_at_hands if config.keep_hands else unlimited
        self.alpha: PersonAlpha | WholeFrame = PersonAlpha() if config.alpha else WholeFrame()
        self.styles = StyleCodes(config.styles if config.style_codes else 1, config.style_dim)
        channels = {
            "body": config.body_channels,
            "attention": config.attends * config.attention_channels,
            "face": config.face * config.face_channels,
            "hands": config.hands * config.hand_channels,
            "surface": config.warm_start * SURFACE_CHANNELS,
            "novelty": int(config.novelty),
        }
        inputs = {name: count for name, count in channels.items() if count}
        self.style_unet = StyleUNet(inputs, 3 + config.alpha, config.unet_widths, config.style_dim)
        channels_last(self)

    def forward(self, maps: ConditionMaps, style: Tensor | None = None, attention: bool = True) -> Rendering:
        """
        Args:
            maps: of size `config.image_size`.
            style: [B] frame numbers whose style codes to use, in training; None for the mean code.
            attention: False skips dual attention, as in the first steps of training; its channels are then zero.
        """
        others = list(self.dual_attention.branches) if attention else []
        positions = [maps.position, *(getattr(maps, name) for name in others)]
        body, *other_bodies = self.neural_texture(*positions)
        features = {"body": body}
        features |= {name: network(getattr(maps, name)) for name, network in self.part_networks.items()}
        if others:
            features["attention"] = self.dual_attention(body, dict(zip(others, other_bodies, strict=True)))
        image, outline = self.limit(maps, self.style_unet(features, self.styles(style)).float(), self.training)
        return Rendering(self.base_color(maps) + image[:, :3], self.alpha(image[:, 3:], outline, maps.face))

    def mark_trained(self, frames: Iterable[int]) -> None:
        """Mark the training frames: only their style codes enter the mean code."""
        self.styles.mark_trained(frames)


class StyleCodes(nn.Module):
    """A learned style code per training frame, or a single shared one."""

    style_trained: Tensor

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.codes = nn.Parameter(0.1 * torch.randn(count, dim))
        self.register_buffer("style_trained", torch.zeros(count, dtype=torch.bool))

    def forward(self, frames: Tensor | None) -> Tensor:
        """Return codes [B, dim] of frames [B], or the mean code [1, dim] for None (zero if none is trained)."""
        if frames is None:
            trained = self.style_trained.to(self.codes.dtype)
            return (trained @ self.codes / trained.sum().clamp(min=1))[None]
        return self.codes[frames] if len(self.codes) > 1 else self.codes.expand(len(frames), -1)

    def mark_trained(self, frames: Iterable[int]) -> None:
        """Mark the training frames, see `AvatarNetwork.mark_trained`."""
        self.style_trained[list(frames) if len(self.codes) > 1 else 0] = True


class Fold(nn.Module):
    """Stands in for a part network where a map needs none; see `layers.fold`."""

    def forward(self, x: Tensor) -> Tensor:
        return fold(x)


def surface_color(maps: ConditionMaps) -> Tensor:
    """Return the warm start's colours, which the network adds to."""
    return maps.color


def no_color(maps: ConditionMaps) -> Tensor:
    """Return zeros: no warm start, as published."""
    return torch.zeros_like(maps.color)


def unlimited(maps: ConditionMaps, image: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Return all that the network adds, and the outline it adds to."""
    return image, soft_outline(maps.mask)


def limited_at_hands(maps: ConditionMaps, image: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Return less of what the network adds near the hands, and the outline; see `hand_detail`."""
    rule = TRAINING if training else DRAWING
    return keep_hands(image, soft_outline(maps.mask), maps.mask, maps.hands, maps.hands.shape[-1], rule)


def _dual_attention(config: NetworkConfig) -> DualAttention:
    attended = {"previous": config.temporal_attention, "expanded": config.spatial_attention}
    sizes = (config.attention_channels, config.attention_widths, config.attention_distance_power)
    return DualAttention(
        {name: AttentionBranch(config.body_channels, *sizes) for name, used in attended.items() if used}
    )


def _part_networks(config: NetworkConfig) -> ModuleDict[FeatureUNet | Fold]:
    networks: dict[str, FeatureUNet | Fold] = {}
    if config.face:
        networks["face"] = FeatureUNet(FACE_MAP_CHANNELS, config.face_channels, config.feature_widths)
    if config.hands:
        networks["hands"] = FeatureUNet(HAND_MAP_CHANNELS, config.hand_channels, config.feature_widths)
    if config.warm_start:
        networks["surface"] = Fold()
    if config.novelty:
        networks["novelty"] = Fold()
    return ModuleDict(networks)
