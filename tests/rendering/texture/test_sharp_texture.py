from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ram_avatar.core.camera import Camera
from ram_avatar.core.images import to_array, to_tensor
from ram_avatar.motion.motion import Motion
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.rendering.texture.filling import Origins
from ram_avatar.rendering.texture.median import SurfacePainter
from ram_avatar.rendering.texture.sharp import SharpPainter

SIZE, TEXELS, FRAMES = 352, 256, 9


@dataclass
class Film:
    """Frames of a body with a known texture, and a fit that is some pixels off in each."""

    mapper: ConditionMapper
    frames: list[np.ndarray]
    masks: list[np.ndarray]
    fit: Motion
    truth: np.ndarray  # what a frontal frame shows
    upright: Motion

    def painted_by(self, kind: type, frames: list[np.ndarray] | None = None) -> tuple[Tensor, Origins]:
        painter = kind(self.mapper.template, self.mapper.template.default_identity(), size=TEXELS)
        for index, frame in enumerate(frames or self.frames):
            painter.add(frame, self.masks[index], self.fit[[index]], self.mapper.camera)
        return painter.texture()

    def shows(self, texture: Tensor) -> np.ndarray:
        """Return what the frontal frame shows with a texture."""
        template = self.mapper.template
        mapper = ConditionMapper(template, template.default_identity(), self.mapper.camera, texture)
        return drawn(mapper, self.upright)[0]

    def inside(self) -> np.ndarray:
        """Return the pixels well within the body in the frontal frame, bool."""
        mask = drawn(self.mapper, self.upright)[1]
        return cv2.erode(mask, np.ones((15, 15), np.uint8)) > 0


def drawn(mapper: ConditionMapper, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame [H, W, 3] of a one-frame motion before a gray wall, and its mask [H, W]."""
    surface = mapper.surface(mapper.body.pose(*motion.parameters()), mapper.camera)
    return to_array(surface[:, :3])[0], (surface[0, 3].numpy() * 255).astype(np.uint8)


def detail(picture: np.ndarray, where: np.ndarray) -> float:
    """Return the energy of a picture's Laplacian."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.square(cv2.Laplacian(gray, cv2.CV_32F))[where].mean())


@pytest.fixture(scope="module")
def film(template) -> Film:
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(*shape, generator=generator)
    blobs = torch.nn.functional.interpolate(
        random(1, 3, TEXELS // 4, TEXELS // 4), size=(TEXELS, TEXELS), mode="bicubic"
    )
    mapper = ConditionMapper(
        template, template.default_identity(), Camera.default(SIZE, SIZE), (0.3 * blobs[0]).clamp(-0.8, 0.8)
    )
    turns = torch.linspace(-0.25, 0.25, FRAMES)
    motion = Motion(
        template=template.name,
        fps=25.0,
        root_rotation=torch.stack([torch.zeros(FRAMES), torch.zeros(FRAMES), turns], 1),
        root_translation=torch.tensor([[0.0, 3.2, 0.05]]).repeat(FRAMES, 1),
        pose=torch.zeros(FRAMES, len(template.pose_joints), 3),
        facial_actions=torch.zeros(FRAMES, len(template.action_names)),
        confidence=torch.ones(FRAMES, 8),
    )
    off = torch.tensor([0.015, 0.0, 0.015]) * random(FRAMES, 3).clamp(-1.5, 1.5)
    fit = replace(motion, root_translation=motion.root_translation + off - off.mean(0))
    frames, masks = zip(*(drawn(mapper, motion[[i]]) for i in range(FRAMES)), strict=True)
    upright = motion[[FRAMES // 2]]
    return Film(mapper, list(frames), list(masks), fit, drawn(mapper, upright)[0], upright)


@pytest.fixture(scope="module")
def sharp(film) -> np.ndarray:
    return film.shows(film.painted_by(SharpPainter)[0])


def test_detail_survives_a_fit_that_is_off(film, sharp):
    inside = film.inside()
    soft = film.shows(film.painted_by(SurfacePainter)[0])
    truth = detail(film.truth, inside)
    assert detail(soft, inside) < 0.7 * truth
    assert 0.75 * truth < detail(sharp, inside) < 1.2 * truth
    error = lambda picture: np.abs(picture.astype(float) - film.truth)[inside].mean()
    assert error(sharp) < 0.3 * error(soft)


def test_colors_that_few_frames_show_are_ignored(film, sharp):
    """A hand before the belly is as sharp as can be, and green."""
    frames = [frame.copy() for frame in film.frames]
    middle = np.s_[SIZE // 2 - 30 : SIZE // 2, SIZE // 2 - 12 : SIZE // 2 + 12]
    hand = np.kron(np.indices((15, 12)).sum(0) % 2, np.ones((2, 2)))[..., None] * [0, 255, 0]
    frames[FRAMES // 2][middle] = hand
    found = film.shows(film.painted_by(SharpPainter, frames)[0])
    assert np.abs(found.astype(float) - sharp)[middle].mean() < 8


def test_where_the_frame_changes_there_is_no_step(film, sharp):
    """Every other frame is brighter; the tone is the median's."""
    frames = [np.clip(frame.astype(int) + 30 * (i % 2), 0, 255).astype(np.uint8) for i, frame in enumerate(film.frames)]
    found = film.shows(film.painted_by(SharpPainter, frames)[0]).astype(np.float32)
    inside = film.inside()
    tone = cv2.GaussianBlur(found - sharp, (0, 0), 2.0)
    steps = np.hypot(cv2.Sobel(tone, cv2.CV_32F, 1, 0), cv2.Sobel(tone, cv2.CV_32F, 0, 1))[inside] / 8
    assert np.quantile(steps, 0.99) < 3  # of 30


def test_blurred_frames_give_no_detail(film, sharp):
    frames = [cv2.blur(frame, (7, 7)) if i % 2 else frame for i, frame in enumerate(film.frames)]
    found = film.shows(film.painted_by(SharpPainter, frames)[0])
    blurred = film.shows(film.painted_by(SharpPainter, [cv2.blur(frame, (7, 7)) for frame in film.frames])[0])
    inside = film.inside()
    assert detail(found, inside) > 0.4 * detail(sharp, inside) > 2 * detail(blurred, inside)


def test_frames_are_no_larger_than_the_texture_can_hold(film, template):
    painter = SharpPainter(template, template.default_identity(), size=64)
    width, height = painter.frame_size(Camera.default(3840, 2160), film.fit)
    assert width / height == pytest.approx(16 / 9, abs=0.01) and 200 < height < 800
    assert painter.frame_size(Camera.default(90, 160), film.fit) == (90, 160)


def test_a_person_out_of_sight_is_left_out(film, template):
    painter = SharpPainter(template, template.default_identity(), size=32)
    away = replace(film.upright, root_translation=torch.tensor([[50.0, 3.2, 0.0]]))
    painter.add(film.frames[0], film.masks[0], away, film.mapper.camera)
    texture, origins = painter.texture()
    assert origins == Origins(seen=0.0) and texture.abs().max() < 0.01


def test_small_frames_need_no_flow(film, template):
    painter = SharpPainter(template, template.default_identity(), size=64)
    camera = Camera.default(24, 24)
    mapper = ConditionMapper(
        template, template.default_identity(), camera, to_tensor(np.full((8, 8, 3), 200, np.uint8))
    )
    painter.add(*drawn(mapper, film.upright), film.upright, camera)
    assert torch.isfinite(painter.texture()[0]).all()
