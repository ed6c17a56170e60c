"""Triangles and line segments to pixels: NVIDIA Warp kernels for CPU and CUDA, each with a plain torch twin.

Image coordinates are in pixels, x to the right and y down, with pixel centres at +0.5. What is drawn has no
gradient with respect to the points; `Fragments.interpolate` and `vertex_normals` are differentiable.
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
import warp as wp
from torch import Tensor

from ..core.silence_stderr import silent_stderr

NEAR_PLANE = 0.05
"""Triangles with a vertex at or nearer than this camera depth (metres) are not drawn."""

NEAR = wp.constant(NEAR_PLANE)
EMPTY = wp.constant(wp.int64(2**63 - 1))

# The edge test below leaves no holes if exchanging the ends of an edge exactly negates its edge function: a
# fused multiply-add, which rounds one of the two products and not the other, would break that.
wp.set_module_options({"fuse_fp": False, "enable_backward": False})


@dataclass(frozen=True)
class Fragments:
    """What `rasterize` finds for each pixel of a batch of pictures."""

    triangle: Tensor
    """[B, H, W] int32: index of the nearest triangle, -1 where nothing is drawn."""
    barycentric: Tensor
    """[B, H, W, 3] float32: perspective-correct weights of its three corners, 0 where nothing is drawn."""
    depth: Tensor
    """[B, H, W] float32: camera depth in metres, inf where nothing is drawn."""

    @property
    def mask(self) -> Tensor:
        """[B, H, W] bool: whether a triangle covers the pixel."""
        return self.triangle >= 0

    def interpolate(self, attributes: Tensor, faces: Tensor) -> Tensor:
        """Interpolate attributes of triangle corners; differentiable in the attributes.

        Args:
            attributes: [V, C], or [B, V, C] where they differ between the pictures.
            faces: [F, 3] int indices into the attributes, in the order of the rasterized faces but not
                necessarily equal to them: a UV layout has corners of its own.

        Returns:
            [B, H, W, C], 0 where nothing is drawn.
        """
        channels = attributes.shape[-1]
        covered = self.mask.flatten().nonzero().squeeze(1)  # [N]: a person covers little of a picture
        triangle = self.triangle.flatten().index_select(0, covered)
        corners = faces.index_select(0, triangle).long()  # [N, 3]
        if attributes.ndim == 3:
            picture = covered // (self.triangle.shape[1] * self.triangle.shape[2])
            corners = corners + attributes.shape[1] * picture[:, None]
        values = attributes.reshape(-1, channels).index_select(0, corners.flatten()).view(-1, 3, channels)
        weights = self.barycentric.reshape(-1, 3).index_select(0, covered).to(attributes.dtype)
        values = (weights[..., None] * values).sum(1)  # [N, C]
        pixels = attributes.new_zeros(self.triangle.numel(), channels).index_copy(0, covered, values)
        return pixels.view(*self.triangle.shape, channels)


def rasterize(points: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool = False) -> Fragments:
    """Find the nearest triangle at every pixel centre.

    A triangle with a vertex at or behind `NEAR_PLANE`, or with one that is not finite, is left out. Triangles
    that share an edge leave no hole between them. Of triangles at the same depth the lowest index wins: the
    result does not depend on the order of execution.

    Args:
        points: [B, V, 3] float: x and y in pixels, camera depth in metres (positive in front of the camera).
        faces: [F, 3] int indices into the V points.
        height, width: size of the picture in pixels.
        cull_backfaces: draw only triangles whose corners run counter-clockwise as one looks at the picture.

    Raises:
        ValueError: a shape does not fit, or a face refers to a vertex that does not exist.
    """
    points, faces = _check_mesh(points, faces)
    batch, device = len(points), points.device
    nearest = torch.full((batch, height, width), EMPTY.value, dtype=torch.int64, device=device)
    triangle = torch.empty(batch, height, width, dtype=torch.int32, device=device)
    barycentric = torch.empty(batch, height, width, 3, device=device)
    depth = torch.empty(batch, height, width, device=device)

    initialize_warp()
    mesh = (wp.from_torch(points, wp.vec3), wp.from_torch(faces, wp.vec3i))
    z_buffer = wp.from_torch(nearest, wp.int64)
    pixels = (wp.from_torch(triangle), wp.from_torch(barycentric, wp.vec3), wp.from_torch(depth))
    launch(z_pass, (batch, len(faces)), (*mesh, bool(cull_backfaces), z_buffer), device)
    launch(_resolve_pass, (batch, height, width), (*mesh, z_buffer, *pixels), device)
    return Fragments(triangle, barycentric, depth)


def rasterize_reference(
    points: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool = False
) -> Fragments:
    """`rasterize` in plain torch, each triangle over the whole picture: the definition of its result."""
    points, faces = _check_mesh(points, faces)
    batch, device = len(points), points.device
    triangle = torch.full((batch, height, width), -1, dtype=torch.int32, device=device)
    barycentric = torch.zeros(batch, height, width, 3, device=device)
    depth = torch.full((batch, height, width), torch.inf, device=device)
    y = torch.arange(height, device=device)[:, None] + 0.5
    x = torch.arange(width, device=device) + 0.5

    for index, face in enumerate(faces.tolist()):
        corners = points[:, face]  # [B, 3, 3]
        drawn = corners.isfinite().all(-1).all(-1) & (corners[..., 2] > NEAR_PLANE).all(-1)  # [B]
        if cull_backfaces:
            (ax, ay), (bx, by), (cx, cy) = (corner.unbind(-1) for corner in corners[..., :2].unbind(1))
            drawn &= (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[..., None, None].permute(1, 2, 0, 3, 4)
        ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y  # [B, H, W]
        edges = (bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx)
        weights = (edges[0] * (1 / az), edges[1] * (1 / bz), edges[2] * (1 / cz))
        weight = weights[0] + weights[1] + weights[2]
        z = (edges[0] + edges[1] + edges[2]) / weight
        edges = torch.stack(edges)
        inside = (edges >= 0).all(0) | (edges <= 0).all(0)
        # strictly nearer, so that of equals the first one stays
        nearer = drawn[:, None, None] & inside & (z > 0) & (z < depth)
        triangle = triangle.where(~nearer, index)
        depth = depth.where(~nearer, z)
        barycentric = barycentric.where(~nearer[..., None], torch.stack(weights, -1) / weight[..., None])
    return Fragments(triangle, barycentric, depth)


def visible(points: Tensor, fragments: Fragments, tolerance: float) -> Tensor:
    """Whether points lie inside the picture and not behind the surface drawn at their pixel.

    Args:
        points: [B, V, 3] x and y in pixels, camera depth in metres. NaN points are not visible.
        fragments: what was drawn, B pictures.
        tolerance: how far behind the surface, in metres, a point may lie. A point of the surface itself needs
            some, since it is compared with the depth at the centre of its pixel.

    Returns:
        [B, V] bool.
    """
    height, width = fragments.depth.shape[1:]
    x, y, depth = points.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > NEAR_PLANE)
    pixel = y.where(inside, 0).long() * width + x.where(inside, 0).long()
    surface = fragments.depth.flatten(1).gather(1, pixel)
    return inside & (depth <= surface + tolerance)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals of vertices: the normals of their faces, weighted by area. Differentiable in the vertices.

    Args:
        vertices: [B, V, 3].
        faces: [F, 3] int, corners counter-clockwise as seen from outside.

    Returns:
        [B, V, 3] unit vectors that point outward, 0 for a vertex without a face. The order of summation is
        fixed on the CPU; on CUDA the last bit may vary unless `torch.use_deterministic_algorithms` is on.
    """
    batch, count, _ = vertices.shape
    corners = faces.T.flatten().long()  # [3 F]
    a, b, c = vertices.index_select(1, corners).chunk(3, dim=1)
    by_face = torch.linalg.cross(b - a, c - a)  # [B, F, 3], as long as twice the face's area
    rows = (torch.arange(batch, device=vertices.device)[:, None] * count + corners).flatten()
    by_corner = by_face.repeat(1, 3, 1).flatten(0, 1)  # [B 3 F, 3]
    normals = vertices.new_zeros(batch * count, 3).index_add(0, rows, by_corner)
    return F.normalize(normals.view(batch, count, 3), dim=-1, eps=1e-20)


def draw_segments(points: Tensor, channels: Tensor, n_channels: int, radius: float, height: int, width: int) -> Tensor:
    """Draw anti-aliased thick segments with round ends.

    A pixel centre at a distance d from a segment gets clamp(radius + 0.5 - d, 0, 1). Where segments of one
    channel overlap, the maximum counts.

    Args:
        points: [B, S, 2, 2] end points (x, y) in pixels. Segments that are not finite are left out.
        channels: [S] int, the channel that a segment is drawn in.
        n_channels: C, number of channels.
        radius: half the thickness, in pixels.
        height, width: size of the picture in pixels.

    Returns:
        [B, C, H, W] float32 in [0, 1].

    Raises:
        ValueError: a shape does not fit, or a channel does not exist.
    """
    points, channels = _check_segments(points, channels, n_channels)
    picture = torch.zeros(len(points), n_channels, height, width, device=points.device)
    initialize_warp()
    segments = (wp.from_torch(points, wp.vec2), wp.from_torch(channels), float(radius))
    launch(_segment_pass, points.shape[:2], (*segments, wp.from_torch(picture)), points.device)
    return picture


def draw_segments_reference(
    points: Tensor, channels: Tensor, n_channels: int, radius: float, height: int, width: int
) -> Tensor:
    """`draw_segments` in plain torch, each segment over the whole picture: the definition of its result."""
    points, channels = _check_segments(points, channels, n_channels)
    y, x = torch.meshgrid(*(torch.arange(size, device=points.device) + 0.5 for size in (height, width)), indexing="ij")
    start, end = points[:, :, None, None, :].unbind(-2)  # [B, S, 1, 1, 2]
    along, offset = end - start, torch.stack((x, y), -1) - start
    length_squared = (along * along).sum(-1)
    fraction = ((offset * along).sum(-1) / length_squared).where(length_squared > 0, 0).clamp(0, 1)
    distance = (offset - fraction[..., None] * along).norm(dim=-1)  # [B, S, H, W]
    drawn = points.isfinite().all(-1).all(-1)[..., None, None]
    coverage = (radius + 0.5 - distance).clamp(0, 1).where(drawn, 0)
    picture = torch.zeros(len(points), n_channels, height, width, device=points.device)
    for segment, channel in enumerate(channels.tolist()):
        picture[:, channel] = picture[:, channel].maximum(coverage[:, segment])
    return picture


def _check_mesh(points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The mesh as contiguous float32 and int32, as the kernels read it."""
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be [B, V, 3], got {list(points.shape)}")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"faces must be [F, 3], got {list(faces.shape)}")
    faces = _check_indices("faces", faces, points.shape[1])
    return points.detach().float().contiguous(), faces.to(points.device)


def _check_segments(points: Tensor, channels: Tensor, n_channels: int) -> tuple[Tensor, Tensor]:
    """The segments as contiguous float32 and int32, as the kernel reads them."""
    if points.ndim != 4 or points.shape[-2:] != (2, 2):
        raise ValueError(f"points must be [B, S, 2, 2], got {list(points.shape)}")
    if channels.shape != points.shape[1:2]:
        raise ValueError(f"channels must be [{points.shape[1]}], got {list(channels.shape)}")
    channels = _check_indices("channels", channels, n_channels)
    return points.detach().float().contiguous(), channels.to(points.device)


def _check_indices(name: str, indices: Tensor, count: int) -> Tensor:
    """The indices as contiguous int32. Checked here, since a kernel would read past the end of its memory."""
    if indices.is_floating_point():
        raise ValueError(f"{name} must be integers, got {indices.dtype}")
    if indices.numel():
        low, high = (int(bound) for bound in indices.aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"{name} must lie in 0 .. {count - 1}, got {low} .. {high}")
    return indices.to(torch.int32).contiguous()


@cache
def initialize_warp() -> None:
    """Start Warp, on first use and not on import, without its banner and its news of loaded kernels."""
    if wp.config.log_level == wp.LOG_INFO:  # the default; another level is somebody's wish
        wp.config.log_level = wp.LOG_WARNING
    if torch.cuda.is_available():
        wp.init()
    else:
        with silent_stderr():  # where Warp's C++ complains of a missing CUDA driver
            wp.init()


def launch(kernel: wp.Kernel, dim: tuple[int, ...], inputs: tuple, device: torch.device) -> None:
    """Run a kernel on torch's current stream, so that its work is ordered with torch's own."""
    stream = wp.stream_from_torch(device) if device.type == "cuda" else None
    wp.launch(kernel, dim=dim, inputs=inputs, device=wp.device_from_torch(device), stream=stream)


@wp.func
def _first_pixel(low: float, size: int) -> int:
    """The first pixel in 0 .. size - 1 whose centre is at `low` or after it; size if there is none."""
    return int(wp.clamp(wp.ceil(low - 0.5), 0.0, float(size)))


@wp.func
def _last_pixel(high: float, size: int) -> int:
    """The last pixel in 0 .. size - 1 whose centre is at `high` or before it; -1 if there is none."""
    return int(wp.clamp(wp.floor(high - 0.5), -1.0, float(size - 1)))


@wp.func
def edge_functions(a: wp.vec3, b: wp.vec3, c: wp.vec3, x: float, y: float) -> wp.vec3:
    """Twice the signed areas that a pixel centre spans with the edges opposite to a, b and c.

    Relative to the pixel centre: rounding then moves a corner alike for all triangles that share it, and
    the sign of the rest is exact or 0: a pixel at an edge always is in one of the two triangles.
    """
    ax, ay = a[0] - x, a[1] - y
    bx, by = b[0] - x, b[1] - y
    cx, cy = c[0] - x, c[1] - y
    return wp.vec3(bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx)


@wp.kernel
def z_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    cull_backfaces: bool,
    nearest: wp.array3d(dtype=wp.int64),
):
    """Leave in each pixel the smallest key (depth, triangle) of the triangles that cover it."""
    batch, index = wp.tid()
    height, width = nearest.shape[1], nearest.shape[2]
    face = faces[index]
    a, b, c = points[batch, face[0]], points[batch, face[1]], points[batch, face[2]]
    if not (wp.isfinite(a) and wp.isfinite(b) and wp.isfinite(c)):
        return
    if a[2] <= NEAR or b[2] <= NEAR or c[2] <= NEAR:
        return
    if cull_backfaces and not ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) < 0.0):
        return

    left = _first_pixel(wp.min(a[0], wp.min(b[0], c[0])), width)
    right = _last_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
    top = _first_pixel(wp.min(a[1], wp.min(b[1], c[1])), height)
    bottom = _last_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)
    if left > right or top > bottom:
        return  # between the pixel centres, as most triangles are
    inverse_z = wp.vec3(1.0 / a[2], 1.0 / b[2], 1.0 / c[2])
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            edges = edge_functions(a, b, c, float(column) + 0.5, float(row) + 0.5)
            if wp.min(edges) >= 0.0 or wp.max(edges) <= 0.0:
                # 1 / z is linear in the picture, z is not
                weight = edges[0] * inverse_z[0] + edges[1] * inverse_z[1] + edges[2] * inverse_z[2]
                z = (edges[0] + edges[1] + edges[2]) / weight
                if z > 0.0:  # not so for a triangle without area: 0 / 0
                    # the bits of positive floats are ordered as the floats are
                    key = (wp.int64(wp.cast(z, wp.int32)) << wp.int64(32)) | wp.int64(index)
                    wp.atomic_min(nearest, batch, row, column, key)


@wp.kernel
def _resolve_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    triangle: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=wp.float32),
):
    """Unpack the keys of `z_pass`."""
    batch, row, column = wp.tid()
    key = nearest[batch, row, column]
    if key == EMPTY:
        triangle[batch, row, column] = -1
        barycentric[batch, row, column] = wp.vec3(0.0)
        depth[batch, row, column] = wp.inf
        return
    index = wp.int32(key & wp.int64(0xFFFFFFFF))
    face = faces[index]
    a, b, c = points[batch, face[0]], points[batch, face[1]], points[batch, face[2]]
    edges = edge_functions(a, b, c, float(column) + 0.5, float(row) + 0.5)
    weights = wp.vec3(edges[0] * (1.0 / a[2]), edges[1] * (1.0 / b[2]), edges[2] * (1.0 / c[2]))
    triangle[batch, row, column] = index
    barycentric[batch, row, column] = weights / (weights[0] + weights[1] + weights[2])
    depth[batch, row, column] = wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)


@wp.kernel
def _segment_pass(
    points: wp.array3d(dtype=wp.vec2),
    channels: wp.array(dtype=wp.int32),
    radius: float,
    picture: wp.array4d(dtype=wp.float32),
):
    """Raise the pixels around a segment to its coverage."""
    batch, segment = wp.tid()
    height, width = picture.shape[2], picture.shape[3]
    start, end = points[batch, segment, 0], points[batch, segment, 1]
    if not (wp.isfinite(start) and wp.isfinite(end)):
        return
    reach = radius + 0.5
    along = end - start
    length_squared = wp.max(wp.dot(along, along), 1.0e-20)  # a point is a segment too
    for row in range(
        _first_pixel(wp.min(start[1], end[1]) - reach, height),
        _last_pixel(wp.max(start[1], end[1]) + reach, height) + 1,
    ):
        for column in range(
            _first_pixel(wp.min(start[0], end[0]) - reach, width),
            _last_pixel(wp.max(start[0], end[0]) + reach, width) + 1,
        ):
            offset = wp.vec2(float(column) + 0.5, float(row) + 0.5) - start
            fraction = wp.clamp(wp.dot(offset, along) / length_squared, 0.0, 1.0)
            coverage = wp.clamp(reach - wp.length(offset - fraction * along), 0.0, 1.0)
            wp.atomic_max(picture, batch, channels[segment], row, column, coverage)
