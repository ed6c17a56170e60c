import numpy as np
import pytest

from ram_avatar.rendering.texture.fields import SurfaceFields
from ram_avatar.rendering.texture.sources import Looks, choose_sources
from ram_avatar.rendering.texture.texels import Texels


@pytest.fixture(scope="module")
def fields(template) -> SurfaceFields:
    return SurfaceFields(Texels(template, template.default_identity(), 64))


@pytest.fixture(scope="module")
def height(template) -> np.ndarray:
    return template.body(template.default_identity()).reference_vertices()[:, 2].numpy()


def looks(count: int, vertices: int, **changes: np.ndarray) -> Looks:
    """Return how equal frames show the vertices, with changes."""
    same = {name: np.ones((count, vertices)) for name in ("facing", "sharpness", "error", "inside")}
    return Looks(**(same | {name: np.ones(count) for name in ("scale", "calm")} | changes))


def test_each_place_takes_the_frame_that_shows_it_best(fields, height):
    upper = height > 0.3
    facing = np.where([upper, ~upper, upper & ~upper], 0.9, 0.3)
    scores = looks(3, len(height), facing=facing).scores(fields, np.zeros(len(height), bool))
    sources, label = choose_sources(scores, fields)
    assert set(sources) == {0, 1}
    chosen = sources[label]
    far = np.abs(height - 0.3) > 0.1
    assert (chosen[far & upper] == 0).mean() > 0.98 and (chosen[far & ~upper] == 1).mean() > 0.98


def test_neighbours_share_a_frame_unless_it_is_much_worse(fields, height):
    scores = 1 + 0.05 * np.random.default_rng(0).normal(size=(6, len(height)))
    _, label = choose_sources(scores, fields)

    def shared(label: np.ndarray) -> float:
        around = fields.around((label[:, None] == np.arange(6)).astype(float))
        return around[np.arange(len(label)), label].mean()

    assert shared(label) > 0.7 > 3 * shared(scores.argmax(0))


def test_a_face_comes_from_one_frame_with_open_eyes(fields, height):
    face = height > 0.6
    sharpness = np.random.default_rng(0).uniform(0.8, 1.2, (4, len(height)))
    scores = looks(4, len(height), sharpness=sharpness, calm=np.array([0.5, 0.4, 1.0, 0.6])).scores(fields, face)
    sources, label = choose_sources(scores, fields)
    assert (sources[label][face] == 2).mean() > 0.95


def test_wrong_hidden_and_blurred_places_are_avoided(fields, height):
    count = len(height)
    low = np.where([[False] * count, height < 0, height >= 0], 0.05, 1.0)
    nowhere = np.zeros(count, bool)
    for name, values in (("inside", low), ("sharpness", 5 * low), ("error", 20 * (1 - low))):
        scores = looks(3, count, **{name: values}).scores(fields, nowhere)
        assert (scores[0] >= scores.max(0) - 0.25).all(), name
        assert scores[1][height < -0.1].mean() < 0.5 * scores[0][height < -0.1].mean(), name
