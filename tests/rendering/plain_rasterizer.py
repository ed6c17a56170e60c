"""The rasterizer in plain torch, the definition of what the kernels compute."""

import torch
from torch import Tensor

from ram_avatar.rendering.kernels import NEAR_PLANE
from ram_avatar.rendering.rasterizer import Fragments


def rasterize_reference(
    points: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool = False
) -> Fragments:
    """Rasterize by testing each triangle at every pixel of the image."""
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
        # strictly nearer: at equal depth the first triangle stays
        nearer = drawn[:, None, None] & inside & (z > 0) & (z < depth)
        triangle = triangle.where(~nearer, index)
        depth = depth.where(~nearer, z)
        barycentric = barycentric.where(~nearer[..., None], torch.stack(weights, -1) / weight[..., None])
    return Fragments(triangle, barycentric, depth)


def draw_segments_reference(
    points: Tensor, channels: Tensor, n_channels: int, radius: float, height: int, width: int
) -> Tensor:
    """Draw each segment at every pixel of the image."""
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
