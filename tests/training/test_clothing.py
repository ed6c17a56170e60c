from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.body.template import FINGERS, MAX_CLOTHING
from ram_avatar.capture.cropper import CloseUpCropper
from ram_avatar.core.camera import Camera
from ram_avatar.inference.render import render
from ram_avatar.motion.motion import PARTS, Motion
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.rasterizer import rasterize
from ram_avatar.training.clothing import ClothingFit, slope_energy
from ram_avatar.training.first_avatar import first_avatar
from ram_avatar.training.outlines import Evidence, Shot, gaps, outline

SIZE = 256
CAMERA = Camera(1.6 * SIZE * 1.5, SIZE / 2, SIZE / 2, SIZE, SIZE)


@pytest.fixture(scope="module")
def fit(template):
    return ClothingFit(template, template.default_identity())


@pytest.fixture(scope="module")
def turning(template):
    """One person seen from eight sides, legs and arms a little apart."""
    count = 8
    pose = torch.zeros(count, len(template.pose_joints), 3)
    for side, sign in (("L", -1.0), ("R", 1.0)):
        pose[:, template.pose_roles.index(f"thigh.{side}"), 1] = 0.15 * sign
    heading = torch.zeros(count, 3)
    heading[:, 2] = torch.arange(count) * 2 * np.pi / count
    place = torch.tensor([0.0, 4.5, -0.05]).repeat(count, 1)
    actions = torch.zeros(count, len(template.action_names))
    return Motion(template.name, 25.0, heading, place, pose, actions, torch.ones(count, len(PARTS)))


def outline_of(template, motion: Motion) -> np.ndarray:
    """Draw the mask [S, S] bool of a template."""
    vertices = template.body(template.default_identity()).pose(*motion.parameters()).vertices
    return rasterize(CAMERA.project(vertices), template.faces, SIZE, SIZE).mask[0].numpy()


def shots_of(template, motion: Motion) -> list[Shot]:
    """Make the frames of somebody whose mattes are exact."""
    whole = np.ones((SIZE, SIZE), bool)
    return [Shot(outline_of(template, each).astype(np.uint8) * 255, whole, each, CAMERA) for each in motion.batches(1)]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_known_clothes_are_recovered(template, fit, turning):
    trunk = template.role_weight("hips", "spine", "thigh").clamp(0, 1)
    worn = 0.04 * trunk[:, None] * fit.normals
    truth = template.dressed(worn)
    found = fit.measure(shots_of(truth, turning))
    covered = trunk > 0.9
    assert (found - worn)[covered].norm(dim=1).mean() < 0.01
    bare = template.role_weight("hand", *FINGERS, "head") > 0.9
    assert found[bare].norm(dim=1).max() < 0.01
    for each in turning[[1, 4]].batches(1):
        shown = outline_of(truth, each)
        assert overlap(outline_of(template, each), shown) < 0.9
        assert overlap(outline_of(template.dressed(found), each), shown) > 0.97


def test_the_naked_wear_nothing(template, fit, turning):
    found = fit.measure(shots_of(template, turning)).norm(dim=1)
    assert found.max() < 0.01 and found.mean() < 0.001  # a pixel is 7 mm wide


@pytest.mark.parametrize("away", [0.0, 30.0])
def test_without_evidence_there_are_no_clothes(template, fit, turning, away):
    """The person is beside the frame, or the frame shows nothing of its scene."""
    beside = replace(turning, root_translation=turning.root_translation + torch.tensor([away, 0.0, 0.0]))
    shots = [shot._replace(inside=np.zeros((SIZE, SIZE), bool)) for shot in shots_of(template, beside)]
    assert not fit.measure(shots[:2]).any()


def test_a_skirt_fills_the_gap_between_the_legs(template, fit, turning):
    front = turning[[0]]
    shot = shots_of(template, front)[0]
    gap = ~shot.matte.astype(bool)
    rows = np.flatnonzero([outline_of(template, front)[row].sum() for row in range(SIZE)])
    low, high = rows[0] + round(0.55 * len(rows)), rows[0] + round(0.7 * len(rows))  # thighs
    matte = shot.matte.copy()
    for row in range(low, high):
        person = np.flatnonzero(matte[row])
        matte[row, person[0] : person[-1] + 1] = 255
    found = fit.measure([shot._replace(matte=matte)])
    between = gap & (matte > 0)
    assert between.sum() > 50
    assert outline_of(template.dressed(found), front)[between].mean() > 0.8


def plain_gap(matte, mask, x, y, direction, most, least) -> float | None:
    """Walk one pixel's way to the matte's contour, a quarter of a pixel at a time, bilinearly."""

    def at(image, t):
        column, row = x + t * direction[0], y + t * direction[1]
        left, top = int(np.floor(column)), int(np.floor(row))
        part = np.zeros((2, 2))
        for i in (0, 1):
            for j in (0, 1):
                if 0 <= top + i < len(image) and 0 <= left + j < len(image):
                    part[i, j] = image[top + i, left + j]
        right, down = column - left, row - top
        return float((part * np.outer([1 - down, down], [1 - right, right])).sum())

    inside = at(matte, 0) > 0.5
    left = False
    for k in range(1, 4 * (most if inside else least) + 1):
        t = k / 4
        left |= at(mask, t) < 0.25
        if inside and left and at(mask, t) > 0.5:
            return t / 2 - 0.5
        if (at(matte, t if inside else -t) > 0.5) != inside:
            return (t if inside else -t) - 0.5
    return None


def test_gaps_against_a_plain_walk():
    y, x = np.mgrid[:96, :96]
    ellipse = lambda a, b, at: ((x - at) / a) ** 2 + ((y - 48) / b) ** 2 < 1
    mask = ellipse(12, 30, 30) | ellipse(9, 25, 66)
    matte = (ellipse(17, 27, 31) | ellipse(12, 31, 62) | ((abs(y - 52) < 8) & (x > 30) & (x < 66))).astype(float)
    pixel, outward = outline(mask, np.ones_like(mask))
    metre = np.full(len(pixel), 0.01)
    found, known = gaps((255 * matte).astype(np.uint8), np.ones_like(mask), mask, pixel, outward, metre)
    assert known.mean() > 0.8
    for (column, row), direction, gap, sure in zip(pixel, outward, found, known, strict=True):
        plain = plain_gap(matte, mask, column, row, direction, 32, 5)
        if sure:
            assert plain is not None and abs(plain - gap) < 0.8


def test_nothing_is_known_beyond_the_frame():
    mask = np.zeros((64, 64), bool)
    mask[16:48, 20:40] = True
    matte = np.where(np.pad(mask[6:-6, 6:-6], 6) | (np.arange(64) > 30), 255, 0).astype(np.uint8)
    inside = np.arange(64)[None].repeat(64, 0) < 50
    pixel, outward = outline(mask, inside)
    _, known = gaps(matte, inside, mask, pixel, outward, np.full(len(pixel), 0.01))
    right, left = (abs(outward[:, 0] - sign) < 0.01 for sign in (1, -1))
    assert right.any() and not known[right].any() and known[left].all()


def test_the_solution_is_the_minimum(fit):
    """Against the energy written out: no small change of the offset lowers it."""
    generator = np.random.default_rng(0)
    faces = fit.template.faces[generator.integers(len(fit.template.faces), size=400)].numpy()
    known = Evidence(faces, generator.uniform(0.1, 0.4, (400, 3)), generator.uniform(0, 0.04, 400), np.full(400, 0.002))
    start = np.zeros(len(fit.normals))

    def energy(offset: np.ndarray) -> float:
        miss = np.abs((known.share * offset[faces]).sum(1) - known.gap)
        loss = np.where(miss < 0.015, miss**2 / 2, 0.015 * (miss - 0.0075))
        return float((known.weight * loss).sum() + offset @ (fit.prior @ offset) / 2)

    found = start
    for _ in range(6):
        found = fit.solve(known, found)
    least = energy(found)
    assert least < 0.9 * energy(start)
    for _ in range(20):
        assert energy(found + 1e-4 * generator.normal(size=len(start)) * (generator.random(len(start)) < 0.05)) > least


def test_the_slope_energy_of_a_plane():
    side = 5
    x, y = np.meshgrid(np.arange(side) * 0.1, np.arange(side) * 0.2)
    vertices = np.stack([x.ravel(), y.ravel(), 0.5 * x.ravel()], 1)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    below = [
        np.stack([corner, corner + 1, corner + side], 1),
        np.stack([corner + 1, corner + side + 1, corner + side], 1),
    ]
    matrix, area = slope_energy(vertices, np.concatenate(below))
    whole = 0.4 * np.sqrt(1.25) * 0.8
    value = 3 * y.ravel()
    assert area.sum() == pytest.approx(whole)
    assert value @ matrix @ value == pytest.approx(9 * whole, rel=0.01)
    assert np.abs(matrix @ np.ones(len(vertices))).max() < 1e-12


def test_a_recipe_asks_for_clothes(capture, template, tiny, tmp_path):
    """They are kept with the avatar, and move whatever draws it, but not its skeleton."""
    plain = first_avatar(capture, template, tiny)
    assert plain.clothing is None and plain.dressed is plain.template
    asked = replace(tiny, training=replace(tiny.training, clothing=True))
    made = first_avatar(capture, template, asked)
    length = made.clothing.norm(dim=1)
    assert 0.002 < length.max() < MAX_CLOTHING and made.template is template
    made.save(tmp_path)
    again = Avatar.load(tmp_path)
    assert torch.equal(again.clothing, made.clothing)
    motion = capture.motion[[10]]
    pictures = [next(render(each, motion)).astype(int) for each in (plain, made, again)]
    assert np.abs(pictures[0] - pictures[1]).max() > 20 and np.array_equal(pictures[1], pictures[2])
    cropper = CloseUpCropper(capture, template)
    masks = [(index, cropper.cut(index, matte, 128) > 127) for index, matte in enumerate(capture.mattes())]
    fits = []
    for avatar in (plain, made):
        mapper = ConditionMapper(avatar.dressed, avatar.identity, Camera.default(128, 128))
        shown = lambda index, mapper=mapper: mapper.positions(capture.motion[[index]], cropper.camera(index, 128))
        fits.append(np.mean([overlap(shown(index)[0, 3].numpy() > 0.5, mask) for index, mask in masks]))
    assert fits[1] > fits[0]
