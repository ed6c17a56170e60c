"""Dresses the performer: applies the wardrobe's offsets to the body and paints its colours into a texture."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..body.template import Body, BodyTemplate
from ..rendering.rasterizer import rasterize, vertex_normals, visible
from .long_hair import long_hair
from .loose import Loose, Piece
from .skirt import skirt
from .wardrobe import TROUSERS, Outfit, Surface, Wardrobe


@dataclass
class Dressed:
    """A dressed body and what hangs from it, as one surface: the body's V vertices, then G of the loose pieces."""

    body: Body
    loose: Loose
    faces: torch.Tensor  # [F, 3] into the V + G vertices
    uv: torch.Tensor  # [U, 2] texture coordinates: of the template, except for the eyes, then of the pieces
    uv_faces: torch.Tensor  # [F, 3] into them
    layer: torch.Tensor  # [F] the texture of each triangle
    textures: list[torch.Tensor]  # [S, S, 3] linear RGB of the body, then of each piece; row 0 is v = 1
    occlusion: torch.Tensor  # [V + G] ambient occlusion in the reference pose: share of the sky that is visible

    @property
    def two_sided(self) -> torch.Tensor:
        """[F]: which triangles are seen from both sides."""
        return self.layer > 0


def dress(template: BodyTemplate, identity: torch.Tensor, outfit: Outfit = TROUSERS, side: int = 1024) -> Dressed:
    """Dress the body of an identity [I], with a texture of `side` x `side` texels."""
    body = template.body(identity)
    wardrobe = Wardrobe(template, body, identity, outfit)
    target = wardrobe.vertices.position + wardrobe.offsets(template.faces)
    # The rest pose is slightly rotated against the reference pose, so this takes two steps.
    for _ in range(2):
        missing = torch.from_numpy(target).float() - body.reference_vertices()
        body.rest_vertices = body.rest_vertices + missing
    occlusion = ambient_occlusion(body.reference_vertices(), template.faces)

    names = list(wardrobe.vertices.weights)
    columns = [wardrobe.vertices.position.T, target.T, *wardrobe.vertices.weights.values(), occlusion.numpy()]
    fields = torch.from_numpy(np.vstack(columns).T.copy()).float()
    uv, depth = _enlarge_eyes(template, wardrobe.vertices)
    corners = torch.stack([uv[:, 0] * side, (1 - uv[:, 1]) * side, depth], 1)
    layout = rasterize(corners[None], template.uv_faces, side, side)
    covered = layout.mask[0].numpy()
    texels = layout.interpolate(fields, template.faces)[0].numpy()[covered].astype(float)
    surface = Surface(texels[:, :3], dict(zip(names, texels[:, 6:-1].T, strict=True)), dressed=texels[:, 3:6])
    texture = np.zeros((side, side, 3), np.float32)
    texture[covered] = wardrobe.colors(surface, texels[:, -1])
    bare = Dressed(
        body,
        Loose(template, body, []),
        template.faces,
        uv,
        template.uv_faces,
        torch.zeros(len(template.faces), dtype=torch.int64),
        [torch.from_numpy(_spread(texture, covered))],
        occlusion,
    )
    if not outfit.loose:
        return bare
    return _with(bare, template, [skirt(wardrobe.template, body), long_hair(wardrobe.template, body)])


def _with(dressed: Dressed, template: BodyTemplate, pieces: list[Piece]) -> Dressed:
    """Add loose pieces to a dressed body."""
    loose, body = Loose(template, dressed.body, pieces), dressed.body.reference_vertices()
    faces, uv_faces, layer = [dressed.faces], [dressed.uv_faces], [dressed.layer]
    vertices, corners = len(body), len(dressed.uv)
    for number, piece in enumerate(pieces, start=1):
        faces.append(piece.faces + vertices)
        uv_faces.append(piece.uv_faces + corners)
        layer.append(torch.full((len(piece.faces),), number))
        vertices, corners = vertices + piece.rest.size // 3, corners + len(piece.uv)
    all_faces = torch.cat(faces)
    return Dressed(
        dressed.body,
        loose,
        all_faces,
        torch.cat([dressed.uv, *(piece.uv for piece in pieces)]),
        torch.cat(uv_faces),
        torch.cat(layer),
        [*dressed.textures, *(piece.texture for piece in pieces)],
        ambient_occlusion(torch.cat([body, loose.at_rest()]), all_faces),
    )


def _enlarge_eyes(template: BodyTemplate, surface: Surface) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the eyes, which are too small in the UV layout for an iris, to free corners, seen from the front.

    Returns:
        The layout [U, 2], and a depth [U] by which the front of an eyeball covers its back in the layout.
    """
    uv, depth = template.uv.clone(), torch.ones(len(template.uv))
    position = torch.from_numpy(surface.position).float()
    is_eye = torch.from_numpy(surface["eye"] > 0.5)
    for sign, u in ((1.0, 0.72), (-1.0, 0.90)):
        chosen = (is_eye & (sign * position[:, 0] > 0))[template.faces].all(1)  # [F]
        vertices, corners = template.faces[chosen].flatten(), template.uv_faces[chosen].flatten()
        ball = position[vertices]
        low, high = ball.amin(0), ball.amax(0)
        from_middle = (ball - (low + high) / 2) / (high - low).max()
        uv[corners] = torch.tensor([u, 0.92]) + 0.09 * from_middle[:, [0, 2]]
        depth[corners] = 1 + from_middle[:, 1]
    return uv, depth


def ambient_occlusion(vertices: torch.Tensor, faces: torch.Tensor, directions: int = 96) -> torch.Tensor:
    """Return [V] in [0, 1]: the cosine-weighted share of light from all directions that reaches each vertex [V, 3]."""
    normals = vertex_normals(vertices[None], faces)[0]
    size, span = 384, float((vertices.max(0).values - vertices.min(0).values).max()) * 1.1
    middle = vertices.mean(0)
    received, possible = torch.zeros(len(vertices)), torch.zeros(len(vertices))
    for k in range(directions):  # a Fibonacci sphere
        height = 1 - (2 * k + 1) / directions
        angle = np.pi * (3 - 5**0.5) * k
        ring = (1 - height**2) ** 0.5
        toward = torch.tensor([ring * np.cos(angle), ring * np.sin(angle), height], dtype=torch.float32)
        points = orthographic(vertices - middle, toward, size / span, size)
        lit = visible(points, rasterize(points, faces, size, size), tolerance=0.006)[0]
        cosine = (normals @ toward).clamp(min=0)
        received += cosine * lit
        possible += cosine
    return received / possible.clamp(min=1e-6)


def orthographic(vertices: torch.Tensor, toward: torch.Tensor, scale: float, size: int) -> torch.Tensor:
    """Project vertices [(B,) V, 3] orthographically from direction `toward` [3]; returns pixels and depth [B, V, 3]."""
    aside = torch.linalg.cross(toward, torch.tensor([0.31, 0.17, 0.93]))
    aside = aside / aside.norm()
    axes = torch.stack([aside, torch.linalg.cross(toward, aside), -toward], 1)
    points = vertices @ axes * torch.tensor([scale, scale, 1.0]) + torch.tensor([size / 2, size / 2, 10.0])
    return points if points.ndim == 3 else points[None]


def _spread(texture: NDArray, covered: NDArray) -> NDArray:
    """Fill texels outside the layout with the nearest one inside, so that seams do not show."""
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    lookup = np.zeros((labels.max() + 1, 3), np.float32)
    lookup[labels[covered]] = texture[covered]
    return lookup[labels]
