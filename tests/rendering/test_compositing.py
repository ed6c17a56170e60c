import weakref

import cv2
import numpy as np
from shaken_room import ShakenRoom, shake

from ram_avatar.rendering.compositing import BackgroundPlate


def _room(size: int = 128) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)


def _walks(size: int = 128, steps: int = 8, width: int = 20):
    for i in range(steps):
        frame, mask = _room(size), np.zeros((size, size), np.uint8)
        left = 10 + i * 11
        frame[30:120, left : left + width] = (250, 10, 10)
        mask[30:120, left : left + width] = 255
        yield frame, mask


def _plate(frames, expected: int) -> tuple[np.ndarray, float]:
    plate = BackgroundPlate(expected)
    for frame, mask in frames:
        plate.add(frame, mask)
    return plate.make()


def test_the_plate_shows_the_room_without_the_person():
    plate, hole = _plate(_walks(), 8)
    assert np.abs(plate.astype(int) - _room()).max() <= 1 and hole == 0


def test_pixels_that_are_never_uncovered_are_inpainted():
    stands = [next(iter(_walks()))] * 6
    plate, hole = _plate(stands, 6)
    assert 0.1 < hole < 0.3
    assert (plate[60, 18] != (250, 10, 10)).any() and np.abs(plate[60, 18].astype(int) - _room()[60, 18]).max() < 40
    assert np.abs(plate[:20].astype(int) - _room()[:20]).max() <= 1


def test_long_clips_are_sampled():
    """At most 90 frames are kept, so memory does not grow with the clip."""
    frames = [walked for _ in range(40) for walked in _walks()]
    kept = [weakref.ref(frame) for frame, _ in frames]
    plate = BackgroundPlate(len(frames))
    while frames:
        plate.add(*frames.pop(0))
    assert 60 <= sum(frame() is not None for frame in kept) <= 90
    assert np.abs(plate.make()[0].astype(int) - _room()).max() <= 1


def _energy(picture: np.ndarray, where: tuple[slice, slice]) -> float:
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.7)
    return float((cv2.Sobel(gray, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(gray, cv2.CV_32F, 0, 1) ** 2)[where].mean())


def _mosaic(clip: ShakenRoom, transforms: np.ndarray) -> tuple[np.ndarray, float]:
    plate = BackgroundPlate(len(clip))
    for (frame, mask), to_scene, gain in zip(clip, transforms, clip.gain, strict=True):
        plate.add(frame, mask, to_scene, gain)
    return plate.make()


_MIDDLE = (slice(30, -30), slice(30, -30))


def _shaken(grain: float = 4.0) -> ShakenRoom:
    path = shake(30, 360, 640, seed=1)
    light = 1 + 0.1 * np.sin(np.arange(30) / 5)[:, None] * np.ones(3)
    return ShakenRoom(np.linalg.inv(path[15]) @ path, grain=grain, gain=light)


def test_a_mosaic_is_as_sharp_as_the_room_and_shows_nobody():
    clip = _shaken()
    plate, hole = _mosaic(clip, clip.to_scene)
    truth = clip.scene()
    error = (plate.astype(float) - truth)[_MIDDLE]
    # Where the person stands most of the time, the plate is inpainted; it must not show stripes.
    assert hole < 0.06 and np.median(np.abs(error)) <= 1 and np.percentile(np.abs(error), 90) < 4
    beside = (slice(30, 280), slice(30, -30))
    assert 0.97 < _energy(plate, beside) / _energy(truth, beside) < 1.03


def test_a_mosaic_of_badly_registered_frames_is_still_sharp():
    clip = _shaken()
    rng = np.random.default_rng(0)
    off = clip.to_scene.copy()
    off[:, :2, 2] += rng.normal(0, 0.7, (len(off), 2))
    beside = (slice(30, 280), slice(30, -30))
    plate, truth = _mosaic(clip, off)[0], clip.scene()
    assert _energy(plate, beside) / _energy(truth, beside) > 0.9


def test_blurred_frames_do_not_blur_the_mosaic():
    clip = _shaken(grain=1.0)
    plate, beside = BackgroundPlate(len(clip)), (slice(30, 280), slice(30, -30))
    for n, ((frame, mask), to_scene, gain) in enumerate(zip(clip, clip.to_scene, clip.gain, strict=True)):
        plate.add(cv2.blur(frame, (9, 1)) if n % 3 else frame, mask, to_scene, gain)
    assert _energy(plate.make()[0], beside) / _energy(clip.scene(), beside) > 0.85


def test_frames_that_cover_part_of_the_scene_leave_the_rest_a_hole():
    """A frame that overlaps the scene contributes only where it overlaps."""
    frame, mask = _room(), np.zeros((16, 16), np.uint8)
    plate = BackgroundPlate(4)
    for _ in range(4):
        plate.add(frame, mask, np.array([[1, 0, 40.0], [0, 1, 0], [0, 0, 1]]))
    picture, hole = plate.make()
    assert abs(hole - 40 / 128) < 0.02
    assert np.abs(picture[:, 44:].astype(int) - _room()[:, 4:88]).max() <= 1


def test_the_plate_of_a_static_camera_compensates_the_gain():
    plate = BackgroundPlate(3)
    for gain in (0.5, 1.0, 0.8):
        plate.add((_room() * gain).astype(np.uint8), np.zeros((128, 128), np.uint8), None, np.full(3, gain))
    assert np.abs(plate.make()[0].astype(int) - _room()).max() <= 2


def test_the_sharpest_frame_of_each_span_is_kept():
    sharp = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    plate = BackgroundPlate(180)
    for n in range(180):
        plate.add(sharp if n % 2 else cv2.GaussianBlur(sharp, (0, 0), 2), np.zeros((64, 64), np.uint8))
    assert np.array_equal(plate.make()[0], sharp)


def test_masks_may_have_any_size():
    frames = [(f, cv2.resize(m, (32, 32), interpolation=cv2.INTER_NEAREST)) for f, m in _walks()]
    plate, _ = _plate(frames, 8)
    assert np.abs(plate.astype(int) - _room()).max() <= 12
