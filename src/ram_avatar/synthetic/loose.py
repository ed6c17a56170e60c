"""Clothes and hair with a geometry of their own, which hang from the body and swing with its motion."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import roma
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..body.anny import AnnyTemplate
from ..body.template import SIDES, Body, BodyTemplate, Posed
from ..motion.motion import PARTS, Motion
from ..rendering.rasterizer import vertex_normals
from .cloth import Fabric, Rods, Sheet, Skin, grid_faces, grid_uv
from .performances import FLOOR
from .posing import Array

_STEP = 0.005  # seconds, at most
_TO_BEGIN = 1.0  # seconds from the reference pose to the first one, and again to come to rest
_LEAD_FPS = 25.0
_POSED_AT_ONCE = 16


@dataclass
class Piece:
    """One garment, or the hair: a grid of R rows and C columns in the reference pose."""

    rest: Array  # [R, C, 3]
    fastened: int  # rows that the body carries
    closed: bool  # whether the columns go around
    carried_by: Tensor  # [fastened C, J] weights of the joints
    against: Tensor  # [K] vertices of the body that it lies on
    fabric: Fabric
    texture: Tensor  # [S, S, 3] linear RGB; row 0 is the upper edge
    between_legs: bool = False
    """Whether it spans from leg to leg."""
    faces: Tensor = field(init=False)  # [F, 3] into its R C points
    uv: Tensor = field(init=False)  # [U, 2]
    uv_faces: Tensor = field(init=False)  # [F, 3]

    def __post_init__(self) -> None:
        rows, columns, _ = self.rest.shape
        faces, corners = grid_faces(rows, columns, self.closed)
        self.faces, self.uv_faces = torch.from_numpy(faces), torch.from_numpy(corners)
        self.uv = torch.from_numpy(grid_uv(rows, columns, self.closed)).float()


class Loose:
    """The loose pieces of a performer.

    Args:
        body: the dressed body.
    """

    def __init__(self, template: BodyTemplate, body: Body, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self._template, self._body, self._legs = template, body, _Legs(template, body)
        self._reference = body.at_reference()

    def at_rest(self) -> Tensor:
        """Return the points [G, 3] of all pieces as they hang in the reference pose, the root at the origin."""
        template, zeros = self._template, torch.zeros
        pose, actions = zeros(1, len(template.pose_joints), 3), zeros(1, len(template.action_names))
        still = Motion(template.name, _LEAD_FPS, zeros(1, 3), zeros(1, 3), pose, actions, torch.ones(1, len(PARTS)))
        *_, points = self._swing(still, floor=-np.inf)
        return points

    def follow(self, motion: Motion) -> Iterator[Tensor]:
        """Yield the points [G, 3] of all pieces in every frame of a motion.

        Before the first frame, the body moves from the reference pose into its pose and waits until all hangs still.
        """
        return self._swing(motion, FLOOR) if self.pieces else (torch.zeros(0, 3) for _ in range(len(motion)))

    def _swing(self, motion: Motion, floor: float) -> Iterator[Tensor]:
        turn, place = roma.rotvec_to_rotmat(motion.root_rotation[0]), motion.root_translation[0]
        stand = lambda rest: (torch.from_numpy(rest).float() @ turn.T + place).double().numpy()
        sheets = [Sheet(stand(piece.rest), piece.fastened, piece.closed, piece.fabric) for piece in self.pieces]
        before: _Moment | None = None
        for part, shown in ((_into(motion[:1]), False), (motion, True)):
            steps = max(1, math.ceil(1 / part.fps / _STEP))
            for some in part.batches(_POSED_AT_ONCE):
                for now in self._moments(some):
                    before = before or now
                    for step in range(1, steps + 1):
                        for number, (sheet, piece) in enumerate(zip(sheets, self.pieces, strict=True)):
                            held, skin, rods = before.towards(now, step, steps, number)
                            sheet.step(held, skin, rods if piece.between_legs else None, floor, 1 / part.fps / steps)
                    before = now
                    if shown:
                        yield torch.from_numpy(np.concatenate([sheet.points for sheet in sheets])).float()

    @torch.no_grad()
    def _moments(self, motion: Motion) -> Iterator["_Moment"]:
        posed = self._body.pose(*motion.parameters())
        normals = vertex_normals(posed.vertices, self._template.faces)
        carried = [self._carried(piece, posed) for piece in self.pieces]
        array = lambda tensor: tensor.double().numpy()
        legs = [array(posed.joint_positions(leg)) for leg in self._legs.joints]
        for k in range(len(motion)):
            yield _Moment(
                [array(points[k]) for points in carried],
                [array(posed.vertices[k, piece.against]) for piece in self.pieces],
                [array(normals[k, piece.against]) for piece in self.pieces],
                self._legs.between(*(leg[k] for leg in legs)),
            )

    def _carried(self, piece: Piece, posed: Posed) -> Tensor:
        """Return [B, P, 3]: where joints carry the fastened points."""
        points = torch.from_numpy(piece.rest[: piece.fastened].reshape(-1, 3)).float()
        away = points[:, None] - self._reference.joints[0, :, :3, 3]  # [P, J, 3]
        by_joint = torch.einsum("bjxy,pjy->bpjx", posed.turns, away) + posed.joints[:, None, :, :3, 3]
        return (piece.carried_by[..., None] * by_joint).sum(2)


@dataclass(frozen=True)
class _Moment:
    """What the pieces hang from and lie on, in one frame; lists by piece."""

    held: list[Array]  # [P, 3]
    points: list[Array]  # [K, 3]
    normals: list[Array]  # [K, 3]
    between_legs: Rods

    def towards(self, end: "_Moment", step: int, steps: int, piece: int) -> tuple[Array, Skin, Rods]:
        """Return what piece number `piece` hangs from and lies on in a step of the way to another moment."""
        share = step / steps
        mix = lambda a, b: a + share * (b - a)
        normals = mix(self.normals[piece], end.normals[piece])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
        skin = Skin(
            mix(self.points[piece], end.points[piece]), normals, (end.points[piece] - self.points[piece]) / steps
        )
        rods, others = self.between_legs, end.between_legs
        return (
            mix(self.held[piece], end.held[piece]),
            skin,
            Rods(mix(rods.starts, others.starts), mix(rods.ends, others.ends), rods.radii),
        )


class _Legs:
    """Rods from one leg to the other, at the same share of their lengths."""

    SHARES = np.linspace(0.1, 1.6, 16)  # 0 at the hip, 1 at the knee, 2 at the ankle
    THICKNESS = 0.75  # of the leg, on average

    def __init__(self, template: BodyTemplate, body: Body) -> None:
        self.joints = [[template.joint_of(f"{role}.{side}") for role in ("thigh", "shin", "foot")] for side in SIDES]
        posed = body.at_reference()
        points = self._along(posed.joint_positions(self.joints[0])[0].double().numpy())
        of_leg = template.skin_weights[:, template.joints_of("thigh", "shin", side=SIDES[0])].sum(1) > 0.9
        distance, nearest = cKDTree(points).query(posed.vertices[0, of_leg].double().numpy())
        counts = np.bincount(nearest, minlength=len(points))
        known = counts > 0
        radii = np.bincount(nearest, distance, len(points))[known] / counts[known]
        self._radii = self.THICKNESS * np.interp(self.SHARES, self.SHARES[known], radii)

    def between(self, left: Array, right: Array) -> Rods:
        """Return the rods between legs whose hip, knee and ankle [3, 3] are given."""
        return Rods(self._along(left), self._along(right), self._radii)

    def _along(self, leg: Array) -> Array:
        return np.stack([np.interp(self.SHARES, (0, 1, 2), axis) for axis in leg.T], 1)


def _into(first: Motion) -> Motion:
    """Return a motion from the reference pose into the pose of a motion's only frame, which then waits."""
    count = round(2 * _TO_BEGIN * _LEAD_FPS)
    into = replace(first[[0] * count], fps=_LEAD_FPS)
    return replace(into, pose=into.pose * torch.linspace(0, 2, count).clamp(max=1)[:, None, None])


def part(template: AnnyTemplate, *joints: str) -> Tensor:
    """Return the indices [K] of the vertices that mostly belong to joints whose names start with one of `joints`."""
    return (template.part_weight(*joints) > 0.5).nonzero().squeeze(1)


def thinned(indices: Tensor, vertices: Array, apart: float = 0.014) -> Tensor:
    """Return one of the vertices [K], of all [V, 3], in every cube of a side in metres: enough to lie on."""
    cubes = np.floor(vertices[indices] / apart).astype(int)
    _, first = np.unique(cubes, axis=0, return_index=True)
    return indices[torch.from_numpy(np.sort(first))]


def carried_by(template: BodyTemplate, body: Body, points: Array, among: Tensor) -> Tensor:
    """Return weights [P, J] by which joints carry points [P, 3], from the nearest of some vertices [K]."""
    vertices = body.at_reference().vertices[0, among].double().numpy()
    distance, nearest = cKDTree(vertices).query(points, k=6)
    share = torch.from_numpy(1 / (distance + 0.005)).float()
    weights = (share[..., None] * template.skin_weights[among][torch.from_numpy(nearest)]).sum(1)
    return weights / weights.sum(1, keepdim=True)
