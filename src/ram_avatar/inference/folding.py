"""A trained avatar's network folded into plain layers: everything constant is computed once.

The style code is constant, so modulation, demodulation, the scales of equalized layers and the Haar transforms become
part of the weights. Consecutive linear layers become one: only the StyleUNet's first layer reads the output of the
face, hand and attention networks. Every step is exact up to rounding.

On a CPU, computing only `Windows` saves more: the face and hand networks run where there is a face or a hand, the
expensive last layers where the person is. All others run on the whole image, since attention and the StyleUNet's coarse
levels reach everywhere.
"""

from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.avatar_network import AvatarNetwork, split_image
from ..networks.containers import ModuleDict
from ..networks.dual_attention import AttentionBranch, distance_weight
from ..networks.feature_unet import FeatureUNet
from ..networks.hand_detail import DRAWING, near_bones, shade_hands
from ..networks.layers import (
    SLOPE,
    EqualizedConv2d,
    ModulatedConv2d,
    activate,
    channels_last,
    fold,
    haar,
    upsample,
)
from ..networks.neural_texture import look_up, sample
from ..networks.opacity import opaque_head
from ..networks.painting import Painting, Rendering, compose
from ..networks.style_unet import Decoder, StyleUNet
from ..rendering.condition_maps import MeshMaps
from ..rendering.rectangles import Window, crop

PART_REACH = 16
"""Receptive field of the face and hand networks: no feature depends on pixels farther away than this."""


@dataclass(frozen=True)
class Windows:
    """The parts of an image to compute; all starts and sides are multiples of four.

    Attributes:
        person: the part of the image that is wanted.
        parts: for "face" and "hands", non-overlapping windows that hold everything their map shows, with a margin of at
            least twice `PART_REACH`: once because features reach that far, and once because features that near a
            window's edge are wrong.
    """

    person: Window
    parts: dict[str, list[Window]]


class FoldedNetwork(nn.Module):
    """A network from the condition maps of one frame to what is painted of the person.

    Args:
        network: trained; it is not modified.
    """

    planes: Tensor
    ground: Tensor | None
    """What the StyleUNet's first layer gets of face and hand maps that are empty; None without these networks."""
    belief: Tensor

    @torch.no_grad()
    def __init__(self, network: AvatarNetwork):
        super().__init__()
        config, unet = network.config, network.style_unet
        enter = {name: layer.used_weight() for name, layer in unet.enter.items()}  # each [widths[0], 4 * inputs]
        self.config = config
        self.size, self.alpha, self.warm_start = config.image_size, config.alpha, config.warm_start
        self.keep_hands, self.novelty = config.keep_hands, config.novelty
        self.register_buffer("planes", network.neural_texture.planes.tanh())
        self.body = _linear(enter["body"], unet.enter["body"].bias)
        part_networks = {n: part for n, part in network.part_networks.items() if isinstance(part, FeatureUNet)}
        self.parts = ModuleDict({name: FoldedPart(part, enter[name]) for name, part in part_networks.items()})
        folded = [_squares(enter[name]) for name in ("surface", "novelty") if name in enter]
        self.surface = _convolution(torch.cat(folded, 1), None, 2) if folded else None
        branches = network.dual_attention.branches
        self.branches = ModuleDict({name: FoldedBranch(branch, self.size // 4) for name, branch in branches.items()})
        if branches:
            write = [_after(enter["attention"], branch.up) for branch in branches.values()]
            weights, biases = zip(*write, strict=True)
            self.attended = _convolution(torch.cat(weights, 1), reduce(torch.add, biases))
        for name, part in self.parts.items():
            part.set_nothing(self.planes.new_zeros(1, part_networks[name].inputs, self.size, self.size))
        ground = reduce(torch.add, (part.nothing for part in self.parts.values())) if self.parts else None
        self.register_buffer("ground", ground)
        self.unet = FoldedUNet(unet, network.styles(None))
        belief = torch.ones(1) if network.alpha is None else network.alpha.belief
        self.register_buffer("belief", belief.detach().clone())
        channels_last(self.requires_grad_(False).eval())

    @property
    def attends_to_previous(self) -> bool:
        """Whether the output depends on frame n-1."""
        return "previous" in self.branches

    def in_bf16(self) -> "FoldedNetwork":
        """Switch convolutions and matrix products to bf16, in place; coordinates and the image stay float32."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.bfloat16()
        if self.ground is not None:
            self.ground = self.ground.bfloat16()
        return self

    def forward(self, maps: MeshMaps, previous: Tensor | None = None, windows: Windows | None = None) -> Tensor:
        """
        Args:
            maps: of one frame.
            previous: [1, 4, S, S] the position map of frame n-1, seen by the camera of frame n; None at the start of a
                clip or without a temporal branch.
            windows: None for the whole image; no shape then depends on the content of the maps.

        Returns:
            [1, 7 or 10, h, w] float32: the painting of the window `person`, see `Painting.stack`.
        """
        whole = Window.whole(self.size)
        person = windows.person if windows else whole
        image = self.unet(self._enter(maps, previous, windows), person).float()
        added, sharpness, logit = split_image(image, self.config)
        base = crop(maps.color, person, whole) if self.warm_start else torch.zeros_like(added)
        near = torch.zeros_like(added[:, :1])
        if self.keep_hands:
            added, near = self._limited_at_hands(added, near, crop(maps.hands, person, whole), person, windows)
        if not self.alpha:
            return Painting(base, added, sharpness).stack()
        return Painting(base, added, sharpness, logit, near, self._opaque_head(maps.face, person, windows)).stack()

    def compose(self, painted: Tensor, surface: Tensor, enlarged: bool = False) -> Rendering:
        """Return the person from a stacked painting and the surface at its size, see `painting.compose`."""
        if not self.warm_start:
            surface = torch.cat([torch.zeros_like(surface[:, :3]), surface[:, 3:]], 1)
        return compose(Painting.of(painted), surface, self.belief, DRAWING, enlarged)

    def _opaque_head(self, face: Tensor, person: Window, windows: Windows | None) -> Tensor:
        """Return `opacity.opaque_head` of the window `person`; the head lies within the face's window."""
        whole = Window.whole(self.size)
        if windows is None:
            return opaque_head(face, self.size)
        opaque = face.new_zeros(1, 1, person.height, person.width)
        for window in windows.parts["face"]:
            if window.meets(person):
                here, head = window.shared(person), opaque_head(crop(face, window, whole), self.size)
                crop(opaque, here, person).copy_(crop(head, here, window))
        return opaque

    def _limited_at_hands(
        self, added: Tensor, near: Tensor, hands: Tensor, person: Window, windows: Windows | None
    ) -> tuple[Tensor, Tensor]:
        """Shade the colours near the bones of the window `person`, within the hands' windows; return where is near."""
        if windows is None:
            near = near_bones(hands, self.size, DRAWING)
            return shade_hands(added, near, self.size, DRAWING), near
        for window in windows.parts["hands"]:
            if window.meets(person):
                here = window.shared(person)
                shown, bones = (crop(x, here, person) for x in (added, hands))
                nearby = near_bones(bones, self.size, DRAWING)
                crop(near, here, person).copy_(nearby)
                shown.copy_(shade_hands(shown, nearby, self.size, DRAWING))
        return added, near

    def _enter(self, maps: MeshMaps, previous: Tensor | None, windows: Windows | None) -> Tensor:
        """Return the StyleUNet's input [1, widths[0], H/2, W/2]."""
        # The StyleUNet and every attention branch read the body features of frame n.
        readers = [self.body, *(branch.down1 for branch in self.branches.values())]
        body, *first = self._read(maps.position, readers, windows)
        x = body
        if self.branches:
            seen = {name: self.branches[name].encode(y) for name, y in zip(self.branches, first, strict=True)}
            positions = {"previous": previous, "expanded": maps.expanded}
            found = []
            for name, y in seen.items():
                branch, position = self.branches[name], positions[name]
                other = y if position is None else branch.encode(self._read(position, [branch.down1], windows)[0])
                found.append(branch.attend(y, other))
            x = x + self.attended(upsample(torch.cat(found, 1)))
        if self.surface is not None:
            given = [maps.color, maps.position[:, 3:], *([maps.novelty] if self.novelty else [])]
            x = x + self.surface(torch.cat(given, 1).to(x.dtype))
        if windows is None:
            return activate(sum((part(getattr(maps, name).to(x.dtype)) for name, part in self.parts.items()), x))
        if self.ground is not None:
            x = x + self.ground
        for name, part in self.parts.items():
            shown = getattr(maps, name).to(x.dtype)
            for window in windows.parts[name]:
                _add(x, part(crop(shown, window, Window.whole(self.size))), part.nothing, window, self.size)
        return activate(x)

    def _read(self, position: Tensor, readers: list[nn.Linear], windows: Windows | None) -> list[Tensor]:
        """Apply layers to the body features of a position map; of each, [1, outputs, H/2, W/2]."""
        half, dtype = self.size // 2, self.body.weight.dtype
        if windows is None:
            features = sample(self.planes, fold(position)).to(dtype).permute(0, 2, 3, 1)
            return [reader(features).permute(0, 3, 1, 2) for reader in readers]
        # A person covers about a fifth of an image; for all other squares of four pixels the layers yield their bias.
        pixels = fold(position).permute(0, 2, 3, 1).reshape(half * half, 4, 4)
        covered = pixels[:, :, 3].amax(1).nonzero().squeeze(1)  # [N]
        squares = pixels.index_select(0, covered).flatten(0, 1)  # [4 N, 4]
        features = look_up(self.planes, squares) * squares[:, 3:]
        features = features.reshape(len(covered), self.body.in_features).to(dtype)
        read = [r.bias.repeat(half * half, 1).index_copy_(0, covered, r(features)) for r in readers]
        return [y.view(1, half, half, -1).permute(0, 3, 1, 2) for y in read]


class FoldedPart(nn.Module):
    """The face or hand network, joined with the StyleUNet's first layer."""

    nothing: Tensor
    """The output for an empty map."""

    def __init__(self, part: FeatureUNet, enter: Tensor):
        super().__init__()
        self.down1 = _convolution(_squares(part.down1.used_weight()), part.down1.bias, 2)
        self.down2, self.across, self.up1 = _plain(part.down2), _plain(part.across), _plain(part.up1)
        self.up2 = _convolution(*_after(enter, part.up2))

    def set_nothing(self, empty: Tensor) -> None:
        """Compute `nothing` from an empty map [1, inputs, S, S]."""
        self.register_buffer("nothing", self(empty))

    def forward(self, x: Tensor) -> Tensor:
        """Map [1, inputs, h, w] to [1, widths[0], h/2, w/2]."""
        half = activate(self.down1(x))
        y = activate(self.across(activate(self.down2(half))))
        return self.up2(activate(self.up1(torch.cat([upsample(y), half], 1))))


class FoldedBranch(nn.Module):
    """An attention branch without its last layer.

    Args:
        size: of the maps that attend to each other.
    """

    distance: Tensor | None
    itself: Tensor

    def __init__(self, branch: AttentionBranch, size: int):
        super().__init__()
        self.down1 = _linear(branch.down1.used_weight(), branch.down1.bias)
        self.down2 = _plain(branch.down2)
        attention = branch.attention
        query, key = attention.query.used_weight(), attention.key.used_weight()
        value = attention.gain * attention.value.used_weight()
        self.read = _linear(torch.cat([query, key, value]), None)
        self.channels = [len(query), len(key), len(value)]
        power = attention.distance_power
        self.register_buffer("distance", distance_weight(size, power, query.device) if power else None)
        # A position lies in its own row and column; count it once, in its row.
        self.register_buffer("itself", torch.zeros(size, size, device=query.device).fill_diagonal_(-torch.inf))

    def encode(self, x: Tensor) -> Tensor:
        """Encode the output of `down1` [1, C, H/2, W/2] to [1, widths[1], H/4, W/4]."""
        return activate(self.down2(F.leaky_relu(x, SLOPE)))

    def attend(self, current: Tensor, other: Tensor) -> Tensor:
        """Attend from one encoded map to another; return a map of their size. See `AttentionBranch`."""
        x, y = current.permute(0, 2, 3, 1), other.permute(0, 2, 3, 1)
        queries, keys, values = self.channels
        key, value = F.linear(y, self.read.weight[queries:]).split([keys, values], 3)
        x = x + self._gather(F.linear(x, self.read.weight[:queries]), key, value)
        return (x + self._gather(*self.read(x).split(self.channels, 3))).permute(0, 3, 1, 2)

    def _gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Gather values [1, H, W, C] along every position's row and column; see `CrissCrossAttention`."""
        height, width = query.shape[1:3]
        row = (query @ key.transpose(2, 3)).float()  # [1, H, W, W]
        column = (query.transpose(1, 2) @ key.permute(0, 2, 3, 1)).float()  # [1, W, H, H]
        if self.distance is not None:
            row, column = row * self.distance, column * self.distance
        column = column + self.itself
        weight = torch.cat([row, column.transpose(1, 2)], 3).softmax(3).to(value.dtype)
        row, column = weight.split([width, height], 3)
        return row @ value + (column.transpose(1, 2) @ value.transpose(1, 2)).transpose(1, 2)


class FoldedUNet(nn.Module):
    """The StyleUNet after its first layer, with one style."""

    def __init__(self, unet: StyleUNet, style: Tensor):
        super().__init__()
        self.refine = nn.ModuleList(_plain(encoder.refine) for encoder in unet.encoders)
        self.down = nn.ModuleList(_plain(encoder.down) for encoder in unet.encoders)
        self.across = _styled(unet.across, style)
        self.up = nn.ModuleList(_styled(decoder.up, style) for decoder in unet.decoders)
        self.merge = nn.ModuleList(_styled(decoder.merge, style) for decoder in unet.decoders)
        self.write = nn.ModuleList(_pixels(decoder, style) for decoder in unet.decoders)

    def forward(self, x: Tensor, wanted: Window) -> Tensor:
        """Map [1, widths[0], H/2, W/2] to the window `wanted` of the image, [1, channels, h, w]."""
        sizes, skips = [], []
        for refine, down in zip(self.refine, self.down, strict=True):
            skips.append(activate(refine(x)))
            sizes.append(x.shape[2])
            x = activate(down(skips[-1]))
        x = activate(self.across(x))
        # The windows to compute, from the finest level down: each level needs a larger one of the next.
        made = [wanted.halved()]
        for size in sizes:
            made.append(made[-1].grown(1, size).source(size // 2).grown(1, size // 2))
        x = crop(x, made[-1], Window.whole(x.shape[2]))
        image: Tensor | None = None
        for up, merge, write, size in zip(self.up, self.merge, self.write, reversed(sizes), strict=True):
            low, here = made.pop(), made[-1]
            seen = here.grown(1, size)
            source = seen.source(size // 2)
            y = upsample(activate(crop(up(x), source, low)))
            y = torch.cat([crop(y, seen, source.doubled()), crop(skips.pop(), seen, Window.whole(size))], 1)
            x = crop(activate(merge(y)), here, seen)
            detail = F.pixel_shuffle(write(x), 2)
            if image is not None:  # it covers `low.doubled()` at this size
                detail = detail + crop(upsample(crop(image, seen, low.doubled())), here.doubled(), seen.doubled())
            image = detail
        assert image is not None  # there is at least one level
        return image


def _add(x: Tensor, part: Tensor, nothing: Tensor, window: Window, size: int) -> None:
    """Add a part network's output for a window to `x` in place, without its edges, which are wrong."""
    half = window.halved()
    right = window.inner(PART_REACH, size).halved()
    rows, columns = right.slices
    x[:, :, rows, columns] += crop(part, right, half) - nothing[:, :, rows, columns]


def _convolution(weight: Tensor, bias: Tensor | None, stride: int = 1) -> nn.Conv2d:
    """Make a convolution with "same" padding (none for even kernels)."""
    outputs, inputs, kernel, _ = weight.shape
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel % 2 * (kernel // 2), bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Make a fully connected layer."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _plain(layer: EqualizedConv2d) -> nn.Conv2d:
    """Fold the scale of an equalized convolution."""
    return _convolution(layer.used_weight(), layer.bias, layer.stride)


def _styled(layer: ModulatedConv2d, style: Tensor) -> nn.Conv2d:
    """Fold a modulated convolution with one style."""
    return _convolution(layer.used_weight(style), layer.bias)


def _squares(weight: Tensor) -> Tensor:
    """Reshape the weight [O, 4 C] of a product with a folded map to that of a convolution of stride 2, [O, C, 2, 2]."""
    return weight.unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2)


def _after(enter: Tensor, layer: EqualizedConv2d) -> tuple[Tensor, Tensor]:
    """Join a convolution with a matrix product [O, channels] after it; return weight and bias."""
    assert layer.bias is not None  # the last layers of part networks and branches have one
    return torch.einsum("om,mihw->oihw", enter, layer.used_weight()), enter @ layer.bias


def _pixels(decoder: Decoder, style: Tensor) -> nn.Conv2d:
    """Fold the layer that writes wavelets into one that writes pixels, up to `pixel_shuffle`."""
    layer = decoder.to_wavelets
    weight, bias = layer.used_weight(style), layer.bias
    both = haar(torch.cat([weight.flatten(1), bias[:, None]], 1).T).T  # transforms the outputs
    both = both.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)
    return _convolution(both[:, :-1, None, None], both[:, -1])
