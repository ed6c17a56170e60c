"""The condition maps of one frame at a time, for real-time use: `condition_maps` in three passes.

One pass over the vertices computes normals, expansion and projection; the body and the expanded mesh are rasterized
together; one pass over the pixels interpolates the content of all maps.
"""

from dataclasses import dataclass
from typing import Any

import torch
import warp as wp
from torch import Tensor

from ..body.template import FINGERS, BodyTemplate, Posed
from ..core.camera import Camera, Lens
from ..motion.motion import Motion
from .condition_maps import EXPANSION, ConditionMapper, MeshMaps
from .kernels import attribute_pass, pixel_pass, surface_pass, vertex_pass
from .rasterizer import initialize_warp, launch, nearest_keys
from .rectangles import Window, crop
from .texture.sampling import coarsest_square, spread_colors


@dataclass(frozen=True)
class Places:
    """Bounds of the non-zero parts of a frame's maps; None or absent if there are none."""

    person: Window | None
    """Of both position maps; colours spread beyond it (`spread_colors`)."""
    face: Window | None
    hands: list[Window]
    """Left and right."""


class FrameMapper(ConditionMapper):
    """Draws the maps of `ConditionMapper` for single frames, several times as fast.

    The maps are in channels-last order.
    """

    def __init__(
        self,
        template: BodyTemplate,
        identity: Tensor,
        camera: Camera,
        texture: Tensor | None = None,
        filmed: Tensor | None = None,
    ):
        super().__init__(template, identity, camera, texture, filmed)
        device = identity.device
        starts, neighbours = _neighbours(self.faces.cpu(), len(self.canonical))
        # 0: not part of the head; 1: shows its normal; 2: part of an eyeball
        kind = (self.head > 0).int() * (1 + self.eyes.int())
        empty = torch.zeros(1, 3), torch.zeros(1, 3)
        texels, levels = empty if self.texture is None else self.texture.packed()
        as_int = lambda tensor: tensor.to(device, torch.int32).contiguous()
        as_float = lambda tensor: tensor.detach().to(device, torch.float32).contiguous()
        self._head = kind.nonzero().flatten()
        self._faces = as_int(self.faces)
        self._kept = [  # owns the memory of Warp's arrays below
            as_int(starts), as_int(neighbours), as_int(kind), as_float(self.eye_color),
            as_float(self.canonical), as_float(self.uv), as_int(self.uv_faces), as_float(texels), as_int(levels),
        ]  # fmt: skip
        starts, neighbours, kind, eye_color, canonical, uv, uv_faces, texels, levels = self._kept
        initialize_warp()
        self._mesh = (wp.from_torch(starts), wp.from_torch(neighbours, wp.vec2i))
        self._looks = (wp.from_torch(kind), wp.from_torch(eye_color))
        self._surface = (
            wp.from_torch(canonical, wp.vec3), wp.from_torch(uv, wp.vec2), wp.from_torch(uv_faces, wp.vec3i),
        )  # fmt: skip
        self._texture = wp.from_torch(texels, wp.vec3), wp.from_torch(levels, wp.vec3i)
        self._finest = torch.zeros((), dtype=torch.int32, device=device)

    @torch.no_grad()
    def __call__(self, motion: Motion, camera: Camera | None = None) -> MeshMaps:
        """Draw the maps of a one-frame motion; see `ConditionMapper`."""
        return self.draw(self.pose(motion), camera)[0]

    @torch.no_grad()
    def pose(self, motion: Motion) -> Posed:
        """Pose the body as in a one-frame motion."""
        return self.body.pose(*motion.parameters())

    @torch.no_grad()
    def draw(self, posed: Posed, camera: Camera | Lens | None = None) -> tuple[MeshMaps, Places]:
        """Draw the maps of one posed body, and return the bounds of what they show."""
        vertices, size = posed.vertices[0].contiguous(), self.camera.height
        lens = _lens(camera or self.camera, vertices.device)
        count, device = len(vertices), vertices.device
        points = vertices.new_empty(2, count, 3)  # body, expanded mesh
        look = vertices.new_empty(count, 3)
        drawn = (wp.from_torch(points, wp.vec3), wp.from_torch(look, wp.vec3))
        seen = (wp.from_torch(lens.values), EXPANSION)
        given = (wp.from_torch(vertices, wp.vec3), *self._mesh, *self._looks, *seen, *drawn)
        launch(vertex_pass, (count,), given, device)
        faces = wp.from_torch(self._faces, wp.vec3i)
        nearest = wp.from_torch(nearest_keys(points, self._faces, size, size), wp.int64)
        person = _bounds(points.flatten(0, 1), size) if device.type == "cpu" else Window.whole(size)
        position = vertices.new_zeros(2, size, size, 4)
        face, surface = vertices.new_zeros(size, size, 3), vertices.new_zeros(size, size, 4)
        if person:
            looks = (drawn[1], wp.from_torch(self.novelty(posed)[0].contiguous()))
            pixels = (wp.from_torch(position, wp.vec4), wp.from_torch(face, wp.vec3), wp.from_torch(surface, wp.vec4))
            textured = (*self._surface, *self._texture_for(posed, lens))
            inputs = (drawn[0], faces, nearest, *looks, *textured, person.top, person.left, *pixels)
            launch(pixel_pass, (2, person.height, person.width), inputs, device)
        chain = self.finger_chains(points[:1], posed, lens)
        surface = surface[None].permute(0, 3, 1, 2)
        if person:
            about, whole = _color_reach(person, size), Window.whole(size)
            shown, mask = crop(surface, about, whole), crop(position[:1].permute(0, 3, 1, 2)[:, 3:], about, whole)
            shown.copy_(spread_colors(shown, mask, size))
        maps = MeshMaps(
            position=position[:1].permute(0, 3, 1, 2),
            expanded=position[1:].permute(0, 3, 1, 2),
            face=face[None].permute(0, 3, 1, 2),
            hands=self.draw_fingers(chain),
            color=surface[:, :3],
            novelty=surface[:, 3:],
        )
        return maps, self._places(person, points[0], chain[0])

    @torch.no_grad()
    def surface(self, posed: Posed, camera: Camera | Lens) -> Tensor:
        """Draw the surface's colours and the coverage mask [1, 4, H, W]; see `ConditionMapper.surface`."""
        lens = _lens(camera, posed.vertices.device)
        drawn = self._drawn(posed, lens, cull_backfaces=True)
        surface = posed.vertices.new_zeros(lens.height, lens.width, 4)
        textured = (*self._surface[1:], *self._texture_for(posed, lens))
        inputs = (*drawn, *textured, wp.from_torch(surface, wp.vec4))
        launch(surface_pass, (lens.height, lens.width), inputs, surface.device)
        return surface.permute(2, 0, 1)[None]

    @torch.no_grad()
    def positions(self, motion: Motion, camera: Camera | None = None) -> Tensor:
        """Draw only the position map [1, 4, S, S] of a one-frame motion."""
        return self.position(self.pose(motion), camera)

    @torch.no_grad()
    def position(self, posed: Posed, camera: Camera | Lens | None = None) -> Tensor:
        """Draw only the position map [1, 4, S, S] of one posed body."""
        return self._attribute(posed, self._surface[0], camera)

    @torch.no_grad()
    def weight(self, posed: Posed, weights: Tensor, camera: Camera | Lens | None = None) -> Tensor:
        """Draw a weight of the vertices [V], and the coverage mask, of one posed body: [1, 2, S, S]."""
        thrice = weights[:, None].repeat(1, 3)
        return self._attribute(posed, wp.from_torch(thrice, wp.vec3), camera)[:, 2:]

    def _attribute(self, posed: Posed, attributes: Any, camera: Camera | Lens | None) -> Tensor:
        """Draw three numbers of the vertices, and the coverage mask, of one posed body: [1, 4, S, S]."""
        drawn, size = self._drawn(posed, camera or self.camera), self.camera.height
        shown = posed.vertices.new_zeros(size, size, 4)
        launch(attribute_pass, (size, size), (*drawn, attributes, wp.from_torch(shown, wp.vec4)), shown.device)
        return shown.permute(2, 0, 1)[None]

    def _drawn(self, posed: Posed, camera: Camera | Lens, cull_backfaces: bool = False) -> tuple[Any, Any, Any]:
        """Return points, faces and the nearest triangles of one posed body, for a kernel."""
        lens = _lens(camera, posed.vertices.device)
        points = lens.project(posed.vertices)[:1].contiguous()
        nearest = nearest_keys(points, self._faces, camera.height, camera.width, cull_backfaces)
        return wp.from_torch(points, wp.vec3), wp.from_torch(self._faces, wp.vec3i), wp.from_torch(nearest, wp.int64)

    def _texture_for(self, posed: Posed, lens: Lens) -> tuple[Any, Any, Any, bool]:
        """Return the texture, the number of the level that suits a posed body, and whether there is any texture."""
        number = self._finest if self.texture is None else self.texture.number(lens, posed.vertices)
        return *self._texture, wp.from_torch(number[None]), self.texture is not None

    def nothing(self) -> MeshMaps:
        """Return the maps of a frame that shows nobody."""
        size, device = self.camera.height, self.canonical.device
        channels = {"position": 4, "expanded": 4, "face": 3, "hands": len(FINGERS), "color": 3, "novelty": 1}
        empty = {name: torch.zeros(1, size, size, count, device=device) for name, count in channels.items()}
        return MeshMaps(**{name: tensor.permute(0, 3, 1, 2) for name, tensor in empty.items()})

    def _places(self, person: Window | None, points: Tensor, chain: Tensor) -> Places:
        """Return the bounds of what is shown; the whole image on a GPU, to avoid waiting for it."""
        size = self.camera.height
        if points.device.type != "cpu":
            whole = Window.whole(size)
            return Places(whole, whole, [whole])
        thick = 2 * self.finger_radius + 1
        hands = [_bounds(hand.reshape(-1, 2), size, thick) for hand in chain.chunk(2)]
        return Places(person, _bounds(points[self._head], size), [hand for hand in hands if hand])


def _lens(camera: Camera | Lens, device: torch.device) -> Lens:
    return camera if isinstance(camera, Lens) else camera.lens(device)


def _bounds(points: Tensor, size: int, margin: float = 1.0) -> Window | None:
    """Return the window about points [N, 2 or more], or None if all are outside the image."""
    low, high = points[:, :2].aminmax(dim=0)
    # Points that are not finite are not drawn, but may hide where the others are: include the whole side.
    left, top = (low - margin).floor().nan_to_num(0.0).clamp(0, size).int().tolist()
    right, bottom = (high + margin).ceil().nan_to_num(size).clamp(0, size).int().tolist()
    window = Window(top, left, bottom, right)
    return window if window.height > 0 and window.width > 0 else None


def _color_reach(person: Window, size: int) -> Window:
    """Return the window that the colours of a person can spread to (`spread_colors`)."""
    square = coarsest_square(size)
    if size % square:
        return Window.whole(size)
    about = person.grown(2 * square, size)
    down, up = (lambda edge: edge // square * square), (lambda edge: -(-edge // square) * square)
    return Window(down(about.top), down(about.left), up(about.bottom), up(about.right))


def _neighbours(faces: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """List the two other corners of every face [F, 3] at each of `count` vertices, in order.

    Returns:
        Where the pairs of a vertex start [count + 1], and the pairs [3 F, 2].
    """
    corners = torch.cat([faces[:, [i, (i + 1) % 3, (i + 2) % 3]] for i in range(3)])  # [3 F, 3]
    corners = corners[corners[:, 0].argsort(stable=True)]
    starts = torch.zeros(count + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(corners[:, 0], minlength=count).cumsum(0)
    return starts, corners[:, 1:]
