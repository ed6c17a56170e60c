"""The avatar's network: condition maps in, a person over any background out (method, sections 2 to 5)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .dual_attention import AttentionBranch, DualAttention
from .feature_unet import FeatureUNet
from .hand_detail import DRAWING, TRAINING, keep_hands
from .layers import fold
from .neural_texture import NeuralTexture
from .opacity import PersonAlpha, WholeFrame, soft_outline
from .style_unet import StyleUNet

FACE_MAP_CHANNELS = 3
HAND_MAP_CHANNELS = 5
SURFACE_CHANNELS = 4


@dataclass
class ConditionMaps:
    """A batch of what the network is told of a posed body. Float tensors, all on one device."""

    position: Tensor
    """[B, 4, H, W]: canonical coordinates in [-1, 1], 0 outside; then the coverage mask {0, 1}."""
    previous: Tensor
    """[B, 4, H, W]: the position map of frame n-1; of frame n itself where a clip begins."""
    expanded: Tensor
    """[B, 4, H, W]: the position map of the mesh pushed out along its normals."""
    face: Tensor
    """[B, 3, H, W]: the face map."""
    hands: Tensor
    """[B, 5, H, W]: the finger bones, a channel per finger."""
    color: Tensor
    """[B, 3, H, W]: colours of the template's surface texture in [-1, 1], spread beyond its outline; 0 far from it."""

    @property
    def mask(self) -> Tensor:
        """[B, 1, H, W]: the coverage mask {0, 1}."""
        return self.position[:, 3:]

    @property
    def surface(self) -> Tensor:
        """[B, 4, H, W]: the surface colours and the coverage mask, what a warm start is given."""
        return torch.cat([self.color, self.mask], 1)

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, samples) -> "ConditionMaps":
        """A slice, or any choice of samples that keeps the batch dimension."""
        return ConditionMaps(**{name: tensor[samples] for name, tensor in vars(self).items()})

    def to(self, *args, **kwargs) -> "ConditionMaps":
        """As `Tensor.to`, of every map."""
        return ConditionMaps(**{name: tensor.to(*args, **kwargs) for name, tensor in vars(self).items()})


@dataclass
class Rendering:
    """A person, to be laid over a background."""

    color: Tensor
    """[B, 3, H, W] RGB, about [-1, 1], not clamped."""
    alpha: Tensor
    """[B, 1, H, W] in [0, 1]."""

    def over(self, plate: Tensor) -> Tensor:
        """The picture [B, 3, H, W] over a plate [B or 1, 3, H, W] in [-1, 1]."""
        return plate + self.alpha * (self.color - plate)


class AvatarNetwork(nn.Module):
    """Neural texture, dual attention, face and hand networks, StyleUNet.

    Before any training it draws the surface colours of the condition maps, over the plate where it has an
    alpha (and nothing, where its configuration has no warm start). Its parameters are in channels-last order,
    which is the fast one on CPUs and on tensor cores.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.neural_texture = NeuralTexture(config.texture_channels, config.texture_resolution)
        self.dual_attention = _dual_attention(config)
        self.part_networks = _part_networks(config)
        self.start = surface_color if config.warm_start else no_color
        self.added = with_hands_kept if config.keep_hands else as_it_is
        self.alpha = PersonAlpha() if config.alpha else WholeFrame()
        self.styles = StyleCodes(config.styles if config.style_codes else 1, config.style_dim)
        channels = {
            "body": config.body_channels,
            "attention": config.attends * config.attention_channels,
            "face": config.face * config.face_channels,
            "hands": config.hands * config.hand_channels,
            "surface": config.warm_start * SURFACE_CHANNELS,
        }
        inputs = {name: count for name, count in channels.items() if count}
        self.style_unet = StyleUNet(inputs, 3 + config.alpha, config.unet_widths, config.style_dim)
        self.to(memory_format=torch.channels_last)

    def forward(self, maps: ConditionMaps, style: Tensor | None = None, attention: bool = True) -> Rendering:
        """
        Args:
            maps: of size `config.image_size`.
            style: [B] frame numbers whose style codes are used, as in training; None for the mean code.
            attention: False leaves dual attention out, as the first steps of training do; its channels are
                then zero.
        """
        others = list(self.dual_attention.branches) if attention else []
        positions = [maps.position, *(getattr(maps, name) for name in others)]
        body, *other_bodies = self.neural_texture(*positions)
        features = {"body": body}
        features |= {name: network(getattr(maps, name)) for name, network in self.part_networks.items()}
        if others:
            features["attention"] = self.dual_attention(body, dict(zip(others, other_bodies, strict=True)))
        image, outline = self.added(maps, self.style_unet(features, self.styles(style)).float(), self.training)
        return Rendering(self.start(maps) + image[:, :3], self.alpha(image[:, 3:], outline, maps.face))

    def mark_trained(self, frames: Iterable[int]) -> None:
        """Say which frames are trained on: only their style codes enter the mean code."""
        self.styles.mark_trained(frames)


class StyleCodes(nn.Module):
    """A learned code per training frame, or one that all share."""

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.codes = nn.Parameter(0.1 * torch.randn(count, dim))
        self.register_buffer("style_trained", torch.zeros(count, dtype=torch.bool))

    def forward(self, frames: Tensor | None) -> Tensor:
        """Codes [B, dim] of the frames [B]; the mean code [1, dim] for None (zero before any is trained)."""
        if frames is None:
            trained = self.style_trained.to(self.codes.dtype)
            return (trained @ self.codes / trained.sum().clamp(min=1))[None]
        return self.codes[frames] if len(self.codes) > 1 else self.codes.expand(len(frames), -1)

    def mark_trained(self, frames: Iterable[int]) -> None:
        """See `AvatarNetwork.mark_trained`."""
        self.style_trained[list(frames) if len(self.codes) > 1 else 0] = True


class Fold(nn.Module):
    """A map that needs no network of its own, see `layers.fold`."""

    def forward(self, x: Tensor) -> Tensor:
        return fold(x)


def surface_color(maps: ConditionMaps) -> Tensor:
    """The warm start: the picture is what the network adds to these."""
    return maps.color


def no_color(maps: ConditionMaps) -> Tensor:
    """No warm start, as published."""
    return torch.zeros_like(maps.color)


def as_it_is(maps: ConditionMaps, image: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """What the network adds is added everywhere; and the outline that it is added to."""
    return image, soft_outline(maps.mask)


def with_hands_kept(maps: ConditionMaps, image: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """At the hands less is added, see `hand_detail`."""
    rule = TRAINING if training else DRAWING
    return keep_hands(image, soft_outline(maps.mask), maps.mask, maps.hands, maps.hands.shape[-1], rule)


def _dual_attention(config: NetworkConfig) -> DualAttention:
    attended = {"previous": config.temporal_attention, "expanded": config.spatial_attention}
    sizes = (config.attention_channels, config.attention_widths, config.attention_distance_power)
    return DualAttention(
        {name: AttentionBranch(config.body_channels, *sizes) for name, used in attended.items() if used}
    )


def _part_networks(config: NetworkConfig) -> nn.ModuleDict:
    networks = nn.ModuleDict()
    if config.face:
        networks["face"] = FeatureUNet(FACE_MAP_CHANNELS, config.face_channels, config.feature_widths)
    if config.hands:
        networks["hands"] = FeatureUNet(HAND_MAP_CHANNELS, config.hand_channels, config.feature_widths)
    if config.warm_start:
        networks["surface"] = Fold()
    return networks
