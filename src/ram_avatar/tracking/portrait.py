"""Portraits of a template: renders that a detector takes for a person (`correspondence_measuring`)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..body.template import Body, BodyTemplate, Posed
from ..core.camera import Camera
from ..rendering.rasterizer import rasterize, vertex_normals

SKIN, SHIRT, TROUSERS, EYE_WHITE = (205.0, 165.0, 145.0), (180.0, 60.0, 60.0), (60.0, 60.0, 80.0), (235.0,) * 3
IRIS, PUPIL, BACKGROUND = (70, 50, 30), (10, 10, 10), (150, 150, 145)
HEAD_DISTANCE = 1.2  # metres from the camera
_HEAD_HEIGHT = 0.34  # metres that a portrait of the head shows
TONGUE_MOTION = 0.004  # metres: tongueOut moves the vertices of the tongue by more
IRIS_RADIUS, PUPIL_RADIUS = 0.0059, 0.0025  # metres: MediaPipe takes every iris to be 11.7 mm wide


@dataclass(frozen=True)
class MeshPoints:
    """N points of the surface: weighted sums of vertices, the same on every body."""

    vertices: np.ndarray  # [N, C] indices
    weights: np.ndarray  # [N, C]

    def __getitem__(self, index: Any) -> "MeshPoints":
        return MeshPoints(self.vertices[index], self.weights[index])

    def on(self, mesh: np.ndarray) -> np.ndarray:
        """Return their positions [N, 3] on a mesh [V, 3]."""
        return (mesh[self.vertices] * self.weights[..., None]).sum(-2)

    def reflected(self, mirror: np.ndarray) -> "MeshPoints":
        """Return the same points on the other side of the body; mirror [V] is the vertex opposite each vertex."""
        return MeshPoints(mirror[self.vertices], self.weights)

    def join(self, other: "MeshPoints", axis: int = 0) -> "MeshPoints":
        """Return the points of both (axis 0), or the sums of both (axis -1)."""
        return MeshPoints(
            np.concatenate([self.vertices, other.vertices], axis),
            np.concatenate([self.weights, other.weights], axis),
        )


@dataclass(frozen=True)
class Portrait:
    """A render, and what each pixel shows."""

    image: np.ndarray  # [H, W, 3] uint8 RGB
    triangle: np.ndarray  # [H, W], -1 for the background
    barycentric: np.ndarray  # [H, W, 3]

    def points(self, where: np.ndarray, faces: np.ndarray) -> MeshPoints:
        """Return the surface points at the pixels of a mask [H, W], none of them background."""
        return MeshPoints(faces[self.triangle[where]], self.barycentric[where])


class PortraitStudio:
    """Renders a template with skin, plain clothes and dark irises, lit from the camera's upper left."""

    def __init__(self, template: BodyTemplate):
        self.template = template
        self.faces = template.faces.numpy()
        self.is_eye = (template.role_weight("eye.") > 0.5).numpy()
        self.is_eyeball = self.is_eye[self.faces].all(1)
        still, moved = (self._posed(self.body(), tongueOut=weight).vertices[0] for weight in (0.0, 1.0))
        is_tongue = ((moved - still).norm(dim=-1) > TONGUE_MOTION).numpy()  # none, if the template has no tongue
        self.is_skin = ~self.is_eyeball & ~is_tongue[self.faces].all(1)
        self.colors = self._vertex_colors()

    def _vertex_colors(self) -> Tensor:
        part = self.template.role_weight
        colors = torch.tensor(SKIN, dtype=torch.float32).repeat(len(self.is_eye), 1)
        colors[part("spine", "clavicle", "upper_arm") > 0.5] = torch.tensor(SHIRT)
        colors[part("hips", "thigh", "shin") > 0.5] = torch.tensor(TROUSERS)
        colors[self.is_eye] = torch.tensor(EYE_WHITE)
        return colors

    def render(self, body: Body, vertices: Tensor, camera: Camera, triangles: np.ndarray | None = None) -> Portrait:
        """Render a body.

        Args:
            vertices: [V, 3] in world axes.
            triangles: [F] bool, to draw only some of the triangles.
        """
        chosen = np.flatnonzero(np.ones(len(self.faces), bool) if triangles is None else triangles)
        faces = self.template.faces[chosen]
        fragments = rasterize(camera.project(vertices)[None], faces, camera.height, camera.width)
        normals = vertex_normals(vertices[None], self.template.faces)[0]
        reference = body.at_reference()
        attributes = torch.cat([self.colors, normals, reference.vertices[0]], 1)
        pixels = fragments.interpolate(attributes, faces)[0]
        color, normal, resting = (part.numpy() for part in pixels.split(3, -1))

        triangle = fragments.triangle[0].numpy()
        triangle = np.where(triangle >= 0, chosen[triangle], -1)
        drawn = triangle >= 0
        self._paint_irises(color, resting, drawn & self.is_eyeball[triangle], reference)
        normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-6)
        lamp = np.array([-0.25, -0.9, 0.35]) / np.linalg.norm([-0.25, -0.9, 0.35])
        color = color * (0.3 + 0.7 * np.abs(normal @ lamp))[..., None]
        color[~drawn] = BACKGROUND
        barycentric = fragments.barycentric[0].double().numpy()
        return Portrait(color.clip(0, 255).astype(np.uint8), triangle, barycentric)

    def _paint_irises(self, color: np.ndarray, resting: np.ndarray, on_eye: np.ndarray, rest: Posed) -> None:
        for side in "LR":
            offset = resting - rest.joints[0, self.template.joint_of(f"eye.{side}"), :3, 3].numpy()
            off_axis = np.hypot(offset[..., 0], offset[..., 2])  # the eye looks along -y
            for radius, paint in ((IRIS_RADIUS, IRIS), (PUPIL_RADIUS, PUPIL)):
                color[on_eye & (off_axis < radius)] = paint

    def body(self, identity: Tensor | None = None) -> Body:
        """Return a body of the identity [I], the default one if None."""
        return self.template.body(self.template.default_identity() if identity is None else identity)

    def head(
        self, body: Body, yaw: float = 0.0, pitch: float = 0.0, size: int = 640, **actions: float
    ) -> tuple[Portrait, Camera, Tensor]:
        """Render a head, 34 cm in the image; return also the camera, and the vertices [V, 3] in front of it.

        Args:
            yaw, pitch: radians.
            size: pixels of each side.
            actions: facial actions by name, 0 to 1.
        """
        camera = Camera(size * HEAD_DISTANCE / _HEAD_HEIGHT, size / 2, size / 2, size, size)
        posed = self._posed(body, yaw, pitch, **actions)
        eyes = posed.joint_positions([self.template.joint_of(f"eye.{side}") for side in "LR"])[0].mean(0)
        vertices = posed.vertices[0] - eyes + torch.tensor([0.0, HEAD_DISTANCE, 0.04])
        return self.render(body, vertices, camera), camera, vertices

    def _posed(self, body: Body, yaw: float = 0.0, pitch: float = 0.0, **actions: float) -> Posed:
        """In the reference pose. Actions that the template lacks are ignored."""
        weights = torch.tensor([[actions.get(name, 0.0) for name in self.template.action_names]])
        zeros = torch.zeros(1, len(self.template.pose_joints), 3)
        return body.pose(torch.tensor([[pitch, 0.0, yaw]]), torch.zeros(1, 3), zeros, weights)
