"""The performer's clothes, hair and face, as offsets and colours of the body's surface.

Regions are functions of the position in the reference pose. Vertices take their offsets from them, and texels of the
UV layout their colours, so colour edges are finer than the mesh.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse import identity as identity_matrix
from scipy.sparse.linalg import spsolve

from ..body.anny import AnnyTemplate
from ..body.template import Body, BodyTemplate
from ..rendering.rasterizer import vertex_normals
from .options import PerformerName
from .posing import Array, at_reference

# sRGB
SKIN, BLUSH, LIPS, MOUTH = "#d9a586", "#cf7f69", "#bd7466", "#4a1518"
HAIR, HAIR_LIGHT, BROW = "#33211a", "#6b4630", "#2e1d17"
EYE_WHITE, IRIS, IRIS_RING, PUPIL = "#e9e4de", "#6a5138", "#2a1d14", "#0a0908"
CREAM, NAVY, CORAL = "#f1e9da", "#25395c", "#e0614a"
DENIM, DENIM_LIGHT, STITCH = "#35506f", "#5b7a99", "#c08a4e"
TIGHTS, TIGHTS_LIGHT = "#3a3340", "#5a4f60"
SHOE, SOLE, SOCK = "#d9523f", "#f3efe8", "#e9e5dd"

STRIPE = 0.058  # metres between stripes


def linear(color: str) -> Array:
    """Convert an sRGB hex colour to linear RGB [3]."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return srgb**2.2


def smoothstep(low: float | Array, high: float | Array, value: Array) -> Array:
    """Interpolate smoothly from 0 at `low` to 1 at `high`, which may be the smaller one."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass
class Surface:
    """K points of the undressed body in the reference pose, with their body parts."""

    position: Array  # [K, 3]
    weights: dict[str, Array]  # [K] by part, 0 to 1
    dressed: Array | None = None  # [K, 3] the same points, dressed

    def __post_init__(self) -> None:
        x, self.y, self.z = self.position.T
        self.x, self.side = np.abs(x), np.sign(x)  # body and garments are symmetric
        self.mirrored = np.stack([self.x, self.y, self.z], 1)

    def __getitem__(self, part: str) -> Array:
        return self.weights[part]

    def clothed(self) -> "Surface":
        """Return the dressed surface, on which patterns and hems lie."""
        assert self.dressed is not None
        return Surface(self.dressed, self.weights)


@dataclass(frozen=True)
class Outfit:
    """What a performer wears."""

    tights: bool = False
    """Tights instead of trousers."""
    shaven: bool = False
    """No shadow of a beard."""
    loose: bool = False
    """A skirt and long hair, which have a geometry of their own."""


TROUSERS = Outfit()
OUTFITS: dict[PerformerName, Outfit] = {"trousers": TROUSERS, "skirt": Outfit(tights=True, shaven=True, loose=True)}
"""By the names of the performers."""


class Wardrobe:
    """Regions of garments, hair and face on a body.

    Args:
        template: Anny; parts are found by its joints and by the effects of its identity parameters.
        body: the undressed body.
        identity: [I] identity of the body.
        outfit: what is worn.
    """

    def __init__(self, template: BodyTemplate, body: Body, identity: torch.Tensor, outfit: Outfit = TROUSERS) -> None:
        self._outfit = outfit
        if not isinstance(template, AnnyTemplate):
            raise TypeError(f"the performer wears clothes for Anny, not for '{template.name}'")
        self.template = template
        posed = at_reference(template, body)
        joints = posed.joints[0, :, :3, 3].double().numpy()
        self._at = {name: joints[i] for i, name in enumerate(template.joint_names)}
        position = posed.vertices[0].double().numpy()

        def changed(name: str) -> Array:
            """Return [V]: how far an identity parameter moves the surface, 1 at most."""
            other = identity.clone()
            other[template.identity_names.index(name)] += 0.5
            moved = (template.body(other).rest_vertices - body.rest_vertices).norm(dim=1)
            return (moved / moved.max()).double().numpy()

        parts = {
            "arm": ("upperarm", "lowerarm", "wrist", "finger", "metacarpal"),
            "hand": ("wrist", "finger", "metacarpal"),
            "fingertip": tuple(f"finger{k}-3" for k in range(1, 6)),
            "head": ("head", "neck02", "neck03", "eye"),
            "eye": ("eye",),
            "foot": ("foot", "toe"),
        }
        weights = {part: template.part_weight(*joints).double().numpy() for part, joints in parts.items()}
        weights["lips"] = np.maximum(*(changed(f"mouth-{lip}-volume-incr") for lip in ("upperlip", "lowerlip")))
        weights["ear"] = changed("ear-scale-incr")
        self.vertices = Surface(position, weights)
        self.floor = float(position[:, 2].min())
        self._random = np.random.default_rng(7).uniform(0, 1, (32, 32, 32))

    def noise(self, position: Array, cell: float | tuple[float, float, float]) -> Array:
        """Return value noise [K] in [0, 1]; cell size in metres."""
        at = position / np.asarray(cell)
        return map_coordinates(self._random, at.T, order=1, mode="grid-wrap")

    # Regions: signed distances in metres, or fractions of a limb; positive inside ---------------------------

    def along_arm(self, s: Surface) -> Array:
        """Return the position along the upper arm: 0 at the shoulder, 1 at the elbow."""
        shoulder, elbow = self._at["upperarm01.L"], self._at["lowerarm01.L"]
        axis = elbow - shoulder
        return (s.mirrored - shoulder) @ axis / (axis @ axis)

    def shirt(self, s: Surface) -> Array:
        """Return the region of the shirt."""
        neck = self._at["neck01"]
        away = np.linalg.norm(s.position - (neck + [0, -0.012, 0.008]), axis=1)
        neckline = np.where(s["head"] > 0.5, -1.0, np.minimum(away - 0.087, neck[2] + 0.035 - s.z))
        hem = s.z - (self._at["root"][2] - 0.035 + 0.01 * np.cos(9 * s.y))
        sleeve = np.where(s["arm"] > 0.5, 0.25 * (0.8 - self.along_arm(s)), 1.0)
        return np.minimum(np.minimum(neckline, hem), sleeve)

    def trousers(self, s: Surface) -> Array:
        """Return the region of the trousers, or of the tights."""
        if self._outfit.tights:
            return np.where(s["arm"] > 0.5, -1.0, np.minimum(-self.shoe(s), 0.05 - s.z))
        ankle = s.z - (self._at["foot.L"][2] + 0.035)
        return np.where(s["arm"] > 0.5, -1.0, np.minimum(ankle, 0.05 - s.z))

    def shoe(self, s: Surface) -> Array:
        """Return the region of the shoes."""
        opening = self._at["foot.L"][2] - 0.012 - 0.18 * (s.y - self._at["foot.L"][1])
        return opening - s.z

    def hair(self, s: Surface) -> Array:
        """Return the region of the hair."""
        eye = self._at["eye.L"]
        back, up = s.y - eye[1], s.z - eye[2]
        # The hairline from the forehead over temple and sideburn, around the ear and down to the nape.
        line = np.interp(
            back,
            [-0.06, 0.012, 0.035, 0.058, 0.072, 0.095, 0.115, 0.15, 0.2],
            [0.060, 0.056, 0.047, 0.020, -0.012, 0.006, -0.035, -0.062, -0.068],
        )
        line += 0.004 * (self.noise(s.position, 0.012) - 0.5) - 0.006 * np.cos(60 * s.x) * (back < 0.03)
        return np.where((s["head"] > 0.5) & (s["ear"] < 0.12), up - line, -1.0)

    # Offsets ------------------------------------------------------------------------------------------------

    def offsets(self, faces: torch.Tensor) -> Array:
        """Return the offsets [V, 3] from the undressed to the dressed surface, in the reference pose."""
        s, smooth = self.vertices, _smoothing(faces, len(self.vertices.x))
        shirt, trousers = self.shirt(s), self.trousers(s)
        is_shirt = smoothstep(-0.012, 0.006, shirt)
        is_trousers = smoothstep(-0.012, 0.006, trousers) * (1 - is_shirt)
        is_shoe = smoothstep(-0.008, 0.008, self.shoe(s))
        hair = self.hair(s)
        # Cloth spans hollows and shoes hide the toes, so both follow a smoothed surface.
        position = s.position.copy()
        for mask, rounds in ((np.maximum(is_shirt, 0.6 * is_trousers), 30), (is_shoe, 12)):
            for _ in range(rounds):
                position += 0.5 * mask[:, None] * (smooth @ position - position)
        toes = (self._at["foot.L"][1] - s.y > 0.105) & (is_shoe > 0.5)
        position[toes] = _spanned(position, smooth, toes)
        normals = vertex_normals(torch.from_numpy(position)[None].float(), faces)[0].double().numpy()
        waist = smoothstep(0.25, 0.0, s.z)
        folds = self.noise(s.position, (0.09, 0.09, 0.05)) - 0.5
        sleeve = smoothstep(0.3, 0.8, self.along_arm(s)) * (s["arm"] > 0.5)
        thickness = is_shirt * (0.008 + 0.010 * waist + 0.012 * sleeve + 0.010 * folds)
        calf = smoothstep(self._at["lowerleg01.L"][2], self._at["foot.L"][2], s.z)
        thickness += is_trousers * (0.002 if self._outfit.tights else 0.006 + 0.014 * calf + 0.010 * folds)
        thickness += is_shoe * (0.007 + 0.004 * (s.z < self.floor + 0.028))
        position += normals * thickness[:, None]
        position = self._toe_box(position, is_shoe * smoothstep(0.09, 0.115, self._at["foot.L"][1] - s.y))
        position[:, 2] = np.maximum(position[:, 2], self.floor)  # a flat sole

        eye = self._at["eye.L"]
        back, up = s.y - eye[1], s.z - eye[2]
        volume = 0.010 + 0.020 * smoothstep(0.03, 0.11, up) + 0.010 * smoothstep(0.07, 0.0, back) * (up > 0.04)
        lumps = 0.7 + 0.6 * self.noise(s.position, (0.025, 0.05, 0.03))
        outward = s.position - [0.0, eye[1] + 0.085, eye[2] + 0.01]
        outward = outward / np.linalg.norm(outward, axis=1, keepdims=True)
        position += outward * (smoothstep(-0.004, 0.016, hair) * volume * lumps)[:, None]
        return position - s.position

    def _toe_box(self, position: Array, share: Array) -> Array:
        """Replace the toes by the front of a shoe, half an ellipsoid, blended by `share` [V]."""
        ankle, side = self._at["foot.L"], np.where(position[:, :1] < 0, [-1, 1, 1], [1, 1, 1])
        middle = np.array([ankle[0] + 0.014, ankle[1] - 0.06, self.floor + 0.016])
        away = position * side - middle
        radii = np.array([0.052, 0.158, 0.056])
        on_surface = middle + away / np.linalg.norm(away / radii, axis=1, keepdims=True)
        return position + share[:, None] * (on_surface * side - position)

    # Colours ------------------------------------------------------------------------------------------------

    def colors(self, s: Surface, occlusion: Array) -> Array:
        """Return linear RGB [K, 3]; `occlusion` [K] is 1 in the open and 0 in deep creases."""
        color = self._skin(s, occlusion)
        color = _over(color, self._hair_color(s), smoothstep(-0.002, 0.003, self.hair(s)))
        s = s.clothed()
        shirt, trousers, shoe = self.shirt(s), self.trousers(s), self.shoe(s)
        layers = (
            (linear(SOCK), np.where(s["foot"] > 0.3, self._at["foot.L"][2] + 0.06 - s.z, -1.0)),
            (self._shoe_color(s), shoe),
            (self._tights_color(s) if self._outfit.tights else self._trousers_color(s, trousers), trousers),
            (self._shirt_color(s, shirt), shirt),
        )
        for layer, inside in layers:
            hem = smoothstep(-0.018, -0.001, inside) * (inside < 0)
            color = color * (1 - 0.45 * hem)[:, None]  # shadow of a hem on the layer below
            color = _over(color, layer, smoothstep(-0.001, 0.001, inside))
        return color

    def _skin(self, s: Surface, occlusion: Array) -> Array:
        eye = self._at["eye.L"]
        color = linear(SKIN) * (0.93 + 0.14 * self.noise(s.position, 0.03))[:, None]
        color *= (0.97 + 0.06 * self.noise(s.position, 0.006))[:, None]

        def spot(x: float, up: float, radius: float) -> Array:
            away = np.hypot(s.x - x, s.z - eye[2] - up)
            return smoothstep(radius, 0.0, away) * (s["head"] > 0.5) * (s.y < eye[1] + 0.06)

        color = _over(color, linear(BLUSH), 0.35 * spot(0.042, -0.035, 0.032) + 0.35 * spot(0, -0.035, 0.02))
        color = _over(color, linear(BLUSH), 0.35 * s["ear"] + 0.25 * s["fingertip"])
        beard = smoothstep(-0.045, -0.075, s.z - eye[2]) * smoothstep(0.07, 0.03, s.y - eye[1])
        stubble = 0.5 + 0.5 * self.noise(s.position, 0.0015)
        shadow = np.where((s["head"] > 0.6) & (s["lips"] < 0.1), 0.16 * beard * stubble, 0.0)
        if not self._outfit.shaven:
            color = _over(color, linear(HAIR), shadow)
        color = _over(color, linear(LIPS), 0.85 * smoothstep(0.10, 0.32, s["lips"]))
        inside = smoothstep(0.22, 0.10, occlusion) * (s["head"] > 0.5) * (s.x < 0.045) * (s.z < eye[2] - 0.02)
        color = _over(color, linear(MOUTH), inside)
        color = _over(color, linear(BROW), self._brow(s))
        # Lashes: the rim of the lids, next to the eyeball.
        radius = self._eye_radius()
        away = np.linalg.norm(s.mirrored - eye, axis=1) / radius
        rim = smoothstep(1.16, 1.07, away) * (s["eye"] < 0.5) * (s.y < eye[1])
        color = _over(color, linear(PUPIL), rim * np.where(s.z > eye[2] - 0.002, 0.9, 0.35))
        return _over(color, self._eye_color(s, radius), (s["eye"] > 0.5).astype(float))

    def _eye_radius(self) -> float:
        s = self.vertices
        ball = s.mirrored[s["eye"] > 0.5]
        return float(np.median(np.linalg.norm(ball - self._at["eye.L"], axis=1)))

    def _brow(self, s: Surface) -> Array:
        eye = self._at["eye.L"]
        along = (s.x - (eye[0] - 0.019)) / 0.046  # 0 at the inner, 1 at the outer end
        arch = 0.0185 + 0.0055 * np.sin(np.pi * (0.05 + 0.75 * along)) - 0.001 * along
        half = 0.0045 * (1 - 0.62 * np.clip(along, 0, 1) ** 1.5)
        away = np.abs(s.z - eye[2] - arch) / half
        hairs = 0.8 + 0.2 * self.noise(s.position, (0.0011, 0.01, 0.003))
        inside = smoothstep(-0.06, 0.06, along) * smoothstep(1.04, 0.9, along) * (s.y < eye[1] + 0.03)
        return np.clip(hairs * smoothstep(1.25, 0.55, away) * inside, 0, 1) * (s["head"] > 0.5)

    def _eye_color(self, s: Surface, radius: float) -> Array:
        ahead = (s.mirrored - self._at["eye.L"]) / radius
        off_axis = np.hypot(ahead[:, 0], ahead[:, 2])
        off_axis = np.where(ahead[:, 1] < 0, off_axis, 1.0)
        angle = np.arctan2(ahead[:, 2], ahead[:, 0])
        rays = 0.8 + 0.35 * np.sin(17 * angle) * np.sin(29 * angle + 1)
        shade = 1 - 0.35 * smoothstep(0.1, 0.5, ahead[:, 2])  # cast by the upper lid
        color = linear(EYE_WHITE) * shade[:, None]
        color = _over(color, linear(BLUSH), 0.35 * smoothstep(0.6, 1.0, off_axis))
        color = _over(color, linear(IRIS_RING), smoothstep(0.47, 0.44, off_axis))
        color = _over(color, linear(IRIS) * rays[:, None], smoothstep(0.42, 0.36, off_axis))
        color = _over(color, linear(PUPIL), smoothstep(0.21, 0.18, off_axis))
        glint = np.hypot(ahead[:, 0] * s.side + 0.16, ahead[:, 2] - 0.17)  # on the same side in both eyes
        return _over(color, np.ones(3), smoothstep(0.12, 0.07, glint) * (ahead[:, 1] < 0))

    def _hair_color(self, s: Surface) -> Array:
        eye = self._at["eye.L"]
        angle = np.arctan2(s.position[:, 0], 0.5 * (s.y - eye[1] - 0.03))
        strands = self.noise(np.stack([angle, s.y, s.z], 1), (0.035, 0.06, 0.06))
        strands = 0.6 * strands + 0.4 * self.noise(s.position, (0.004, 0.03, 0.02))
        return _over(np.broadcast_to(linear(HAIR), s.position.shape), linear(HAIR_LIGHT), 0.75 * strands**2)

    def _shirt_color(self, s: Surface, shirt: Array) -> Array:
        shoulder = self._at["upperarm01.L"]
        across, back, height = s.position.T
        phase = (height - shoulder[2] + 0.05) / STRIPE
        on_sleeve = s["arm"] > 0.5
        length = np.linalg.norm(self._at["lowerarm01.L"] - shoulder)
        phase = np.where(on_sleeve, (0.66 - self.along_arm(s)) * length / STRIPE, phase)
        stripe = np.abs(phase - np.round(phase)) * STRIPE  # distance from the middle of the nearest stripe
        striped = (height < shoulder[2] - 0.04) | on_sleeve
        weave = 0.95 + 0.1 * self.noise(s.position, 0.004)
        color = np.broadcast_to(linear(CREAM), s.position.shape) * weave[:, None]
        color = _over(color, linear(NAVY), smoothstep(0.0125, 0.0105, stripe) * striped)
        color = _over(color, linear(NAVY), smoothstep(0.017, 0.015, shirt) * (height > shoulder[2] - 0.02))
        # A badge on the left side of the chest.
        right, up = across - 0.075, height - (shoulder[2] - 0.100)
        away, angle = np.hypot(right, up), np.arctan2(right, up)
        front = back < self._at["spine01"][1]
        color = _over(color, linear(CORAL), smoothstep(0.043, 0.041, away) * front)
        star = 0.029 * np.cos(np.pi / 5) / np.cos((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        star *= 0.72 + 0.28 * np.cos(5 * angle)
        return _over(color, linear(CREAM), smoothstep(0.001, -0.001, away - star) * front)

    def _trousers_color(self, s: Surface, trousers: Array) -> Array:
        knee = self._at["lowerleg01.L"]
        worn = sum(smoothstep(0.16, 0.0, np.abs(s.z - knee[2] - up)) for up in (0.08, 0.3))
        worn = worn * smoothstep(0.09, 0.0, np.abs(s.x - 0.135)) * (s.y < 0)
        twill = self.noise(s.position @ np.array([[1, 0, 0], [0, 1, 0], [0.7, 0, 1]]), (0.003, 0.003, 0.006))
        color = np.broadcast_to(linear(DENIM), s.position.shape) * (0.85 + 0.3 * twill)[:, None]
        color = _over(color, linear(DENIM_LIGHT), np.clip(0.45 * worn + 0.12 * self.noise(s.position, 0.05), 0, 1))
        # Double seam at the hem and the outer side, pocket lines in front.
        seams = smoothstep(0.002, 0.001, np.abs(trousers - 0.028))
        middle = 0.5 * (self._at["upperleg01.L"][1] + knee[1]) + 0.01
        outer = (s.x > 0.10) & (s.z < -0.1)
        seams += smoothstep(0.003, 0.0015, np.abs(s.y - middle)) * outer
        pocket = np.abs(np.hypot(s.x - 0.20, s.z + 0.03) - 0.095)
        seams += smoothstep(0.003, 0.0015, pocket) * (s.y < 0) * (s.x < 0.18) * (s.z < -0.035)
        return _over(color, linear(STITCH), 0.6 * np.clip(seams, 0, 1))

    def _tights_color(self, s: Surface) -> Array:
        knit = self.noise(s.position, (0.004, 0.004, 0.02))
        return _over(np.broadcast_to(linear(TIGHTS), s.position.shape), linear(TIGHTS_LIGHT), 0.5 * knit)

    def _shoe_color(self, s: Surface) -> Array:
        up = s.z - self.floor
        forward = self._at["foot.L"][1] - s.y
        color = np.broadcast_to(linear(SHOE), s.position.shape)
        laces = (np.sin(forward * 330) > 0.2) & (forward > 0.045) & (forward < 0.115)
        middle = self._at["foot.L"][0] + 0.12 * forward
        color = _over(color, linear(SOLE), laces * smoothstep(0.022, 0.018, np.abs(s.x - middle)) * (up > 0.03))
        color = _over(color, linear(SOLE), smoothstep(0.150, 0.153, forward))
        return _over(color, linear(SOLE), smoothstep(0.026, 0.024, up))


def _over(below: Array, above: Array, alpha: Array) -> Array:
    alpha = np.clip(alpha, 0, 1)[:, None]
    return below + (above - below) * alpha


def _smoothing(faces: torch.Tensor, count: int) -> csr_matrix:
    """Return the matrix [V, V] that averages the neighbours of each vertex."""
    corners = faces.numpy()
    start = np.concatenate([corners[:, k] for k in range(3)])
    end = np.concatenate([corners[:, (k + 1) % 3] for k in range(3)])
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(count, count)).tocsr()
    links = ((links + links.T) > 0).astype(float)
    degree = np.asarray(links.sum(1)).ravel()
    return diags(1 / np.maximum(degree, 1)) @ links


def _spanned(position: Array, smooth: csr_matrix, inside: NDArray[np.bool_]) -> Array:
    """Return positions of the inside vertices, each the mean of its neighbours: a film spanned over the border.

    Such a film has no folds (Tutte 1963), however wrinkled the surface.
    """
    system = identity_matrix(int(inside.sum()), format="csc") - smooth[inside][:, inside]
    return spsolve(system.tocsc(), smooth[inside][:, ~inside] @ position[~inside])
