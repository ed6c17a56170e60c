"""Condition maps (paper, section 3.1): images of a posed template, the network's input."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.template import (
    FINGERS,
    SIDES,
    BodyTemplate,
    Posed,
)
from ..core.camera import Camera, Lens
from ..motion.motion import Motion
from .filmed_poses import FilmedPoses
from .rasterizer import (
    Fragments,
    draw_checked_segments,
    rasterize,
    vertex_normals,
)
from .texture.levels import TextureLevels
from .texture.sampling import sample_texture, spread_colors

EXPANSION = 0.01  # metres the expanded mesh is pushed out, to cover hair and loose clothing just outside the body
_IRIS_CONE = 0.45  # radians about the forward axis of the eyeball
MAP_CHANNELS = 4 + 4 + 3 + len(FINGERS) + 3 + 1  # of all maps of a frame


@dataclass
class MeshMaps:
    """The condition maps of N frames, each of one frame only. Float32, [N, C, H, W]."""

    position: Tensor  # [N, 4, H, W] canonical coordinates in [-1, 1], then the coverage mask
    expanded: Tensor  # [N, 4, H, W] the same for the expanded mesh
    face: Tensor  # [N, 3, H, W] camera-space normals of the head in [-1, 1]; eyeballs +1 white, -1 iris
    hands: Tensor  # [N, 5, H, W] finger bones as lines, one channel per finger, both hands
    color: Tensor  # [N, 3, H, W] colours of the surface texture in [-1, 1], spread beyond the outline; 0 far from it
    novelty: (
        Tensor  # [N, 1, H, W] how far the limb shown is from filmed poses, 0 to 1 (`filmed_poses`); spread likewise
    )

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, frames: slice | list[int] | Tensor) -> "MeshMaps":
        """Select frames; the batch dimension stays."""
        return MeshMaps(**{name: tensor[frames] for name, tensor in vars(self).items()})

    @staticmethod
    def cat(parts: list["MeshMaps"]) -> "MeshMaps":
        """Concatenate along the frames."""
        return MeshMaps(**{name: torch.cat([getattr(p, name) for p in parts]) for name in vars(parts[0])})


class ConditionMapper:
    """Draws the condition maps of one person through one camera.

    Args:
        identity: [I] of the template.
        camera: of the square image to draw.
        texture: [3, T, T] surface colours in [-1, 1] (see `texture`), or None for no colour.
        filmed: [K, 4, 2, 3] poses that the video showed (see `filmed_poses`), or None for no novelty.
    """

    def __init__(
        self,
        template: BodyTemplate,
        identity: Tensor,
        camera: Camera,
        texture: Tensor | None = None,
        filmed: Tensor | None = None,
    ):
        device = identity.device
        self.template, self.camera = template, camera
        self.body = template.body(identity)
        self.filmed = None if filmed is None else FilmedPoses(template, filmed)
        self.faces, self.uv, self.uv_faces = template.faces, template.uv, template.uv_faces
        reference = self.body.reference_vertices()
        mesh = (self.uv, self.uv_faces, reference, self.faces)
        self.texture = None if texture is None else TextureLevels(texture, *mesh)
        low, high = reference.amin(0), reference.amax(0)
        # One scale for all three axes, so the canonical space keeps the body's proportions.
        self.canonical = (reference - (low + high) / 2) / ((high - low).max() / 2)
        head = template.role_weight("head", "eye", "neck2") > 0.5
        self.head = head.float().to(device)
        self.eyes, self.eye_color = _eyeballs(template, reference)
        self.finger_joints = torch.tensor(
            [
                [template.joint_of(f"{role}.{side}") for role in ("hand", *(f"{finger}{k}" for k in (1, 2, 3)))]
                for side in SIDES
                for finger in FINGERS
            ],
            device=device,
        )  # [10, 4]
        self.fingertips = template.fingertips.to(device)  # [10, K] vertices
        segments = torch.arange(len(FINGERS), device=device).repeat(2).repeat_interleave(4)
        self.finger_channels = segments.int()  # [40]

    @torch.no_grad()
    def __call__(self, motion: Motion, camera: Camera | None = None) -> MeshMaps:
        """Draw the maps of the frames of a motion.

        Args:
            camera: replaces the mapper's; of the same size, such as a close-up's (`framing.Square.camera`).
        """
        posed = self.body.pose(*motion.parameters())
        camera, size = camera or self.camera, (self.camera.height, self.camera.width)
        points = camera.project(posed.vertices)
        normals = vertex_normals(posed.vertices, self.faces)
        drawn = rasterize(points, self.faces, *size)
        grown = rasterize(camera.project(posed.vertices + EXPANSION * normals), self.faces, *size)
        if self.texture is None:
            sampled = points.new_zeros(len(motion), 3, *size)
        else:
            texture = self.texture.suitable(camera.lens(points.device), posed.vertices)
            sampled = sample_texture(texture, drawn, self.uv, self.uv_faces)
        novel = drawn.interpolate(self.novelty(posed)[..., None], self.faces).permute(0, 3, 1, 2)
        surface = spread_colors(torch.cat([sampled, novel], 1), drawn.mask[:, None].float(), max(size))
        return MeshMaps(
            position=self._position(drawn),
            expanded=self._position(grown),
            face=self._face(drawn, normals),
            hands=self.draw_fingers(self.finger_chains(points, posed, camera)),
            color=surface[:, :3],
            novelty=surface[:, 3:],
        )

    @torch.no_grad()
    def surface(self, posed: Posed, camera: Camera) -> Tensor:
        """Draw the surface's colours in [-1, 1] and the coverage mask, [N, 4, H, W], at the camera's own size."""
        drawn = rasterize(camera.project(posed.vertices), self.faces, camera.height, camera.width, cull_backfaces=True)
        mask = drawn.mask[:, None].float()
        if self.texture is None:
            return torch.cat([mask.new_zeros(len(mask), 3, *mask.shape[2:]), mask], 1)
        texture = self.texture.suitable(camera.lens(mask.device), posed.vertices)
        return torch.cat([sample_texture(texture, drawn, self.uv, self.uv_faces), mask], 1)

    def novelty(self, posed: Posed) -> Tensor:
        """Return how novel the pose is that carries each vertex, [B, V] in [0, 1]; see `FilmedPoses.novelty`."""
        if self.filmed is None:
            return posed.vertices.new_zeros(posed.vertices.shape[:2])
        return self.filmed.novelty(posed.joints)

    def _position(self, drawn: Fragments) -> Tensor:
        canonical = drawn.interpolate(self.canonical, self.faces)
        return torch.cat([canonical, drawn.mask[..., None].float()], -1).permute(0, 3, 1, 2).contiguous()

    def _face(self, drawn: Fragments, normals: Tensor) -> Tensor:
        look = torch.where(self.eyes[:, None], self.eye_color[:, None].expand(-1, 3), normals)
        return drawn.interpolate(look * self.head[:, None], self.faces).permute(0, 3, 1, 2).contiguous()

    @property
    def finger_radius(self) -> float:
        """Half the thickness of a bone in the hand map, pixels."""
        return 0.75 * self.camera.height / 256

    @torch.no_grad()
    def positions(self, motion: Motion, camera: Camera | None = None) -> Tensor:
        """Draw only the position maps [N, 4, H, W]."""
        vertices = self.body.pose(*motion.parameters()).vertices
        points = (camera or self.camera).project(vertices)
        return self._position(rasterize(points, self.faces, self.camera.height, self.camera.width))

    def finger_chains(self, points: Tensor, posed: Posed, camera: Camera | Lens) -> Tensor:
        """Return [B, 10, 5, 2] pixels of each finger's joints from wrist to tip, left hand first."""
        joints = camera.project(posed.joints[:, :, :3, 3])[..., :2]
        tips = points[:, self.fingertips, :2].mean(2)
        return torch.cat([joints[:, self.finger_joints], tips[:, :, None]], 2)

    def draw_fingers(self, chains: Tensor) -> Tensor:
        """Draw the hand map [B, 5, H, W]."""
        segments = torch.stack([chains[:, :, :-1], chains[:, :, 1:]], 3).flatten(1, 2)  # [B, 40, 2, 2]
        size = (self.camera.height, self.camera.width)
        return draw_checked_segments(segments, self.finger_channels, len(FINGERS), self.finger_radius, *size)


def _eyeballs(template: BodyTemplate, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return which vertices are eyeballs [V] bool, and their value in the face map [V]: +1 white, -1 iris."""
    eyes = template.role_weight("eye.") > 0.5
    look = torch.ones(len(reference), device=reference.device)
    for side in SIDES:
        ball = template.role_weight(f"eye.{side}") > 0.5
        ray = reference - reference[ball].mean(0)
        forward = -ray[:, 1] / ray.norm(dim=-1).clamp(min=1e-9)
        look[ball & (forward > torch.cos(torch.tensor(_IRIS_CONE)))] = -1.0
    return eyes.to(reference.device), look
