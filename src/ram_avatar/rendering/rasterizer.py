"""Rasterizing triangles and line segments with NVIDIA Warp, on CPU and CUDA.

Image coordinates are in pixels, x right and y down, pixel centres at +0.5. Rasterization is not differentiable in the
points; `Fragments.interpolate` and `vertex_normals` are differentiable.
"""

import os
from dataclasses import dataclass
from functools import cache

import platformdirs
import torch
import torch.nn.functional as F
import warp as wp
from torch import Tensor

from ..core.cache import library_cache
from ..core.silence_stderr import silence_stderr
from .kernels import EMPTY, NEAR_PLANE, resolve_pass, segment_pass, z_pass

_WARP_CACHE = "WARP_CACHE_PATH"


@dataclass(frozen=True)
class Fragments:
    """The nearest triangle at each pixel of a batch of images."""

    triangle: Tensor
    """[B, H, W] int32: index of the nearest triangle, -1 where nothing is drawn."""
    barycentric: Tensor
    """[B, H, W, 3] float32: perspective-correct barycentric weights, 0 where nothing is drawn."""
    depth: Tensor
    """[B, H, W] float32: camera depth in metres, inf where nothing is drawn."""

    @property
    def mask(self) -> Tensor:
        """[B, H, W] bool: whether a triangle covers the pixel."""
        return self.triangle >= 0

    def interpolate(self, attributes: Tensor, faces: Tensor) -> Tensor:
        """Interpolate attributes of triangle corners; differentiable in the attributes.

        Args:
            attributes: [V, C], or [B, V, C] if they differ between images.
            faces: [F, 3] int indices into the attributes, in the order of the rasterized faces. They may differ from
                these: a UV layout has its own corners.

        Returns:
            [B, H, W, C], 0 where nothing is drawn.
        """
        channels = attributes.shape[-1]
        covered = self.mask.flatten().nonzero().squeeze(1)  # [N]: a person covers little of an image
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

    Triangles with a vertex that is not finite or not beyond `NEAR_PLANE` are skipped. Triangles that share an edge
    leave no hole between them. At equal depth the lowest index wins, so the result does not depend on the order of
    execution.

    Args:
        points: [B, V, 3] float: x and y in pixels, camera depth in metres (positive in front of the camera).
        faces: [F, 3] int indices into the V points.
        height, width: image size in pixels.
        cull_backfaces: draw only triangles whose corners are counter-clockwise in the image.

    Raises:
        ValueError: a wrong shape, or a face with a vertex that does not exist.
    """
    points, faces = _check_mesh(points, faces)
    batch, device = len(points), points.device
    triangle = torch.empty(batch, height, width, dtype=torch.int32, device=device)
    barycentric = torch.empty(batch, height, width, 3, device=device)
    depth = torch.empty(batch, height, width, device=device)

    initialize_warp()
    mesh = (wp.from_torch(points, wp.vec3), wp.from_torch(faces, wp.vec3i))
    nearest = wp.from_torch(nearest_keys(points, faces, height, width, cull_backfaces), wp.int64)
    pixels = (wp.from_torch(triangle), wp.from_torch(barycentric, wp.vec3), wp.from_torch(depth))
    launch(resolve_pass, (batch, height, width), (*mesh, nearest, *pixels), device)
    return Fragments(triangle, barycentric, depth)


def nearest_keys(points: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool = False) -> Tensor:
    """Return the key (`kernels.z_pass`) of the nearest triangle at every pixel [B, H, W] int64.

    It is `EMPTY` where there is none.

    Args:
        points: [B, V, 3] float32, contiguous; see `rasterize`.
        faces: [F, 3] int32, contiguous.
    """
    device = points.device
    nearest = torch.full((len(points), height, width), EMPTY.value, dtype=torch.int64, device=device)
    mesh = wp.from_torch(points, wp.vec3), wp.from_torch(faces, wp.vec3i)
    launch(z_pass, (len(points), len(faces)), (*mesh, cull_backfaces, wp.from_torch(nearest, wp.int64)), device)
    return nearest


def visible(points: Tensor, fragments: Fragments, tolerance: float) -> Tensor:
    """Test whether points lie inside the image and not behind the surface drawn at their pixel.

    Args:
        points: [B, V, 3] x and y in pixels, camera depth in metres. NaN points are not visible.
        fragments: of B images.
        tolerance: how far behind the surface a point may lie, metres. Points of the surface itself need some, since
            they are compared with the depth at the centre of their pixel.

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
    """Compute unit vertex normals, the area-weighted mean of face normals. Differentiable in the vertices.

    Args:
        vertices: [B, V, 3].
        faces: [F, 3] int, corners counter-clockwise as seen from outside.

    Returns:
        [B, V, 3] outward unit vectors, 0 for vertices without a face. The order of summation is fixed on the CPU; on
        CUDA the last bit may vary unless `torch.use_deterministic_algorithms` is on.
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

    A pixel centre at distance d from a segment gets clamp(radius + 0.5 - d, 0, 1). Where segments of one channel
    overlap, the maximum counts.

    Args:
        points: [B, S, 2, 2] end points (x, y) in pixels. Segments that are not finite are skipped.
        channels: [S] int, the channel to draw each segment in.
        n_channels: C, number of channels.
        radius: half the thickness, in pixels.
        height, width: image size in pixels.

    Returns:
        [B, C, H, W] float32 in [0, 1].

    Raises:
        ValueError: a wrong shape, or a channel that does not exist.
    """
    points, channels = _check_segments(points, channels, n_channels)
    return draw_checked_segments(points, channels, n_channels, radius, height, width)


def draw_checked_segments(
    points: Tensor, channels: Tensor, n_channels: int, radius: float, height: int, width: int
) -> Tensor:
    """Do as `draw_segments` with valid float32 points and int32 channels, without waiting for a GPU to check them."""
    points = points.detach().contiguous()
    picture = torch.zeros(len(points), n_channels, height, width, device=points.device)
    initialize_warp()
    segments = (wp.from_torch(points, wp.vec2), wp.from_torch(channels), float(radius))
    launch(segment_pass, tuple(points.shape[:2]), (*segments, wp.from_torch(picture)), points.device)
    return picture


def _check_mesh(points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Convert a mesh to contiguous float32 and int32, as the kernels need it."""
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be [B, V, 3], got {list(points.shape)}")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"faces must be [F, 3], got {list(faces.shape)}")
    faces = _check_indices("faces", faces, points.shape[1])
    return points.detach().float().contiguous(), faces.to(points.device)


def _check_segments(points: Tensor, channels: Tensor, n_channels: int) -> tuple[Tensor, Tensor]:
    """Convert segments to contiguous float32 and int32, as the kernel needs them."""
    if points.ndim != 4 or points.shape[-2:] != (2, 2):
        raise ValueError(f"points must be [B, S, 2, 2], got {list(points.shape)}")
    if channels.shape != points.shape[1:2]:
        raise ValueError(f"channels must be [{points.shape[1]}], got {list(channels.shape)}")
    channels = _check_indices("channels", channels, n_channels)
    return points.detach().float().contiguous(), channels.to(points.device)


def _check_indices(name: str, indices: Tensor, count: int) -> Tensor:
    """Convert indices to contiguous int32; check their range, since a kernel would read out of bounds."""
    if indices.is_floating_point():
        raise ValueError(f"{name} must be integers, got {indices.dtype}")
    if indices.numel():
        low, high = (int(bound) for bound in indices.aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"{name} must lie in 0 .. {count - 1}, got {low} .. {high}")
    return indices.to(torch.int32).contiguous()


@cache
def initialize_warp() -> None:
    """Start Warp on first use instead of on import, without its banner and its log of loaded kernels."""
    if wp.config.log_level == wp.LOG_INFO:  # the default; any other level was set on purpose
        wp.config.log_level = wp.LOG_WARNING
    usual = platformdirs.user_cache_path("warp", "NVIDIA")
    if _WARP_CACHE not in os.environ and (kernels := library_cache("warp", usual)) != usual:
        os.environ[_WARP_CACHE] = str(kernels)
    if torch.cuda.is_available():
        wp.init()
    else:
        with silence_stderr():  # Warp's C++ complains about a missing CUDA driver
            wp.init()


def launch(kernel: wp.Kernel, dim: tuple[int, ...], inputs: tuple, device: torch.device) -> None:
    """Launch a kernel on torch's current stream, in order with torch's own work."""
    stream = wp.stream_from_torch(device) if device.type == "cuda" else None
    wp.launch(kernel, dim=dim, inputs=inputs, device=wp.device_from_torch(device), stream=stream)
