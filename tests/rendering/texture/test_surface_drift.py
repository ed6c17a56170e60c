import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.rendering.rasterizer import vertex_normals
from ram_avatar.rendering.texture.drift import common_drift, projected, tangents


@pytest.fixture(scope="module")
def vertices(template) -> torch.Tensor:
    return template.body(template.default_identity()).reference_vertices()


def test_tangents_lie_in_the_surface_and_turn_with_it(template, vertices):
    along = tangents(vertices, template.faces)
    normals = vertex_normals(vertices[None], template.faces)[0].numpy()
    assert np.abs((along * normals[:, None]).sum(2)).max() < 1e-4
    assert np.quantile(np.abs(along @ along.swapaxes(1, 2) - np.eye(2)).max((1, 2)), 0.95) < 1e-3
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    apart = np.abs(tangents(vertices @ turn.T, template.faces) - along @ turn.T.numpy()).max((1, 2))
    assert np.quantile(apart, 0.95) < 1e-3  # where the mesh is folded, normals are arbitrary


def test_what_all_offsets_share_is_found_whichever_way_the_body_turns(template, vertices):
    """A drift of one centimetre upward, beside errors that cancel."""
    along, camera = tangents(vertices, template.faces), Camera.default(512, 512)
    up = np.array([0.0, 0.0, 0.01])
    offsets, moves, weights = [], [], []
    for angle, error in ((0.0, 2.0), (0.6, 1.0), (-0.6, -1.0), (0.0, -2.0)):
        turn = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]).float()
        posed = vertices @ turn.T + torch.tensor([0.0, 3.0, 0.0])
        moves.append(projected(tangents(posed, template.faces), camera, posed[:, 1].numpy()))
        offsets.append((moves[-1] @ (along @ up)[..., None])[..., 0] + [0.0, error])
        facing = -vertex_normals(posed[None], template.faces)[0, :, 1].numpy()
        weights.append(facing.clip(0) ** 2)
    found = common_drift(offsets, moves, weights, along, lambda values, _: values)
    front = np.min(weights, axis=0) > 0.3
    step = (found[..., None] * along).sum(1)[front]
    missed = np.abs(step - (along * (along @ up)[..., None]).sum(1)[front]).max(1)
    assert np.quantile(missed, 0.95) < 0.003
