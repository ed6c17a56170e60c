"""Long hair: a cap over the skull, and a curtain that falls from it behind and beside the shoulders."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from ..body.anny import AnnyTemplate
from ..body.template import Body
from .cloth import Fabric
from .loose import Piece, part, thinned
from .posing import Array
from .wardrobe import linear

DARK, LIGHT = "#3b2317", "#8a5a38"

CAP_ROWS, FREE_ROWS, COLUMNS = 9, 16, 44
SPREAD = np.radians(120)  # from the back of the head to the temples
LENGTH = 0.40  # metres below the cap
STRANDS = Fabric(narrowest=0.25, widest=1.15, stiffness=0.1, drag=5.0, friction=0.08, gap=0.016)


def long_hair(template: AnnyTemplate, body: Body) -> Piece:
    """Grow hair to the shoulder blades on a dressed body, whose own hair lies underneath."""
    posed = body.at_reference()
    vertices = posed.vertices[0].double().numpy()
    at = lambda role: posed.joints[0, template.joint_of(role), :3, 3].double().numpy()
    eye = at("eye.L")
    middle = np.array([0.0, eye[1] + 0.085, eye[2] + 0.01])
    # Columns to the right as seen from outside, from the right temple over the back to the left one.
    aside = np.linspace(-SPREAD, SPREAD, COLUMNS)[None] + np.pi / 2
    up = np.radians(np.linspace(84, -32, CAP_ROWS))[:, None]
    toward = np.stack([np.cos(up) * np.cos(aside), np.cos(up) * np.sin(aside), np.sin(up) + 0 * aside], -1)
    cap = middle + toward * (_reach(vertices[part(template, "head", "neck")] - middle, toward) + STRANDS.gap)[..., None]
    uneven = gaussian_filter(np.random.default_rng(5).standard_normal(COLUMNS), 0.8)
    length = LENGTH * (1 + 0.06 * uneven - 0.2 * np.linspace(-1, 1, COLUMNS) ** 2)
    down = np.linspace(0, 1, FREE_ROWS + 1)[1:, None, None] * length[:, None]
    curtain = cap[-1] + down * [0.0, 0.0, -1.0]
    rest = np.concatenate([cap, curtain])
    carried = torch.zeros(CAP_ROWS * COLUMNS, len(template.joint_names))
    carried[:, template.joint_of("head")] = 1
    return Piece(
        rest,
        CAP_ROWS,
        closed=False,
        carried_by=carried,
        against=thinned(part(template, "head", "neck", "spine", "clavicle", "shoulder", "upperarm"), vertices),
        fabric=STRANDS,
        texture=_strands(),
    )


def _reach(away: Array, toward: Array) -> Array:
    """Return how far points at `away` [K, 3] from a middle reach in directions [R, C, 3], smoothed; [R, C]."""
    distance = np.linalg.norm(away, axis=1)
    _, nearest = cKDTree(away / distance[:, None]).query(toward, k=6)
    return gaussian_filter(distance[nearest].max(-1), 1.0, mode="nearest")


def _strands(side: int = 1024) -> torch.Tensor:
    """Return the texture [side, side, 3]: strands from dark roots to light tips."""
    v, u = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    random = np.random.default_rng(3).random((2, 64, 256))
    fine, broad = (
        map_coordinates(noise, [v * rows, u * columns + 3 * np.sin(4 * v)], order=1, mode="grid-wrap")
        for noise, rows, columns in ((random[0], 9, 230), (random[1], 4, 40))
    )
    light = np.clip(0.15 + 0.5 * v + 0.55 * (fine - 0.5) + 0.6 * (broad - 0.5), 0, 1)[..., None]
    color = linear(DARK) + (linear(LIGHT) - linear(DARK)) * light
    return torch.from_numpy(color.astype(np.float32))
