import numpy as np
import pytest

from ram_avatar.rendering.texture.fields import SurfaceFields
from ram_avatar.rendering.texture.texels import Texels


@pytest.fixture(scope="module")
def fields(template) -> SurfaceFields:
    return SurfaceFields(Texels(template, template.default_identity(), 128))


@pytest.fixture(scope="module")
def vertices(template) -> np.ndarray:
    return template.body(template.default_identity()).reference_vertices().numpy()


def test_smoothing_keeps_constants_and_gaps_take_their_surroundings(fields, vertices):
    values = np.full((len(vertices), 2), 7.0)
    weights = (vertices[:, 2] > vertices[:, 2].mean()).astype(float)
    values[weights == 0] = np.nan_to_num(np.inf, posinf=1e6)
    smooth = fields.smoother(0.1)(values, weights)
    near = vertices[:, 2] > vertices[:, 2].mean() - 0.2
    np.testing.assert_allclose(smooth[near], 7.0, rtol=1e-3)


def test_smoothing_crosses_the_seams_of_the_texture(fields, vertices, template):
    """Values differ smoothly between the ends of every edge, wherever the texture is cut."""
    noise = np.random.default_rng(0).normal(size=(len(vertices), 1))
    smooth = fields.smoother(0.05)(noise, np.ones(len(vertices)))[:, 0]
    corner = template.faces.numpy()
    apart = np.abs(smooth[corner[:, 0]] - smooth[corner[:, 1]])
    cut = np.bincount(np.unique(np.stack([corner.ravel(), template.uv_faces.numpy().ravel()]), axis=1)[0]) > 1
    seam = cut[corner[:, 0]] & cut[corner[:, 1]]
    assert seam.any() and apart[seam].mean() < 1.5 * apart[~seam].mean()


def test_values_pass_between_texels_and_vertices(fields, vertices):
    heights = fields.at_texels(vertices[:, 2:])
    back, share = fields.at_vertices(heights, np.ones(len(heights)))
    held = share > 0.5
    assert np.abs(back[held] - vertices[held, 2:]).max() < 0.05
