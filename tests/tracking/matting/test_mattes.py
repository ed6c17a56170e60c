"""Mattes of images whose alpha is known, from masks as blurry as a detector's."""

from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from ram_avatar.tracking.matting.mattes import Matting

HEIGHT, WIDTH = 480, 360
SHIRT, SKIN, TROUSERS, HAIR = (190, 60, 50), (224, 172, 140), (40, 45, 80), (45, 30, 25)


@dataclass
class Scene:
    frame: np.ndarray
    alpha: np.ndarray  # [H, W] float, the truth
    plate: np.ndarray
    mask: np.ndarray
    mesh: np.ndarray
    fingers: np.ndarray  # [H, W] bool
    strands: np.ndarray
    shadow: np.ndarray
    gap: np.ndarray


def _draw(paint) -> np.ndarray:
    """[H, W] in [0, 1]: what `paint` draws, with edges as soft as a lens's."""
    canvas = np.zeros((4 * HEIGHT, 4 * WIDTH), np.uint8)
    paint(lambda *points, width=1: cv2.polylines(canvas, [4 * np.int32(points)], False, 255, int(4 * width)))
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cv2.GaussianBlur(small, (0, 0), 0.6)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A person with a hand on the hip, the other hand spread, loose hair, and a shadow on the floor."""
    chance = np.random.default_rng(3)
    plate = cv2.resize(chance.integers(110, 190, (24, 18, 3)).astype(np.float32), (WIDTH, HEIGHT))
    plate[340:] *= (0.95, 0.8, 0.65)

    body = _draw(lambda line: [line((180, 130), (180, 240), width=70), line((180, 130), (180, 120), width=30)])
    legs = _draw(lambda line: [line((165, 240), (150, 410), width=30), line((197, 240), (212, 410), width=30)])
    head = _draw(lambda line: line((180, 75), (180, 90), width=46))
    hair = _draw(lambda line: line((165, 62), (195, 62), width=34))
    strands = _draw(lambda line: [line((158 - 3 * k, 62), (140 - 9 * k, 100 + 4 * k), width=2) for k in range(3)])
    arms = _draw(
        lambda line: [
            line((150, 140), (108, 185), (150, 236), width=18),  # the hand on the hip leaves a gap
            line((208, 140), (262, 190), width=18),
            line((262, 190), (282, 160), width=20),
        ]
    )
    tips = [(262, 122), (276, 116), (291, 117), (306, 124)]
    fingers = _draw(lambda line: [line((274 + 4 * k, 152), tip, width=5) for k, tip in enumerate(tips)])

    person, alpha = np.zeros_like(plate), np.zeros((HEIGHT, WIDTH), np.float32)
    for part, color in (
        (strands, HAIR), (body, SHIRT), (legs, TROUSERS), (head, SKIN), (hair, HAIR), (arms, SKIN), (fingers, SKIN)
    ):  # fmt: skip
        person += part[..., None] * (np.float32(color) - person)
        alpha = np.maximum(alpha, part)
    shade = cv2.GaussianBlur(cv2.ellipse(np.zeros_like(alpha), (230, 408), (75, 14), 0, 0, 360, 1.0, -1), (0, 0), 5)
    ground = plate * (1 - 0.35 * shade[..., None])
    share = np.maximum(alpha, 1e-3)[..., None]
    frame = alpha[..., None] * (person / np.where(share > 1e-3, np.maximum(share, 0.5), 1)).clip(0, 255)
    frame = frame + (1 - alpha[..., None]) * ground + chance.normal(0, 2, plate.shape)

    lost = (fingers > 0.05) | (strands > 0.05)
    coarse = np.where(lost & (body + head + hair + arms < 0.5), 0, alpha)
    filled = np.uint8(coarse > 0.5)
    cv2.fillPoly(filled, [np.int32([(150, 140), (108, 185), (150, 236)])], 1)
    tiny = cv2.resize(filled.astype(np.float32), (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    mask = cv2.GaussianBlur(cv2.resize(tiny, (WIDTH, HEIGHT)), (0, 0), 3)
    return Scene(
        frame=frame.round().clip(0, 255).astype(np.uint8),
        alpha=alpha,
        plate=plate.round().clip(0, 255).astype(np.uint8),
        mask=np.uint8(255 * mask),
        mesh=np.roll(alpha > 0.5, (4, -5), (0, 1)),
        fingers=(fingers > 0.9) & (arms < 0.1),
        strands=(strands > 0.3) & (hair + head < 0.1),
        shadow=(shade > 0.5) & (alpha < 0.01),
        gap=cv2.erode(np.uint8((filled > 0) & (alpha < 0.01)), np.ones((5, 5))) > 0,
    )


def _error(matte: np.ndarray, truth: np.ndarray, band: int = 6) -> float:
    """Mean absolute error near the true outline."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside = np.uint8(truth > 0.5)
    near = (cv2.dilate(inside, kernel) > cv2.erode(inside, kernel)) | ((truth > 0) & (truth < 1))
    return float(np.abs(matte / 255.0 - truth)[near].mean())


def test_a_plate_quarters_the_error_of_the_mask(scene):
    matte = Matting(scene.plate)(scene.frame, scene.mask, scene.mesh)
    assert matte.shape == scene.mask.shape and matte.dtype == np.uint8
    assert _error(matte, scene.alpha) < 0.25 * _error(scene.mask, scene.alpha)


def test_without_a_plate_the_error_of_the_mask_is_halved(scene):
    assert _error(Matting()(scene.frame, scene.mask), scene.alpha) < 0.5 * _error(scene.mask, scene.alpha)


def test_fingers_that_mesh_and_plate_agree_on_are_found(scene):
    assert scene.mask[scene.fingers].mean() < 50
    assert Matting(scene.plate)(scene.frame, scene.mask, scene.mesh)[scene.fingers].mean() > 230


def test_a_hand_that_the_mask_misses_is_found(scene):
    mask = scene.mask.copy()
    mask[:, 240:] = 0
    hand = scene.alpha > 0.9
    hand[:, :250] = False
    assert Matting(scene.plate)(scene.frame, mask, scene.mesh)[hand].mean() > 230


def test_strands_of_hair_are_found(scene):
    matte = Matting(scene.plate)(scene.frame, scene.mask, scene.mesh) / 255
    before = np.abs(scene.mask / 255 - scene.alpha)[scene.strands].mean()
    assert np.abs(matte - scene.alpha)[scene.strands].mean() < 0.5 * before


def test_a_shadow_is_not_the_person(scene):
    difference = np.abs(scene.frame.astype(int) - scene.plate).mean(2)
    assert difference[scene.shadow].mean() > 20
    assert Matting(scene.plate)(scene.frame, scene.mask, scene.mesh)[scene.shadow].mean() < 10


def test_a_gap_that_the_mask_fills_shows_the_plate(scene):
    assert scene.mask[scene.gap].mean() > 200
    assert Matting(scene.plate)(scene.frame, scene.mask, scene.mesh)[scene.gap].mean() < 25


def test_unknown_parts_of_a_plate_are_not_used(scene):
    garbage = np.full_like(scene.plate, SHIRT)
    unknown = Matting(garbage, np.zeros(scene.mask.shape, bool))(scene.frame, scene.mask)
    assert np.array_equal(unknown, Matting()(scene.frame, scene.mask))
    known = np.ones(scene.mask.shape, bool)
    known[:, 170:] = False
    half = np.where(known[..., None], scene.plate, garbage)
    assert _error(Matting(half, known)(scene.frame, scene.mask), scene.alpha) < 0.5 * _error(scene.mask, scene.alpha)


def test_a_change_of_exposure_is_not_the_person(scene):
    brighter = (scene.frame * 1.15).clip(0, 255).astype(np.uint8)
    matte = Matting(scene.plate)(brighter, scene.mask, scene.mesh)
    assert _error(matte, scene.alpha) < 0.3 * _error(scene.mask, scene.alpha)


def test_a_caption_in_the_plate_is_not_the_person(scene):
    """The plate shows a caption that this frame does not."""
    plate = scene.plate.copy()
    for k in range(8):
        cv2.putText(plate, "X", (10 + 45 * k, 420), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (250, 20, 160), 8)
    beside = np.zeros(scene.mask.shape, bool)
    beside[380:425, 10:350] = True
    beside &= (scene.alpha < 0.01) & ~scene.shadow
    matte = Matting(plate)(scene.frame, scene.mask, scene.mesh)
    assert matte[beside].mean() < 10
    assert _error(matte, scene.alpha) < 0.5 * _error(scene.mask, scene.alpha)


def test_a_large_person_is_matted_at_full_size(scene):
    """A guided filter upsamples people larger than the second pass."""
    large = [cv2.resize(a, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for a in (scene.frame, scene.mask)]
    plate = cv2.resize(scene.plate, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    truth = cv2.resize(scene.alpha, None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR)
    matte = Matting(plate)(*large)
    assert _error(matte, truth, 18) < 0.35 * _error(large[1], truth, 18)


def test_a_person_cropped_by_the_frame_is_opaque_at_its_edge(scene):
    cut = np.s_[:, 175:]
    plate, frame, mask = (np.ascontiguousarray(a[cut]) for a in (scene.plate, scene.frame, scene.mask))
    matte = Matting(plate)(frame, mask)
    assert matte[150:230, 0].min() > 240
    assert _error(matte, scene.alpha[cut]) < 0.35 * _error(mask, scene.alpha[cut])


def test_a_person_in_the_colours_of_the_plate_keeps_the_mask():
    """Where colours are ambiguous, the mask decides."""
    frame = np.full((200, 160, 3), 255, np.uint8)
    mask = cv2.GaussianBlur(cv2.rectangle(np.zeros((200, 160), np.uint8), (50, 40), (110, 170), 255, -1), (0, 0), 3)
    matte = Matting(frame)(frame, mask, mask > 127)
    assert matte[60:150, 65:95].min() > 200 and matte[:, :30].max() == 0


@pytest.mark.parametrize("plate", [False, True])
def test_empty_and_full_masks(scene, plate):
    matting = Matting(scene.plate if plate else None)
    nobody, everything = np.zeros_like(scene.mask), np.full_like(scene.mask, 255)
    assert not matting(scene.frame, nobody, scene.mesh).any()
    assert (matting(scene.frame, everything) == 255).all()
    faint = (scene.mask > 127) * np.uint8(120)
    assert np.array_equal(matting(scene.frame, faint), faint)
    dot = nobody.copy()
    dot[100, 100] = 255
    assert matting(scene.frame, dot).sum() <= 255


def test_a_mask_over_the_bare_plate_shows_nobody(scene):
    mask = np.zeros_like(scene.mask)
    mask[150:330, 120:240] = 255
    assert Matting(scene.plate)(scene.plate, mask).max() < 10


def test_images_of_other_sizes_are_refused(scene):
    with pytest.raises(ValueError, match="mask"):
        Matting()(scene.frame, scene.mask[1:])
    with pytest.raises(ValueError, match="plate"):
        Matting(scene.plate[1:])(scene.frame, scene.mask)
    with pytest.raises(ValueError, match="known"):
        Matting(None, scene.mask > 0)


@pytest.mark.slow
def test_on_the_performer_the_error_of_the_detector_is_halved():
    """With real masks, a plate of the room, and a misplaced mesh."""
    from ram_avatar.synthetic.laboratory import performer
    from ram_avatar.synthetic.performances import performance
    from ram_avatar.tracking.detection.mediapipe import HolisticDetector

    size, person = (432, 768), performer(0)
    motion = performance("driving", person.template, 16, 4.0)
    mask_error, errors = 0.0, {"plate": 0.0, "none": 0.0}
    mattings = {"plate": Matting(person.room(size)), "none": Matting()}
    with closing(HolisticDetector()) as detector:
        for k, (frame, truth) in enumerate(person.render_with_masks(motion, size)):
            mask = cv2.resize(detector.detect(frame).mask, size)
            if k % 4 == 3:
                mesh = np.roll(truth > 127, (5, 7), (0, 1))
                mask_error += _error(mask, truth / 255, 5)
                for name, matting in mattings.items():
                    errors[name] += _error(matting(frame, mask, mesh), truth / 255, 5)
    assert mask_error / 4 > 0.07
    assert errors["plate"] < 0.4 * mask_error
    assert errors["none"] < 0.5 * mask_error
