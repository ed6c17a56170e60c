"""The performer whose skirt and hair hang from the body."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from ram_avatar.capture.capture import Capture
from ram_avatar.motion.motion import Motion
from ram_avatar.rendering.rasterizer import rasterize, vertex_normals
from ram_avatar.synthetic import laboratory
from ram_avatar.synthetic.laboratory import like, synthesize
from ram_avatar.synthetic.options import PerformerName, SynthOptions
from ram_avatar.synthetic.performances import performance
from ram_avatar.synthetic.performer import Performer
from ram_avatar.synthetic.wardrobe import OUTFITS

FPS = 25.0
SKIRT, HAIR = 1, 2  # layers
NOTHING, LEG, CLOTH, LINING, REST = range(5)


@pytest.fixture(scope="module")
def performer():
    return laboratory.performer(0, "skirt")


@pytest.fixture(scope="module")
def dressed(performer):
    return performer._dressed


@pytest.fixture(scope="module")
def walk(template, dressed) -> Tensor:
    """Every fourth moment of three seconds of the walk, [N, V + G, 3], the root at the origin."""
    motion = performance("walking", template, 100, FPS)[25:]
    return _followed(dressed, motion)[::4]


def _followed(dressed, motion: Motion) -> Tensor:
    """Return what is worn in every frame [N, V + G, 3], the root at the origin."""
    bodies = torch.cat([dressed.body.pose(*part.parameters()).vertices for part in motion.batches(25)])
    hanging = torch.stack(list(dressed.loose.follow(motion)))
    return torch.cat([bodies, hanging], 1) - motion.root_translation[:, None]


def _pixels(points: Tensor, turn: float) -> Tensor:
    """Project points [.., 3] to pixels of 5 mm, and a depth, as seen from a side."""
    x, y, z = points.unbind(-1)
    cosine, sine = np.cos(turn), np.sin(turn)
    return torch.stack([200 * (cosine * x - sine * y) + 150, 60 - 200 * z, sine * x + cosine * y + 10], -1)


def _drawn(dressed, template, vertices: Tensor, turn: float) -> np.ndarray:
    """Return [N, H, W]: what is seen at each pixel from a side."""
    points = _pixels(vertices, turn)
    fragments = rasterize(points, dressed.faces, 200, 300)
    front = rasterize(points, dressed.faces, 200, 300, cull_backfaces=True)
    kind = torch.full((len(dressed.faces),), REST)
    of_leg = (template.part_weight("pelvis", "upperleg", "lowerleg") > 0.5)[template.faces].all(1)
    kind[: len(of_leg)][of_leg] = LEG
    kind[dressed.layer == SKIRT] = CLOTH
    seen = torch.where(fragments.mask, kind[fragments.triangle.long().clamp(min=0)], NOTHING)
    return torch.where((seen == CLOTH) & (front.triangle != fragments.triangle), LINING, seen).numpy()


@pytest.mark.parametrize("turn", np.radians([0, 90, 180, 270, 45]))
def test_skirt_encloses_both_thighs_of_a_walk(dressed, template, walk, turn):
    """Nowhere does a leg come through the cloth: none is seen with cloth above and below it."""
    seen = _drawn(dressed, template, walk, turn)
    cloth = seen == CLOTH
    below = np.maximum.accumulate(cloth[:, ::-1], 1)[:, ::-1]
    through = (seen == LEG) & np.maximum.accumulate(cloth, 1) & below
    assert cloth.sum((1, 2)).min() > 2000
    assert (through.sum((1, 2)) / cloth.sum((1, 2))).max() < 0.003


def test_skirt_spans_between_legs_that_walk(dressed, template, walk):
    """What lies between the thighs, above the hem, is covered, from the front and from the side."""
    motion = performance("walking", template, 100, FPS)[25::4]
    joints = [[template.joint_of(f"{role}.{side}") for role in ("thigh", "shin")] for side in "LR"]
    posed = dressed.body.pose(*motion.parameters())
    left, right = (posed.joint_positions(leg) - motion.root_translation[:, None] for leg in joints)  # [N, 2, 3]
    knees = (left[:, 1, :2] - right[:, 1, :2]).norm(dim=-1)
    assert knees.max() > 0.3, "strides"
    down, across = torch.linspace(0.2, 0.9, 8)[:, None, None], torch.linspace(0, 1, 20)[:, None]
    for turn in (0.0, np.pi / 2):
        seen = _drawn(dressed, template, walk, turn)
        for picture, one, other in zip(seen, left, right, strict=True):
            one, other = (leg[0] + down * (leg[1] - leg[0]) for leg in (one, other))
            between = (one + across * (other - one)).reshape(-1, 3)
            pixels = _pixels(between, turn)[:, :2].long().numpy()
            assert (picture[pixels[:, 1], pixels[:, 0]] != NOTHING).all()


def _heights(dressed, template, vertices: Tensor, layer: int, over: Tensor) -> Tensor:
    """Return [N, P] by how far the hanging points of a piece are above the nearest of some vertices of the body."""
    piece = dressed.loose.pieces[layer - 1]
    sizes = [len(template.skin_weights), *(p.rest.size // 3 for p in dressed.loose.pieces)]
    start = sum(sizes[:layer]) + piece.fastened * piece.rest.shape[1]
    points = vertices[:, start : start + sizes[layer] - piece.fastened * piece.rest.shape[1]]
    body = vertices[:, : sizes[0]]
    normals = vertex_normals(body, template.faces)[:, over]
    nearest = torch.cdist(points, body[:, over]).argmin(-1)
    pick = lambda values: values.gather(1, nearest[..., None].expand(-1, -1, 3))
    return ((points - pick(body[:, over])) * pick(normals)).sum(-1)


def _turning(template, degrees: float, frames: int = 60) -> Motion:
    """Return a motion of standing, then of turning the head in a fifth of a second, then of waiting."""
    motion = performance("training", template, 1, FPS)[[0] * frames]
    for name in ("neck01", "head"):
        joint = template.pose_joints.index(name)
        motion.pose[:, joint, 2] += torch.from_numpy(np.radians(degrees / 2) * np.linspace(-1, 9, frames).clip(0, 1))
    return motion


def test_hair_lags_a_turn_of_the_head_and_follows(dressed, template):
    motion = _turning(template, 70)
    hair = list(dressed.loose.follow(motion))
    piece = dressed.loose.pieces[HAIR - 1]
    rows, columns, _ = piece.rest.shape
    grid = torch.stack(hair)[:, -rows * columns :].view(len(motion), rows, columns, 3)
    middle = grid[:, :, columns // 2 - 3 : columns // 2 + 3, :2].mean(2)  # of the back of the head

    def turned(row: int, frame: int) -> float:
        """Return how far a row has gone of the way that it goes in all."""
        way = middle[-1, row] - middle[0, row]
        return float((middle[frame, row] - middle[0, row]) @ way / (way @ way))

    during = 9  # of the turn
    cap, tip = turned(piece.fastened - 1, during), turned(-1, during)
    assert 0.4 < cap < 0.95 and tip < cap - 0.2
    assert (grid[-1] - grid[-2]).norm(dim=-1).max() < 0.004, "comes to rest"


def test_hair_lies_outside_of_head_back_and_shoulders(dressed, template):
    motion = performance("narrow", template, 150, FPS)[::3]
    over = (template.part_weight("neck", "spine", "clavicle", "shoulder", "upperarm") > 0.5).nonzero()[:, 0]
    worn = _followed(dressed, motion)
    height = _heights(dressed, template, worn, HAIR, over)
    assert (height > -0.002).float().mean() > 0.999 and height.min() > -0.01
    back = worn[:, -dressed.loose.pieces[HAIR - 1].rest.shape[1] :]
    assert (back[..., 2] > 0.15).all() and (back[..., 2] < 0.45).any(), "to the shoulder blades"


def test_masks_include_skirt_and_hair_and_same_motion_makes_same_frames(template, dressed, performer):
    size, motion = 128, performance("driving", template, 9, FPS)
    frames, masks = zip(*performer.render_with_masks(motion, size), strict=True)
    few = list(performer.render_with_masks(motion, size, every=4))
    assert len(few) == 3 and np.array_equal(few[0][0], frames[0])
    assert all(np.array_equal(mask, other) for (_, mask), other in zip(few, masks[::4], strict=True)), "swung through"
    camera = Performer.camera(size)
    body = camera.project(dressed.body.pose(*motion[:1].parameters()).vertices)
    hanging = camera.project(next(dressed.loose.follow(motion)))[:, :2].long()
    beside = ~rasterize(body, template.faces, size, size).mask[0][hanging[:, 1], hanging[:, 0]]
    assert beside.sum() > 200
    assert np.mean(masks[0][hanging[beside, 1].numpy(), hanging[beside, 0].numpy()] > 0) > 0.9


def test_plain_performer_wears_paint_only(template):
    assert set(OUTFITS) == set(get_args(PerformerName)) and SynthOptions().performer == "trousers"
    dressed = Performer(template)._dressed
    assert not dressed.loose.pieces and not dressed.two_sided.any() and len(dressed.textures) == 1
    assert torch.equal(dressed.faces, template.faces) and len(dressed.occlusion) == len(template.skin_weights)


def test_truth_knows_its_performer(tmp_path, performer):
    truth = synthesize(tmp_path / "skirt", SynthOptions(motion="narrow", frames=2, size=64, performer="skirt"))
    assert Capture.load(truth.folder).report["performer"] == "skirt"
    assert like(truth, "driving", 9) == SynthOptions(motion="driving", frames=9, size=64, performer="skirt")
    del truth.report["performer"]  # as in truths of the plain performer
    assert like(truth, "narrow", 2) == SynthOptions(motion="narrow", frames=2, size=64)
