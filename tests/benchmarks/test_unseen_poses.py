from dataclasses import replace

import numpy as np
import pytest
import torch
from measures import performed
from measures.performed import FPS, Filming, Performed, perform
from unseen_poses import (
    ALIGNED,
    COLUMNS,
    MESH,
    TWICE,
    CloseUps,
    Comparison,
    draw,
    drive,
    filmed_person,
    formatted,
    load_avatars,
    mean_figures,
    sheet,
    wider,
)

from ram_avatar.avatar import Avatar
from ram_avatar.body.template import BodyTemplate
from ram_avatar.capture.capture import Capture
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import SILENT
from ram_avatar.evaluation.metrics import psnr
from ram_avatar.motion.retargeting.retarget import Placement
from ram_avatar.rendering.framing import Framing, Square
from ram_avatar.synthetic.laboratory import synthesize
from ram_avatar.synthetic.options import SynthOptions
from ram_avatar.synthetic.performances import performance, performer_identity
from ram_avatar.training.first_avatar import first_avatar

SIZE = 128
FILMING = Filming(frames=6, every=2, size=SIZE, seed=0)


@pytest.fixture(scope="module")
def truth(template, tmp_path_factory) -> Performed:
    """The driving performance, from its beginning."""
    return perform("driving", tmp_path_factory.mktemp("truth"), FILMING, template, SILENT)


@pytest.fixture(scope="module")
def learned(template, tiny, tmp_path_factory) -> Avatar:
    """An untrained avatar of the narrow performance, with the truth for its capture."""
    options = SynthOptions(motion="narrow", frames=11, fps=1.0, size=SIZE)
    capture = synthesize(tmp_path_factory.mktemp("narrow") / "studio", options)
    network = replace(tiny.network, image_size=SIZE)
    return first_avatar(Capture.load(capture.folder), template, replace(tiny, network=network))


def test_every_nth_frame_is_filmed_and_kept(template, truth, tmp_path, monkeypatch):
    acted = performance("driving", template, 6, FPS)
    assert truth.numbers == [0, 2, 4] and torch.equal(truth.motion.pose, acted.pose)
    assert truth.frames.shape == (3, SIZE, SIZE, 3) and truth.masks.shape == (3, SIZE, SIZE)
    first = perform("driving", tmp_path, replace(FILMING, frames=3), template, SILENT)
    monkeypatch.setattr(performed, "performer", lambda *_: pytest.fail("renders again"))
    again = perform("driving", tmp_path, replace(FILMING, frames=3), template, SILENT)
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.masks, again.masks)
    assert torch.equal(first.motion.pose, again.motion.pose) and first.numbers == again.numbers


def test_each_performer_keeps_frames_of_their_own(template, truth, tmp_path):
    skirt = perform("driving", tmp_path, replace(FILMING, performer="skirt"), template, SILENT)
    assert [folder.name for folder in tmp_path.iterdir()] == [f"driving-6-2-{SIZE}-0-skirt"]
    assert torch.equal(skirt.motion.pose, truth.motion.pose) and skirt.numbers == truth.numbers
    assert ((skirt.masks > 127) & (truth.masks < 128)).sum((1, 2)).min() > 100, "wider than the legs"


def test_of_a_motion_file_the_middle_is_performed(template, tmp_path):
    motion = performance("training", template, 40, 8.0)
    motion.save(tmp_path / "m.npz")
    shown = performed.performed_motion(str(tmp_path / "m.npz"), FILMING, template, SILENT)
    assert len(shown) == 6
    arm = template.pose_joints.index("upperarm01.L")
    assert torch.allclose(shown.pose[:, arm], motion.pose[17:23, arm], atol=0.05)


def _off(template: BodyTemplate, avatar: Avatar, truth: Performed) -> float:
    """Return the share of the true person's pixels by which the mesh is off."""
    _, person = filmed_person("narrow", template, seed=0)
    ways = draw({"a": avatar}, truth, person, SILENT)
    assert list(ways) == ["a", MESH], "there is no alignment without a fitted one"
    mesh, (_, masks, inside) = ways[MESH], truth.cut(ways[MESH].squares, SIZE)
    plates = np.stack([square.cut(avatar.background, SIZE) for square in mesh.squares]).astype(int)
    covered = (np.abs(mesh.images - plates).max(-1) > 30) & inside
    assert np.abs(ways["a"].images.astype(int) - mesh.images)[inside].mean() < 3, "an untrained network draws the mesh"
    return float((covered != (masks > 127)).sum() / (masks > 127).sum())


def test_avatar_stands_where_the_true_frames_show_the_performer(template, learned, truth):
    assert _off(template, learned, truth) < 0.3


def test_hips_are_where_the_true_frames_show_them(template, learned):
    motion = performance("driving", template, 100, FPS)
    motion.root_translation[:, 0] += torch.linspace(0, 0.3, 100)  # slides, so planted feet would hold it back
    farther = replace(learned, placement=replace(learned.placement, y=1.2 * learned.placement.y, floor=-1.3))
    _, person = filmed_person("narrow", template, seed=0)
    true, driven = (learned.camera.project(m.root_translation) for m in (motion, drive(farther, motion, person)))
    assert torch.allclose(driven[:, :2], true[:, :2], atol=0.01) and (driven[:, 2] / true[:, 2]).min() > 1.15


def test_place_and_size_as_tracking_took_them_do_not_matter(template, learned, truth):
    """A body that is larger, and farther away by as much, makes the same picture."""
    height = template.identity_names.index("height")
    taller = performer_identity(template)
    taller[height] += 0.25
    place, learned_from = learned.placement, performance("narrow", template, 11, 1.0)
    grown = Placement.of(learned_from, template, taller)
    ratio = grown.leg_length / place.leg_length
    assert ratio > 1.1
    farther = replace(grown, x=ratio * place.x, y=ratio * place.y, floor=ratio * place.floor)
    framing = Framing.of(learned.camera, template, taller)
    other = replace(learned, identity=taller, placement=farther, framing=framing)
    assert _off(template, other, truth) < 0.4


def test_figures_of_every_way_and_of_the_truth_seen_twice(truth, learned):
    squares = [Square(0.0, 0.0, float(SIZE))] * 3
    true, masks, _ = truth.cut(squares, SIZE)
    noisy = np.clip(true + np.random.default_rng(0).normal(0, 20, true.shape), 0, 255).astype(np.uint8)
    unlike = lambda a, b, c=None: torch.full((len(a),), 0.5) if (a - b).abs().max() > 0 else torch.zeros(len(a))
    figures = Comparison(unlike)({"same": CloseUps(true, squares), "noisy": CloseUps(noisy, squares)}, truth, _no_step)
    assert list(figures) == ["same", "noisy", TWICE]
    assert all(set(of) == set(COLUMNS) for of in figures.values())
    same = figures["same"]
    assert same["person PSNR"] == 100 and same["person ST-LPIPS"] == 0
    assert same["arms, degrees"] < 1e-3 and same["within 20"] == same["within 20 "] == 1
    where = torch.from_numpy(masks)[:, None].float() / 255
    tensors = (torch.from_numpy(i).permute(0, 3, 1, 2) / 127.5 - 1 for i in (noisy, true))
    assert figures["noisy"]["person PSNR"] == pytest.approx(float(psnr(*tensors, where).mean()), abs=0.01)
    assert figures["noisy"]["person ST-LPIPS"] == 0.5
    assert 0 < figures[TWICE]["arms, degrees"] < 20 and np.isnan(figures[TWICE]["person PSNR"])


def _no_step(done: int, total: int) -> None:
    assert done <= total


def test_wider_crop_has_the_same_middle():
    square = wider(Square(10.0, 20.0, 100.0))
    assert (square.left, square.top, square.side) == pytest.approx((5.0, 15.0, 110.0))


def test_rows_show_means_over_the_drivers_that_have_a_figure():
    one, two = (dict.fromkeys(COLUMNS, value) for value in (1.0, 2.0))
    two["finger PCK"] = float("nan")
    assert formatted(mean_figures([one, two])) == ["1.5", "1.5000", "1.5", "1.500", "1.5", "1.500", "1.50", "1.000"]
    assert formatted(two)[-1] == ""


def test_sheet_shows_the_truth_then_the_mesh_then_the_rest(truth):
    squares = [Square(0.0, 0.0, float(SIZE))] * 3
    ways = {name: CloseUps(np.full((3, SIZE, SIZE, 3), k, np.uint8), squares) for k, name in enumerate(("a", MESH))}
    drawn = sheet(ways | {ALIGNED: CloseUps(ways["a"].images + 7, squares)}, truth, 2)
    assert drawn.shape[1] == 4 * SIZE
    assert drawn[-1, [SIZE, 2 * SIZE, 3 * SIZE], 0].tolist() == [1, 0, 7]
    assert np.array_equal(drawn[-1, :SIZE], truth.cut(squares, SIZE)[0][2, -1])


def test_invalid_input_is_reported(avatars, template):
    with pytest.raises(UserError, match="name one or more avatars"):
        load_avatars([])
    with pytest.raises(UserError, match="different names"):
        load_avatars([avatars / "ada", avatars / "." / "ada"])
    assert list(load_avatars([avatars / "ada", avatars / "bob"])) == ["ada", "bob"]
    with pytest.raises(UserError, match=r"waltz.*training"):
        filmed_person("waltz", template, seed=0)
