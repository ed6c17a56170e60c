from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from ram_avatar.rendering.texture import filling
from ram_avatar.rendering.texture.filling import SAME_PLACE, SAME_SIDE, Origins, SurfaceFiller
from ram_avatar.rendering.texture.texels import Texels


@dataclass
class Ball:
    """What the filler needs of a template: a sphere of 10 cm, whose upper quarter counts as its head."""

    vertices: np.ndarray
    faces: Tensor

    def role_weight(self, *prefixes: str) -> Tensor:
        return torch.from_numpy(self.vertices[:, 2] > 0.05).float()


@pytest.fixture(scope="module")
def ball() -> Ball:
    rings, around = 8, 12
    polar, angle = np.meshgrid(
        np.linspace(0.1, np.pi - 0.1, rings), np.arange(around) * 2 * np.pi / around, indexing="ij"
    )
    vertices = 0.1 * np.stack([np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.cos(polar)], -1)
    faces = []
    for i in range(rings - 1):
        for j in range(around):
            a, b, c, d = (
                i * around + j,
                i * around + (j + 1) % around,
                (i + 1) * around + j,
                (i + 1) * around + (j + 1) % around,
            )
            faces += [(a, c, b), (b, c, d)]
    return Ball(vertices.reshape(-1, 3).astype(np.float32), torch.tensor(faces))


def plainly_filled(filler: SurfaceFiller, colors: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Fill texel by texel, comparing each with all others, with dense matrices."""
    at, normals, mix = filler.points, filler._normals, filler._mix.toarray()
    stiffness, area = filler._stiffness.toarray(), filler._vertex_area

    def nearest(point: np.ndarray, there: np.ndarray, farthest: float) -> tuple[float, np.ndarray]:
        apart = np.linalg.norm(at - point, axis=1)
        chosen = [j for j in np.argsort(apart + 1e9 * ~there, kind="stable")[:4] if apart[j] < farthest]
        weight = np.array([1 / (apart[j] + 1e-4) for j in chosen])
        if not chosen:
            return np.inf, np.zeros(3)
        return apart[chosen[0]], (colors[chosen] * weight[:, None]).sum(0) / weight.sum()

    def smooth(values: np.ndarray, given: np.ndarray, prior: np.ndarray, reach: float) -> np.ndarray:
        right, system = np.zeros((len(area), 3)), stiffness.copy()
        for v in range(len(area)):
            share = mix[given, v].sum() / max(mix[:, v].sum(), 1e-9)
            if share > 0.1:
                system[v, v] += 10
                right[v] += 10 * (mix[given, v, None] * values[given]).sum(0) / mix[given, v].sum()
            system[v, v] += area[v] / reach**2 + 1e-9
            right[v] += (area[v] / reach**2 + 1e-9) * prior[v]
        return mix @ np.linalg.solve(system, right)

    def faded(i: int, there: np.ndarray, filling: np.ndarray) -> np.ndarray:
        distance, color = nearest(at[i], there, 0.05)
        near = max(0.0, 1 - distance / 0.05)
        near = near**2 * (3 - 2 * near)
        return (near * color + (1 - near) * filling).clip(0, 255)

    shares, share = [], lambda where: filler._area[where].sum() / filler._area.sum()
    shares.append(share(known))
    for axis, farthest in ((0, SAME_PLACE), (1, SAME_SIDE)):
        sources = known if axis == 0 else known & filler._two_sided
        twin = np.full(len(at), -1)
        for i in range(len(at)):
            if axis == 1 and not filler._two_sided[i]:
                continue
            flip = np.array([-1 if k == axis else 1 for k in range(3)])
            moved = at * flip - at[i] if axis == 0 else (at - at[i]) * [1, 0, 1]
            apart = np.sqrt((moved**2).sum(1) + 0.04**2 * ((normals * flip - normals[i]) ** 2).sum(1))
            apart[~sources] = np.inf
            if apart.min() <= farthest:
                twin[i] = apart.argmin()
        found = twin >= 0
        difference = np.where(found[:, None], colors - colors[twin], 0)
        filling = colors[twin] + smooth(difference, known & found, np.zeros((len(area), 3)), 0.05)
        new = {i: faded(i, known, filling[i]) for i in np.flatnonzero(found & ~known)}
        colors = colors.copy()
        for i, color in new.items():
            colors[i] = color
        shares.append(share(found & ~known))
        known = known | found
    shares.append(share(~known))
    prior = np.array([nearest(point, known, np.inf)[1] for point in filler._vertices])
    filling = smooth(colors, known, prior, 1.0)
    return np.array([colors[i] if known[i] else faded(i, known, filling[i]) for i in range(len(at))]), shares


def test_filling_matches_a_plain_one(ball):
    generator = np.random.default_rng(0)
    triangle = np.arange(len(ball.faces)).repeat(3)
    barycentric = generator.dirichlet([2, 2, 2], len(triangle)).astype(np.float32)
    filler = SurfaceFiller(ball, ball.vertices, triangle, barycentric)
    x, y, z = filler.points.T
    known = (y < 0.02) & ((x > -0.03) | (z < -0.06))
    colors = generator.uniform(0, 255, (len(triangle), 3)) * known[:, None]
    wanted, shares = plainly_filled(filler, colors, known)
    found, origins = filler.fill(colors, known)
    np.testing.assert_allclose(found, wanted, atol=0.01)
    np.testing.assert_allclose(list(origins.rounded().values()), shares, atol=1e-4)
    assert all(share > 0.03 for share in shares) and sum(shares) == pytest.approx(1)
    np.testing.assert_array_equal(found[known], colors[known])


@pytest.fixture(scope="module", params=["template", "smplx"])
def filler(request) -> SurfaceFiller:
    template = request.getfixturevalue(request.param)
    return Texels(template, template.default_identity(), 256).filler()


def test_a_half_that_was_not_seen_mirrors_the_other(filler):
    """A rope pattern, which nothing but the twin explains, on a person lit from one side."""
    x, y, z = filler.points.T
    pattern = 120 + 60 * np.sin(60 * z) * np.sin(70 * np.abs(x)) + 20 * np.sin(50 * y)
    wanted = np.stack([pattern, pattern, pattern], 1).astype(np.float32)
    found, origins = filler.fill(np.where(x[:, None] > 0, wanted, 0), x > 0)
    assert origins.twin > 0.47 and origins.neighbours < 0.02
    far = x < -filling._FADE
    assert np.abs(found - wanted)[far].mean() < 6
    darker = np.where(x[:, None] > 0, wanted, wanted - 30)
    known = (x > 0) | (z > np.quantile(z, 0.8))
    found, _ = filler.fill(np.where(known[:, None], darker, 0), known)
    border = ~known & (z > z[known & (x < 0)].min() - 0.01)
    assert np.abs(found - darker)[border].mean() < 10  # meets what is seen above


def test_a_back_takes_the_colors_of_the_front_and_a_head_does_not(filler):
    _, y, z = filler.points.T
    front = filler._normals[:, 1] < -0.3
    stripes = np.repeat((120 + 100 * np.sign(np.sin(60 * z)))[:, None], 3, 1).astype(np.float32)
    found, origins = filler.fill(np.where(front[:, None], stripes, 0), front)
    assert origins.other_side > 0.3
    back = filler._two_sided & (filler._normals[:, 1] > 0.8)
    assert (np.abs(found - stripes)[back] < 40).mean() > 0.8
    head = ~filler._two_sided & (filler._normals[:, 1] > 0.8) & (y > 0.05)
    assert found[head].std() < 0.5 * found[back].std()


def test_colors_that_reach_nowhere_are_continued(filler):
    """One known texel: the whole surface takes its colour, without a twin."""
    known = np.zeros(len(filler.points), bool)
    known[np.argmax(filler.points[:, 2])] = True
    found, origins = filler.fill(np.full((len(known), 3), 50.0), known)
    assert np.abs(found - 50).max() < 1 and origins.neighbours > 0.99


def test_shares_are_of_the_area_not_of_the_texels(template):
    filler = Texels(template, template.default_identity(), 256).filler()
    legs = filler.points[:, 2] < -0.1
    _, origins = filler.fill(np.full((len(legs), 3), 50.0), legs)
    assert isinstance(origins, Origins) and 0.3 < origins.seen < 0.5
    assert origins.seen == pytest.approx(float(filler._area[legs].sum() / filler._area.sum()))
    assert origins.seen > 1.05 * legs.mean()
