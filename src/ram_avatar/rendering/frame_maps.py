"""The condition maps of one frame at a time, for what runs live: `condition_maps` in three passes over mesh and pixels.

Normals, expansion and projection are one pass over the vertices; the body and the expanded mesh are rasterized
together; one pass over the pixels interpolates all that the maps hold.
"""

from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor

from ..body.template import FINGERS, BodyTemplate
from ..core.camera import Camera
from ..motion.motion import Motion
from .condition_maps import EXPANSION, ConditionMapper, MeshMaps
from .rasterizer import (
    EMPTY,
    edge_functions,
    initialize_warp,
    launch,
    z_pass,
)
from .rectangles import Window, crop
from .surface_texture import coarsest_square, spread_colors

wp.set_module_options({"fuse_fp": False, "enable_backward": False})  # as in `rasterizer`


@dataclass(frozen=True)
class Places:
    """Where in the picture the maps of a frame can be other than zero; None, or none, where nowhere."""

    person: Window | None
    """Of the position maps, the expanded one too; colours go on beyond (`spread_colors`)."""
    face: Window | None
    hands: list[Window]
    """The left and the right one."""


class FrameMapper(ConditionMapper):
    """Draws what `ConditionMapper` draws, of one frame at a time and several times as fast.

    The maps are in channels-last order.
    """

    def __init__(self, template: BodyTemplate, identity: Tensor, camera: Camera, texture: Tensor | None = None):
        super().__init__(template, identity, camera, texture)
        device = identity.device
        starts, neighbours = _neighbours(self.faces.cpu(), len(self.canonical))
        # 0: not of the head; 1: shows its normal; 2: of an eyeball
        kind = (self.head > 0).int() * (1 + self.eyes.int())
        texels = torch.zeros(1, 1, 3) if texture is None else texture.permute(1, 2, 0)
        as_int = lambda tensor: tensor.to(device, torch.int32).contiguous()
        as_float = lambda tensor: tensor.detach().to(device, torch.float32).contiguous()
        self._head = kind.nonzero().flatten()
        self._faces = as_int(self.faces)
        self._kept = [  # the memory that Warp's arrays below are views of
            as_int(starts), as_int(neighbours), as_int(kind), as_float(self.eye_color),
            as_float(self.canonical), as_float(self.uv), as_int(self.uv_faces), as_float(texels),
        ]  # fmt: skip
        starts, neighbours, kind, eye_color, canonical, uv, uv_faces, texels = self._kept
        initialize_warp()
        self._mesh = (wp.from_torch(starts), wp.from_torch(neighbours, wp.vec2i))
        self._looks = (wp.from_torch(kind), wp.from_torch(eye_color))
        self._surface = (
            wp.from_torch(canonical, wp.vec3), wp.from_torch(uv, wp.vec2), wp.from_torch(uv_faces, wp.vec3i),
            wp.from_torch(texels, wp.vec3), texture is not None,
        )  # fmt: skip

    @torch.no_grad()
    def __call__(self, motion: Motion, camera: Camera | None = None) -> MeshMaps:
        """Draw the maps of a motion of one frame; see `ConditionMapper`."""
        return self.draw(motion, camera)[0]

    @torch.no_grad()
    def draw(self, motion: Motion, camera: Camera | None = None) -> tuple[MeshMaps, Places]:
        """Draw the maps of a motion of one frame, and say where they show anything."""
        posed = self.body.pose(*motion.parameters())
        vertices, camera, size = posed.vertices[0].contiguous(), camera or self.camera, self.camera.height
        count, device = len(vertices), vertices.device
        points = vertices.new_empty(2, count, 3)  # of the body, and of the expanded mesh
        look = vertices.new_empty(count, 3)
        lens = (float(camera.focal), float(camera.center_x), float(camera.center_y), EXPANSION)
        drawn = (wp.from_torch(points, wp.vec3), wp.from_torch(look, wp.vec3))
        launch(
            _vertex_pass, (count,), (wp.from_torch(vertices, wp.vec3), *self._mesh, *self._looks, *lens, *drawn), device
        )
        faces = wp.from_torch(self._faces, wp.vec3i)
        nearest = wp.from_torch(torch.full((2, size, size), EMPTY.value, dtype=torch.int64, device=device), wp.int64)
        launch(z_pass, (2, len(self._faces)), (drawn[0], faces, False, nearest), device)
        person = _bounds(points.flatten(0, 1), size) if device.type == "cpu" else Window.whole(size)
        position = vertices.new_zeros(2, size, size, 4)
        face, color = vertices.new_zeros(size, size, 3), vertices.new_zeros(size, size, 3)
        if person:
            pixels = (wp.from_torch(position, wp.vec4), wp.from_torch(face, wp.vec3), wp.from_torch(color, wp.vec3))
            inputs = (drawn[0], faces, nearest, drawn[1], *self._surface, person.top, person.left, *pixels)
            launch(_pixel_pass, (2, person.height, person.width), inputs, device)
        chain = self.finger_chains(points[:1], posed, camera)
        maps = MeshMaps(
            position=position[:1].permute(0, 3, 1, 2),
            expanded=position[1:].permute(0, 3, 1, 2),
            face=face[None].permute(0, 3, 1, 2),
            hands=self.draw_fingers(chain),
            color=color[None].permute(0, 3, 1, 2),
        )
        if self.texture is not None and person:
            about, whole = _with_colors_about(person, size), Window.whole(size)
            shown, mask = crop(maps.color, about, whole), crop(maps.position[:, 3:], about, whole)
            shown.copy_(spread_colors(shown, mask, size))
        return maps, self._places(person, points[0], chain[0])

    def nothing(self) -> MeshMaps:
        """The maps of a frame that shows nobody."""
        size, device = self.camera.height, self.canonical.device
        channels = {"position": 4, "expanded": 4, "face": 3, "hands": len(FINGERS), "color": 3}
        empty = {name: torch.zeros(1, size, size, count, device=device) for name, count in channels.items()}
        return MeshMaps(**{name: tensor.permute(0, 3, 1, 2) for name, tensor in empty.items()})

    def _places(self, person: Window | None, points: Tensor, chain: Tensor) -> Places:
        """On a GPU, which would have to be waited for, everywhere."""
        size = self.camera.height
        if points.device.type != "cpu":
            whole = Window.whole(size)
            return Places(whole, whole, [whole])
        thick = 2 * self.finger_radius + 1
        hands = [_bounds(hand.reshape(-1, 2), size, thick) for hand in chain.chunk(2)]
        return Places(person, _bounds(points[self._head], size), [hand for hand in hands if hand])


def _bounds(points: Tensor, size: int, margin: float = 1.0) -> Window | None:
    """The pixels about points [N, 2 or more]; None where all are outside of the picture."""
    low, high = points[:, :2].aminmax(dim=0)
    # What is not finite is not drawn, but may hide where the rest is.
    low = (low - margin).floor().nan_to_num(0.0).clamp(0, size).int().tolist()
    high = (high + margin).ceil().nan_to_num(size).clamp(0, size).int().tolist()
    window = Window(low[1], low[0], high[1], high[0])
    return window if window.height > 0 and window.width > 0 else None


def _with_colors_about(person: Window, size: int) -> Window:
    """All that the colours of a person in a window reach (`spread_colors`)."""
    square = coarsest_square(size)
    if size % square:
        return Window.whole(size)
    about = person.grown(2 * square, size)
    down, up = (lambda edge: edge // square * square), (lambda edge: -(-edge // square) * square)
    return Window(down(about.top), down(about.left), up(about.bottom), up(about.right))


def _neighbours(faces: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of the faces [F, 3] at each of `count` vertices the two other corners, in order: where those of a vertex start
    [count + 1], and the pairs [3 F, 2]."""
    corners = torch.cat([faces[:, [i, (i + 1) % 3, (i + 2) % 3]] for i in range(3)])  # [3 F, 3]
    corners = corners[corners[:, 0].argsort(stable=True)]
    starts = torch.zeros(count + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(corners[:, 0], minlength=count).cumsum(0)
    return starts, corners[:, 1:]


@wp.func
def _project(point: wp.vec3, focal: float, center_x: float, center_y: float) -> wp.vec3:
    """See `Camera.project`."""
    scale = focal / wp.max(point[1], 0.05)
    return wp.vec3(center_x + point[0] * scale, center_y - point[2] * scale, point[1])


@wp.kernel
def _vertex_pass(
    vertices: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    neighbours: wp.array(dtype=wp.vec2i),
    kind: wp.array(dtype=wp.int32),
    eye_color: wp.array(dtype=wp.float32),
    focal: float,
    center_x: float,
    center_y: float,
    expansion: float,
    points: wp.array2d(dtype=wp.vec3),
    look: wp.array(dtype=wp.vec3),
):
    """Where a vertex and its expanded twin are in the picture, and what the face map shows of it."""
    index = wp.tid()
    vertex = vertices[index]
    normal = wp.vec3(0.0)
    for k in range(starts[index], starts[index + 1]):
        pair = neighbours[k]
        normal += wp.cross(vertices[pair[0]] - vertex, vertices[pair[1]] - vertex)
    normal = normal / wp.max(wp.length(normal), 1.0e-20)
    points[0, index] = _project(vertex, focal, center_x, center_y)
    points[1, index] = _project(vertex + expansion * normal, focal, center_x, center_y)
    shown = wp.vec3(0.0)
    if kind[index] == 1:
        shown = normal
    if kind[index] == 2:
        shown = wp.vec3(eye_color[index])
    look[index] = shown


@wp.func
def _texel(texture: wp.array2d(dtype=wp.vec3), u: float, v: float) -> wp.vec3:
    """Bilinear, clamped to the texture: u to the right, v up, in [0, 1]."""
    rows, columns = texture.shape[0], texture.shape[1]
    x = wp.clamp(u * float(columns) - 0.5, 0.0, float(columns - 1))
    y = wp.clamp((1.0 - v) * float(rows) - 0.5, 0.0, float(rows - 1))
    left, top = int(wp.floor(x)), int(wp.floor(y))
    right, bottom = wp.min(left + 1, columns - 1), wp.min(top + 1, rows - 1)
    fx, fy = x - float(left), y - float(top)
    above = texture[top, left] * (1.0 - fx) + texture[top, right] * fx
    below = texture[bottom, left] * (1.0 - fx) + texture[bottom, right] * fx
    return above * (1.0 - fy) + below * fy


@wp.kernel
def _pixel_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    look: wp.array(dtype=wp.vec3),
    canonical: wp.array(dtype=wp.vec3),
    uv: wp.array(dtype=wp.vec2),
    uv_faces: wp.array(dtype=wp.vec3i),
    texture: wp.array2d(dtype=wp.vec3),
    textured: bool,
    first_row: int,
    first_column: int,
    position: wp.array3d(dtype=wp.vec4),
    face_map: wp.array2d(dtype=wp.vec3),
    color: wp.array2d(dtype=wp.vec3),
):
    """What the nearest triangle shows: its place on the body, and of the body itself the head and the colour too."""
    picture, row, column = wp.tid()
    row += first_row
    column += first_column
    key = nearest[picture, row, column]
    if key == EMPTY:
        return
    index = wp.int32(key & wp.int64(0xFFFFFFFF))
    face = faces[index]
    a, b, c = points[picture, face[0]], points[picture, face[1]], points[picture, face[2]]
    edges = edge_functions(a, b, c, float(column) + 0.5, float(row) + 0.5)
    weight = wp.vec3(edges[0] * (1.0 / a[2]), edges[1] * (1.0 / b[2]), edges[2] * (1.0 / c[2]))
    weight = weight / (weight[0] + weight[1] + weight[2])
    place = weight[0] * canonical[face[0]] + weight[1] * canonical[face[1]] + weight[2] * canonical[face[2]]
    position[picture, row, column] = wp.vec4(place[0], place[1], place[2], 1.0)
    if picture == 1:
        return
    face_map[row, column] = weight[0] * look[face[0]] + weight[1] * look[face[1]] + weight[2] * look[face[2]]
    if textured:
        corner = uv_faces[index]
        at = weight[0] * uv[corner[0]] + weight[1] * uv[corner[1]] + weight[2] * uv[corner[2]]
        color[row, column] = _texel(texture, at[0], at[1])
