"""The avatar's network: condition maps in, a person over any background out. See docs/method.md."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .containers import ModuleDict
from .dual_attention import AttentionBranch, DualAttention
from .feature_unet import FeatureUNet
from .hand_detail import DRAWING, TRAINING, HandRule, near_bones, shade_hands
from .layers import channels_last, fold
from .neural_texture import NeuralTexture
from .opacity import PersonAlpha, opaque_head
from .painting import Painting, Rendering, compose
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
        self.alpha = PersonAlpha() if config.alpha else None
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
        self.style_unet = StyleUNet(inputs, 3 + config.sharpness + config.alpha, config.unet_widths, config.style_dim)
        channels_last(self)

    def forward(self, maps: ConditionMaps, style: Tensor | None = None, attention: bool = True) -> Rendering:
        """Return the person at the network's size, see `paint`."""
        return self.compose(self.paint(maps, style, attention), maps.surface)

    def paint(self, maps: ConditionMaps, style: Tensor | None = None, attention: bool = True) -> Painting:
        """Return what the network adds to the surface colours and to the outline.

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
        image = self.style_unet(features, self.styles(style)).float()
        added, sharpness, logit = split_image(image, self.config)
        base, size = self._base(maps.color), self.config.image_size
        near = torch.zeros_like(maps.mask)
        if self.config.keep_hands:
            near = near_bones(maps.hands, size, self.hand_rule)
            added = shade_hands(added, near, size, self.hand_rule)
        if self.alpha is None:
            return Painting(base, added, sharpness)
        return Painting(base, added, sharpness, logit, near, opaque_head(maps.face, size))

    def compose(self, painting: Painting, surface: Tensor, enlarged: bool = False) -> Rendering:
        """Return the person at any size, see `painting.compose`."""
        surface = torch.cat([self._base(surface[:, :3]), surface[:, 3:]], 1)
        belief = surface.new_ones(1) if self.alpha is None else self.alpha.belief
        return compose(painting, surface, belief, self.hand_rule, enlarged)

    def _base(self, color: Tensor) -> Tensor:
        """Return the colours that the network adds to: the surface's, or none without a warm start, as published."""
        return color if self.config.warm_start else torch.zeros_like(color)

    @property
    def hand_rule(self) -> HandRule:
        """How the network is limited near the fingers, if at all."""
        return TRAINING if self.training else DRAWING

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


def split_image(image: Tensor, config: NetworkConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Split what the StyleUNet writes into added colours [B, 3, h, w], sharpness [B, 1, h, w] and alpha's logit.

    Where the network does not decide about the sharpness, it is 1; without an alpha the logit has no channels.
    """
    added, rest = image[:, :3], image[:, 3:]
    if not config.sharpness:
        return added, torch.ones_like(added[:, :1]), rest
    return added, 2 * rest[:, :1].sigmoid(), rest[:, 1:]


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
