"""The skirt: rings from the waist to the knees, flared, and its cloth."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from ..body.anny import AnnyTemplate
from ..body.template import Body
from .cloth import Fabric
from .loose import Piece, carried_by, part, thinned
from .posing import Array
from .wardrobe import linear, smoothstep

GREEN, CREAM, RUST = "#2f6156", "#efe6d2", "#c9683f"

WAIST = 0.3  # height above the hips, as a share of that of the middle of the spine
_TRUNK = ("root", "pelvis", "spine", "upperleg")
ROWS, COLUMNS = 22, 64
FLARE = 0.075  # metres between a standing leg and the hem, at the sides
WOVEN = Fabric(narrowest=0.5, widest=1.02, stiffness=0.35, drag=5.0, friction=0.2, gap=0.012)


def skirt(template: AnnyTemplate, body: Body) -> Piece:
    """Cut a skirt for a dressed body; it covers the knees."""
    posed = body.at_reference()
    vertices = posed.vertices[0].double().numpy()
    at = lambda role: posed.joints[0, template.joint_of(role), :3, 3].double().numpy()
    waist, knee = WAIST * at("spine2")[2], at("shin.L")
    angle = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    trunk = part(template, *_TRUNK)
    ring = _outline(vertices[trunk], waist, angle)
    below = vertices[part(template, "upperleg", "lowerleg")]
    below = below[np.abs(below[:, 2] - knee[2]) < 0.05]
    middle = below[:, 1].mean()
    hem = np.stack(
        [
            (np.abs(below[:, 0]).max() + FLARE) * np.cos(angle),
            middle + (np.ptp(below[:, 1]) / 2 + 1.7 * FLARE) * np.sin(angle),
            np.full(COLUMNS, knee[2] - 0.03),
        ],
        1,
    )
    down = np.linspace(0, 1, ROWS)[:, None, None]
    rest = ring + down * (hem - ring)
    fastened = 2
    return Piece(
        rest,
        fastened,
        closed=True,
        carried_by=carried_by(template, body, rest[:fastened].reshape(-1, 3), trunk),
        against=thinned(part(template, *_TRUNK, "lowerleg", "lowerarm", "wrist", "metacarpal", "finger"), vertices),
        fabric=WOVEN,
        texture=_cloth(),
        between_legs=True,
    )


def _outline(points: Array, height: float, angle: Array, band: float = 0.03) -> Array:
    """Return [C, 3]: a ring around the points [K, 3] near a height, at some angles [C] from their middle."""
    near = points[np.abs(points[:, 2] - height) < band]
    middle = np.array([0.0, (near[:, 1].min() + near[:, 1].max()) / 2])
    away = near[:, :2] - middle
    at, radius = np.arctan2(away[:, 1], away[:, 0]), np.linalg.norm(away, axis=1)
    order = np.argsort(at)
    radii = np.interp(angle, at[order], radius[order], period=2 * np.pi)
    radii = gaussian_filter1d(radii, 1.5, mode="wrap") + WOVEN.gap
    return np.stack([radii * np.cos(angle), middle[1] + radii * np.sin(angle), np.full(len(angle), height)], 1)


def _cloth(side: int = 1024) -> torch.Tensor:
    """Return the texture [side, side, 3]: green, with checks of cream and rust, a waistband and a border."""
    v, u = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side, indexing="ij")
    random = np.random.default_rng(11)
    weave = 0.92 + 0.16 * random.random((side, side))
    color = np.broadcast_to(linear(GREEN), (side, side, 3)) * weave[..., None]

    def over(name: str, alpha: Array) -> None:
        nonlocal color
        color = color + (linear(name) - color) * alpha[..., None]

    def lines(at: Array, count: int, width: float) -> Array:
        away = np.abs(at * count - np.round(at * count))
        return smoothstep(width, 0.7 * width, away)

    for name, start, width in ((CREAM, 0.0, 0.05), (RUST, 0.5, 0.03)):
        over(name, 0.75 * lines(u + start / 16, 16, width))
        over(name, 0.75 * lines(v + start / 7, 7, 0.8 * width))
    over(GREEN, smoothstep(0.92, 0.925, v))
    over(RUST, smoothstep(0.94, 0.945, v) * smoothstep(0.98, 0.975, v))
    over(GREEN, smoothstep(0.07, 0.065, v))
    return torch.from_numpy(color.astype(np.float32))
