from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.rendering.framing import Square
from ram_avatar.synthetic.laboratory import synthesize
from ram_avatar.synthetic.options import SynthOptions
from ram_avatar.tracking.offline.close_ups import CloseUps
from ram_avatar.tracking.offline.fitting import Fit
from ram_avatar.tracking.offline.refinement import find_points, paint_surface, spread_points

SIZE = 192


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("film") / "f", SynthOptions(frames=6, fps=5.0, size=SIZE))


def test_flow_corrects_a_wrong_fit(truth, template):
    """With the true motion shifted by three pixels, the flow leads most points back to their true places."""
    camera, points = truth.camera, spread_points(template, 300)
    frames, masks = map(list, zip(*truth.frames(), strict=True))
    whole, shown = [Square(0.0, 0.0, float(SIZE))] * 6, np.array([True, True, False, True, True, True])
    known = np.ones((SIZE, SIZE), bool)
    close_ups = CloseUps(camera, SIZE, whole, frames, masks, truth.background(), known, shown, range(6))
    texture = paint_surface(template, Fit(truth.identity, truth.motion, camera, {}), close_ups)
    depth = truth.motion.root_translation[:, 1].mean()
    shift = torch.tensor([3.0 * float(depth) / camera.focal, 0.0, 0.0])
    moved = replace(truth.motion, root_translation=truth.motion.root_translation + shift)
    fitted = Fit(truth.identity, moved, camera, {})
    body, errors, used = template.body(truth.identity), [], []
    found = list(find_points(template, fitted, close_ups, texture, points))
    assert [index for index, *_ in found] == [0, 1, 3, 4, 5]
    for index, place, seen, offset in found:
        posed = body.pose(*truth.motion[[index]].parameters()).vertices
        true = camera.project(posed)[0, points, :2]
        errors.append((place - true)[seen].norm(dim=-1))
        used.append(seen.float().mean())
        assert 1.5 < offset < 4.5
    assert torch.cat(errors).median() < 1.0  # of three pixels
    assert np.mean(used) > 0.2


def test_points_cover_the_whole_body(template):
    points = spread_points(template, 100)
    assert len(set(points.tolist())) == 100
    surface = template.body(template.default_identity()).reference_vertices()
    reach = torch.cdist(surface, surface[points]).amin(1)
    assert reach.max() < 0.15  # metres: every part has some


def test_the_frame_replaces_an_unknown_background(truth):
    frames, masks = map(list, zip(*truth.frames(), strict=True))
    known = np.zeros((SIZE, SIZE), bool)
    known[:, : SIZE // 2] = True
    square, shown = Square(0.0, 0.0, float(SIZE)), np.ones(6, bool)
    background = np.full_like(truth.background(), 7)
    close_ups = CloseUps(truth.camera, SIZE, [square] * 6, frames, masks, background, known, shown, range(6))
    behind = close_ups.behind(2)
    assert (behind[:, : SIZE // 2] == 7).all()
    assert np.array_equal(behind[:, SIZE // 2 :], frames[2][:, SIZE // 2 :])
