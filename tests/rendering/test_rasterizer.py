"""Compare the Warp kernels with plain torch, and both with geometry that is known exactly."""

import math
import subprocess
import sys

import pytest
import torch
from rendering.plain_rasterizer import draw_segments_reference, rasterize_reference
from torch import Tensor

from ram_avatar.rendering.rasterizer import (
    Fragments,
    draw_segments,
    rasterize,
    vertex_normals,
    visible,
)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def make_sphere(rings: int, segments: int) -> tuple[Tensor, Tensor]:
    """Make a closed unit sphere: vertices [V, 3], faces [F, 3] counter-clockwise from outside."""
    polar = torch.linspace(0, math.pi, rings + 1)[1:-1, None]
    azimuth = torch.arange(segments) * (2 * math.pi / segments)
    x, y, z = polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos().expand(-1, segments)
    vertices = torch.cat((torch.stack((x, y, z), -1).reshape(-1, 3), torch.tensor([[0.0, 0, 1], [0, 0, -1]])))
    here = torch.arange(segments)
    there = (here + 1) % segments
    north, south = len(vertices) - 2, len(vertices) - 1
    faces = [torch.stack((torch.full_like(here, north), here, there), -1)]
    for ring in range(0, (rings - 2) * segments, segments):
        faces.append(torch.stack((here + ring, here + ring + segments, there + ring), -1))
        faces.append(torch.stack((there + ring, here + ring + segments, there + ring + segments), -1))
    last = (rings - 2) * segments
    faces.append(torch.stack((torch.full_like(here, south), there + last, here + last), -1))
    return vertices, torch.cat(faces)


def project(vertices: Tensor, focal: float, size: int) -> Tensor:
    """Project camera space (x right, y down, z forward, metres) to pixels of a square image and depth."""
    x, y, z = vertices.unbind(-1)
    return torch.stack((x / z * focal + size / 2, y / z * focal + size / 2, z), -1)


def rays(focal: float, size: int) -> Tensor:
    """Return points [size, size, 3] at depth 1 on the rays through the pixel centres."""
    slope = (torch.arange(size) + 0.5 - size / 2) / focal
    y, x = torch.meshgrid(slope, slope, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), -1)


def random_soup(batch: int, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Make triangles of all sizes in, across and outside an image, some behind the camera, flat or not finite."""
    generator = torch.Generator().manual_seed(count)
    centre = torch.rand(batch, count, 1, 3, generator=generator) * 1.6 - 0.3
    size = 0.6 * torch.rand(1, count, 1, 1, generator=generator) ** 3
    corners = centre + size * torch.randn(batch, count, 3, 3, generator=generator)
    points = (corners * torch.tensor([width, height, 3.0])).reshape(batch, -1, 3)
    points[:, ::41, 0] = torch.nan
    points[:, 7::53, 2] = torch.inf
    points[:, 11::67, 2] = torch.nan
    faces = torch.randperm(3 * count, generator=generator).reshape(-1, 3)
    faces[: count // 2] = torch.arange(3 * count).reshape(-1, 3)[: count // 2]
    faces[::29, 2] = faces[::29, 1]
    return points, faces


def assert_same(actual: Fragments, expected: Fragments) -> None:
    assert torch.equal(actual.triangle.cpu(), expected.triangle)
    torch.testing.assert_close(actual.depth.cpu(), expected.depth, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(actual.barycentric.cpu(), expected.barycentric, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("batch, count, height, width", [(1, 300, 37, 53), (3, 120, 64, 9), (2, 60, 1, 1)])
def test_soup_matches_reference(
    batch: int, count: int, height: int, width: int, cull: bool, device: torch.device
) -> None:
    points, faces = random_soup(batch, count, height, width)
    expected = rasterize_reference(points, faces, height, width, cull)
    assert_same(rasterize(points.to(device), faces.to(device), height, width, cull), expected)
    drawn = expected.triangle.unique()
    assert len(drawn) > min(20, height * width)  # otherwise the comparison means little
    assert not {index for index in drawn.tolist() if index >= 0 and index % 29 == 0}  # flat by construction


def test_results_are_consistent(device: torch.device) -> None:
    points, faces = random_soup(2, 200, 40, 40)
    result = rasterize(points.to(device), faces.int().to(device), 40, 40)
    assert result.triangle.dtype == torch.int32 and result.mask.any() and not result.mask.all()
    assert torch.equal(result.mask, result.depth.isfinite())
    torch.testing.assert_close(result.barycentric.sum(-1), result.mask.float())
    assert (result.barycentric >= 0).all()
    depth = result.interpolate(points.to(device)[..., 2:].nan_to_num(), faces.to(device))[..., 0]
    torch.testing.assert_close(depth[result.mask], result.depth[result.mask])
    assert not depth[~result.mask].any()


@pytest.mark.parametrize("z", [(1.0, 1.0, 0.0), (1.0, 1.0, -2.0), (1.0, 1.0, 0.05), (1.0, 1.0, torch.nan)])
def test_triangles_at_or_behind_the_near_plane_are_skipped(z: tuple, device: torch.device) -> None:
    corners = torch.tensor([[0.0, 0], [20, 0], [0, 20]])
    points = torch.cat((corners, torch.tensor(z)[:, None]), 1)[None].to(device)
    faces = torch.tensor([[0, 1, 2]], device=device)
    assert not rasterize(points, faces, 8, 8).mask.any()
    assert rasterize(points.nan_to_num().clamp(min=0.051), faces, 8, 8).mask.all()


def test_huge_and_far_away_triangles(device: torch.device) -> None:
    huge = [[-3e6, -2e6, 1.0], [5e6, -1e6, 2.0], [0.0, 7e6, 3.0]]
    away = [[3e9, 3e9, 0.5], [4e9, 3e9, 0.5], [3e9, 4e9, 0.5]]
    points, faces = torch.tensor([huge + away]), torch.tensor([[3, 4, 5], [0, 1, 2]])
    result = rasterize(points.to(device), faces.to(device), 16, 24)
    assert (result.triangle == 1).all()
    assert_same(result, rasterize_reference(points, faces, 16, 24))


def test_nothing_to_draw(device: torch.device) -> None:
    points = torch.rand(2, 3, 3, device=device)
    face = torch.tensor([[0, 1, 2]], device=device)
    for result in (rasterize(points, face[:0], 4, 5), rasterize(points - 9, face, 4, 5)):
        assert result.triangle.shape == (2, 4, 5) and (result.triangle == -1).all()
        assert not result.barycentric.any() and result.depth.isinf().all()
        assert not result.interpolate(torch.ones(3, 2, device=device), face).any()


def test_ties_go_to_the_lowest_index(device: torch.device) -> None:
    vertices, faces = make_sphere(12, 20)
    points = project(vertices + torch.tensor([0.0, 0, 3]), 60, 64)[None].to(device)
    faces = faces.to(device)
    once = rasterize(points, faces, 64, 64)
    thrice = rasterize(points, torch.cat((faces, faces, faces)), 64, 64)
    assert torch.equal(once.triangle, thrice.triangle)


def test_interpolation_is_perspective_correct(device: torch.device) -> None:
    size, focal = 48, 40.0
    normal, offset = torch.tensor([0.3, -0.8, -1.2]), -2.0  # the plane <normal, x> = offset
    corners = torch.tensor([[-0.9, -0.9, 1], [0.9, -0.9, 1], [0.9, 0.9, 1], [-0.9, 0.9, 1]])
    vertices = corners * (offset / (corners @ normal))[:, None]
    assert vertices[:, 2].max() / vertices[:, 2].min() > 3 and vertices[:, 2].min() > 0.1
    points, faces = project(vertices, focal, size)[None].to(device), torch.tensor([[0, 1, 2], [0, 2, 3]])
    faces = faces.to(device)
    result = rasterize(points, faces, size, size)
    expected = rays(focal, size)
    expected = expected * (offset / (expected @ normal))[..., None]
    assert result.mask.all()
    torch.testing.assert_close(result.interpolate(vertices.to(device), faces)[0].cpu(), expected)
    torch.testing.assert_close(result.depth[0].cpu(), expected[..., 2])


def test_attributes_may_have_faces_of_their_own() -> None:
    points = torch.tensor([[[0.0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]]])
    result = rasterize(points, torch.tensor([[0, 1, 2], [0, 2, 3]]), 4, 4)
    colours = torch.tensor([[1.0], [2.0]])
    image = result.interpolate(colours, torch.tensor([[0, 0, 0], [1, 1, 1]]))[0, ..., 0]
    torch.testing.assert_close(image, 1.0 + (result.triangle[0] == 1))
    assert set(image.flatten().tolist()) == {1.0, 2.0}


def test_gradients_of_interpolate() -> None:
    points, faces = random_soup(2, 30, 6, 7)
    result = rasterize(points, faces, 6, 7)
    faces = faces % 11
    for shape in ((11, 3), (2, 11, 3)):
        attributes = torch.rand(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda values: result.interpolate(values, faces), attributes)


@pytest.mark.parametrize("radius", [0.3, 1.0])
def test_sphere_has_no_holes(radius: float, device: torch.device) -> None:
    size, focal, distance = 200, 300.0, 3.0
    vertices, faces = make_sphere(150, 151)
    points = project(radius * vertices + torch.tensor([0.0, 0, distance]), focal, size)[None].to(device)
    result = rasterize(points, faces.to(device), size, size)
    ray = rays(focal, size)
    ray = ray / ray.norm(dim=-1, keepdim=True)
    miss = distance * (1 - ray[..., 2] ** 2).sqrt()  # distance of each ray to the centre of the sphere
    mask = result.mask[0].cpu()
    assert mask[miss < radius * 0.999].all()  # chords of the mesh lie up to 0.1 % inside the sphere
    assert not mask[miss > radius].any()
    along = distance * ray[..., 2] - (radius**2 - miss**2).clamp(min=0).sqrt()
    inner = miss < 0.9 * radius
    expected = (along * ray[..., 2])[inner]
    torch.testing.assert_close(result.depth[0].cpu()[inner], expected, atol=2e-3 * radius, rtol=0)
    culled = rasterize(points, faces.to(device), size, size, cull_backfaces=True)
    assert torch.equal(culled.triangle[0].cpu()[inner], result.triangle[0].cpu()[inner])
    inside_out = rasterize(points, faces.flip(1).to(device), size, size, cull_backfaces=True)
    assert (inside_out.depth[0].cpu()[inner] > distance).all()


@pytest.mark.parametrize("step", [1e-7, 0.25, 0.5])
def test_shared_edges_have_no_holes(step: float, device: torch.device) -> None:
    """Draw a jittered grid over the image, with corners rounded so that many edges pass through pixel centres."""
    generator = torch.Generator().manual_seed(0)
    cells, size = 90, 64
    line = torch.linspace(-2, size + 2, cells + 1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack((x, y), -1) + torch.rand(cells + 1, cells + 1, 2, generator=generator) * 0.2
    points = (points / step).round() * step
    points = torch.cat((points.view(-1, 2), 1 + torch.rand((cells + 1) ** 2, 1, generator=generator)), 1)
    corner = (torch.arange(cells)[:, None] * (cells + 1) + torch.arange(cells)).flatten()
    right, below, across = corner + 1, corner + cells + 1, corner + cells + 2
    faces = torch.cat((torch.stack((corner, right, across), -1), torch.stack((corner, across, below), -1)))
    assert rasterize(points[None].to(device), faces.to(device), size, size).mask.all()


def test_visible(device: torch.device) -> None:
    size, focal = 128, 150.0
    vertices, faces = make_sphere(60, 60)
    placed = vertices + torch.tensor([0.0, 0, 3])
    points = project(placed, focal, size)[None].to(device)
    result = rasterize(points, faces.to(device), size, size)
    facing = (-vertices * placed).sum(-1) / placed.norm(dim=-1)  # cosine of the angle to the viewer
    seen = visible(points, result, tolerance=0.03)[0].cpu()
    assert seen[facing > 0.3].all() and not seen[facing < -0.4].any()  # at the silhouette it depends on pixels

    shown = torch.tensor([[64, 64, 1.9], [64, 64, 2.02], [1, 1, 9]])
    hidden = torch.tensor([[64, 64, 2.1], [-0.1, 64, 1], [64, 128, 1], [64, 64, -1], [torch.nan, 64, 1]])
    assert visible(shown[None].to(device), result, tolerance=0.03).all()
    assert not visible(hidden[None].to(device), result, tolerance=0.03).any()


def test_normals_of_a_sphere_point_outward() -> None:
    vertices, faces = make_sphere(40, 50)
    moved = torch.stack((vertices, 1e-3 * vertices + 5))
    normals = vertex_normals(moved.double(), faces)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, len(vertices)).double())
    assert ((normals * vertices).sum(-1) > 0.998).all()
    assert (vertex_normals(vertices[None], faces.flip(1)) * vertices).sum(-1).max() < -0.998


def test_gradients_of_normals() -> None:
    vertices, faces = make_sphere(4, 5)
    vertices = vertices[None].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, faces), vertices)


def test_vertices_without_a_face_have_no_normal() -> None:
    vertices = torch.rand(2, 5, 3, requires_grad=True)
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2]]))
    assert not normals[:, 3:].any() and torch.equal(normals[:, 0], normals[:, 2])
    normals[..., 0].sum().backward()
    assert vertices.grad.isfinite().all()


@pytest.mark.parametrize("radius", [0.0, 1.25, 6.0])
def test_segments_match_reference(radius: float, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, 40, 2, 2, generator=generator) * 90 - 25
    points[:, 0, 1] = points[:, 0, 0]  # a point
    points[0, 1, 0, 1] = torch.nan
    points[1, 2, 1, 0] = torch.inf
    points[:, 3] = torch.tensor([[-1e6, 3.0], [1e6, 30.0]])
    channels = torch.randint(4, (40,), generator=generator)
    expected = draw_segments_reference(points, channels, 5, radius, 33, 47)
    actual = draw_segments(points.to(device), channels.to(device), 5, radius, 33, 47)
    torch.testing.assert_close(actual.cpu(), expected, atol=1e-3, rtol=0)
    assert (expected[:, :4].amax((2, 3)) > 0).all() and not expected[:, 4].any()


def test_a_segment_looks_as_defined() -> None:
    points = torch.tensor([[[[2.5, 4.5], [6.5, 4.5]], [[torch.nan, 0], [8, 8]]]])
    for draw in (draw_segments, draw_segments_reference):
        picture = draw(points, torch.tensor([0, 1]), 2, 1.0, 9, 9)
        assert picture.shape == (1, 2, 9, 9) and not picture[0, 1].any()
        torch.testing.assert_close(picture[0, 0, 2:8, 4], torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0, 0.0]))
        torch.testing.assert_close(picture[0, 0, 4], torch.tensor([0.0, 0.5, 1, 1, 1, 1, 1, 0.5, 0]))
        torch.testing.assert_close(picture[0, 0, 3, 7].item(), 1.5 - math.sqrt(2))


def test_no_segments() -> None:
    assert not draw_segments(torch.zeros(2, 0, 2, 2), torch.zeros(0).long(), 3, 1.0, 4, 5).any()


@pytest.mark.parametrize(
    "points, faces, message",
    [
        (torch.zeros(4, 3), torch.zeros(1, 3).long(), r"\[B, V, 3\]"),
        (torch.zeros(1, 4, 3), torch.zeros(3).long(), r"\[F, 3\]"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 3), "integers"),
        (torch.zeros(1, 4, 3), torch.tensor([[0, 1, 4]]), r"0 \.\. 3"),
        (torch.zeros(1, 4, 3), torch.tensor([[0, -1, 2]]), r"0 \.\. 3"),
    ],
)
def test_wrong_meshes_are_refused(points: Tensor, faces: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterize(points, faces, 4, 4)


def test_wrong_segments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0 \.\. 1"):
        draw_segments(torch.zeros(1, 1, 2, 2), torch.tensor([2]), 2, 1.0, 4, 4)
    with pytest.raises(ValueError, match=r"\[B, S, 2, 2\]"):
        draw_segments(torch.zeros(1, 2, 2), torch.tensor([0]), 2, 1.0, 4, 4)


def test_warp_starts_lazily_and_silently() -> None:
    program = """
import torch, warp
from ram_avatar.rendering.rasterizer import rasterize
assert warp._src.context.runtime is None
rasterize(torch.ones(1, 3, 3), torch.tensor([[0, 1, 2]]), 4, 4)
assert warp._src.context.runtime is not None
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
