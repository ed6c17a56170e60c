from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.loose_clothes import SIZE, SkirtGauge


@pytest.fixture(scope="module")
def shown(template, random_motion):
    """A person's outlines [N, S, S], legs apart in some, with their motion, camera and gauge."""
    identity, camera = template.default_identity(), Camera.default(SIZE, SIZE)
    motion = random_motion(5, turn=0.05)
    for side, turn in (("L", 0.3), ("R", -0.3)):
        motion.pose[2:, template.pose_roles.index(f"thigh.{side}"), 1] += turn
    mapper = ConditionMapper(template, identity, camera)
    return mapper(motion).position[:, 3].numpy() > 0, motion, camera, SkirtGauge(template, mapper.body)


def judge(shown, dress) -> bool:
    outlines, motion, camera, gauge = shown
    gauge._shares.clear()
    for index, outline in enumerate(outlines):
        gauge.add(255 * dress(outline).astype(np.uint8), motion[[index]], camera)
    return gauge.loose


def grown(outline: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(outline.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)) > 0


def skirt(outline: np.ndarray) -> np.ndarray:
    """Fill every row from the hips to the knees from side to side."""
    rows = np.flatnonzero(outline.any(1))
    top, bottom = (round(rows[0] + share * np.ptp(rows)) for share in (0.5, 0.72))
    dressed = outline.copy()
    for row in range(top, bottom):
        columns = np.flatnonzero(outline[row])
        dressed[row, columns[0] : columns[-1] + 1] = True
    return dressed


def test_a_skirt_hangs_loose_and_trousers_do_not(shown):
    assert judge(shown, skirt)
    assert not judge(shown, lambda outline: outline)
    assert not judge(shown, lambda outline: grown(outline, 2))  # the fit is not exact


def test_sleeves_are_no_skirt(shown):
    """Nor is hair, however long."""
    half = SIZE // 2
    assert not judge(shown, lambda outline: np.where(np.arange(SIZE)[:, None] < half, grown(outline, 10), outline))


def test_legs_out_of_sight_say_nothing(template, shown):
    _, motion, camera, _ = shown
    gauge = SkirtGauge(template, template.body(template.default_identity()))
    lower = replace(motion, root_translation=motion.root_translation - torch.tensor([0.0, 0.0, 1.5]))
    gauge.add(np.full((SIZE, SIZE), 255, np.uint8), lower[[0]], camera)
    assert not gauge._shares and not gauge.loose
