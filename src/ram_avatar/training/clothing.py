"""What a person wears, and their hair: how far their surface stands off from the template's, measured from mattes.

The template is naked. One length per vertex, along its normal, moves the surface to where the mattes of many frames end
(`training.outlines`); vertices that no outline shows follow their neighbours. See docs/method.md, "Clothing".
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional as F

from ..body.template import FINGERS, Body, BodyTemplate
from ..capture.capture import Capture
from ..capture.cropper import CloseUpCropper
from ..core.progress import SILENT, Progress, follow
from ..rendering.rasterizer import vertex_normals
from ..rendering.texture.median import choose_frames
from .outlines import NOTHING, Evidence, Shot, look

MEASURED_FROM = 48  # frames at most
_SIZE = 384  # side of the close-ups that outlines are compared in, pixels
_LEAST, _MOST = -0.02, 0.2  # metres
_ROUNDS = 4  # of moving the surface and looking at its new outline
_KEPT = 0.5  # weight of what earlier rounds saw, per round
_REWEIGHTED = 3  # times per round
_SURE = 0.015  # metres: larger differences count linearly (Huber)
_STIFF = 0.001  # metres of outline: weight of the offset's slope
_REACH = 0.3  # metres: beyond what outlines show, the offset falls off over this distance
_BARE, _FEET = 1e3, 30.0  # how much more than elsewhere an offset costs on bare skin, and on feet, which wear shoes
_FACE_MOVES = 0.002  # metres: what facial actions move so far is bare skin
_SMOOTHED = 8  # times, so that the normals of a fold do not cross


def measure_clothing(capture: Capture, template: BodyTemplate, progress: Progress = SILENT) -> Tensor:
    """Measure the clothing [V, 3] (`BodyTemplate.dressed`) of a capture's person on its training frames, metres."""
    cropper, chosen = CloseUpCropper(capture, template), set(choose_frames(capture.train_frames, MEASURED_FROM))
    mattes = enumerate(follow(capture.mattes(), progress, "Measuring clothes", len(capture)))
    shots = [
        Shot(
            cropper.cut(index, matte, _SIZE),
            cropper.inside(index, _SIZE),
            capture.motion[[index]],
            cropper.camera(index, _SIZE),
        )
        for index, matte in mattes
        if index in chosen
    ]
    return ClothingFit(template, capture.identity).measure(shots)


class ClothingFit:
    """Measures the clothing of one person; everything that does not depend on the frames."""

    @torch.no_grad()
    def __init__(self, template: BodyTemplate, identity: Tensor):
        self.template, self.identity = template, identity
        rest, faces = template.body(identity).rest_vertices, template.faces
        self.normals = _smooth_normals(rest, faces)  # [V, 3]
        slope, area = slope_energy(rest.double().numpy(), faces.numpy())
        face, feet = _face(template, identity), template.role_weight("foot", "toes")
        bare = torch.maximum(face, template.role_weight("hand", *FINGERS, "eye").clamp(0, 1).square())
        cost = 1 + _BARE * bare.double().numpy() + _FEET * feet.double().numpy()
        self.prior = _STIFF * (slope + diags(area / _REACH**2 * cost))

    @torch.no_grad()
    def measure(self, shots: Sequence[Shot]) -> Tensor:
        """Return the clothing [V, 3] that brings the outlines of a person to those of their mattes, metres."""
        offset, known = np.zeros(len(self.normals)), NOTHING
        for _ in range(_ROUNDS):
            bodies = self._bodies(offset)
            found = Evidence.cat([look(shot, *_posed(shot, *bodies), self.template.faces) for shot in shots])
            # A gap that has closed has no outline any more. What was seen of it remains.
            known = Evidence.cat([known.times(_KEPT), found.times(1 / len(shots)).about(offset)])
            offset = self.solve(known, offset)
        return self._clothing(offset)

    def solve(self, known: Evidence, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the offset [V] of each vertex along its normal that fits evidence best, metres.

        It minimizes the integral of the Huber loss of the gap along the outlines, and over the surface that of the
        squared slope and, weakly, of the squared offset.

        Args:
            known: about no offset.
            start: [V] where to begin.
        """
        moves, offset = known.matrix(len(start)), start
        for _ in range(_REWEIGHTED):
            miss = np.abs(moves @ offset - known.gap)
            weighted = diags(known.weight * _SURE / np.maximum(miss, _SURE)) @ moves
            matrix = (moves.T @ weighted + self.prior).tocsc()
            solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
            offset = solver.solve(weighted.T @ known.gap)
        return np.clip(offset, _LEAST, _MOST)

    def _bodies(self, offset: NDArray[np.float64]) -> tuple[Body, Body]:
        """Return the dressed body, and one whose clothes stand off a metre farther."""
        clothing = self._clothing(offset)
        at, beyond = (self.template.dressed(each).body(self.identity) for each in (clothing, clothing + self.normals))
        return at, beyond

    def _clothing(self, offset: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(offset).float()[:, None] * self.normals


def _posed(shot: Shot, body: Body, farther: Body) -> tuple[Tensor, Tensor]:
    """Return the dressed vertices [V, 3] in a frame, and how they move per metre of their offset [V, 3]."""
    at, beyond = (each.pose(*shot.motion.parameters()).vertices[0] for each in (body, farther))
    return at, beyond - at  # skinning is linear in the offset


def slope_energy(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[csr_matrix, NDArray[np.float64]]:
    """Return the matrix [V, V] of the integral of a function's squared slope over a mesh, and each vertex's area [V].

    Linear finite elements: the cotangent Laplacian, its cotangents bounded for slivers.
    """
    count = len(vertices)
    rows, columns, values = [], [], []
    areas = np.zeros(count)
    for k in range(3):
        i, j, opposite = (faces[:, (k + step) % 3] for step in range(3))
        one, other = vertices[i] - vertices[opposite], vertices[j] - vertices[opposite]
        twice = np.linalg.norm(np.cross(one, other), axis=1)
        weight = np.clip((one * other).sum(1) / np.maximum(twice, 1e-12), 0.0, 10.0) / 2
        rows += [i, j, i, j]
        columns += [j, i, i, j]
        values += [-weight, -weight, weight, weight]
        np.add.at(areas, i, twice / 6)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return coo_matrix(entries, (count, count)).tocsr(), np.maximum(areas, 1e-8)


def _smooth_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the vertices' normals [V, 3], averaged with those of their neighbours."""
    normals = vertex_normals(vertices[None], faces)[0]
    start, end = torch.cat([faces[:, [i, (i + 1) % 3]] for i in range(3)]).T
    for _ in range(_SMOOTHED):
        normals = F.normalize(normals.index_add(0, start, normals[end]), dim=-1, eps=1e-20)
    return normals


def _face(template: BodyTemplate, identity: Tensor) -> Tensor:
    """Return how much facial actions move each vertex [V], up to 1."""
    body, actions = template.body(identity), torch.eye(len(template.action_names))
    still = torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, len(template.pose_joints), 3)
    neutral = body.pose(*still, torch.zeros(1, len(actions))).vertices[0]
    moved = [(body.pose(*still, action[None]).vertices[0] - neutral).norm(dim=1) for action in actions]
    return (torch.stack(moved).amax(0) / _FACE_MOVES).clamp(max=1.0)
