"""The camera's path, in rooms where it is known and in real clips."""

import cv2
import numpy as np
import pytest
from shaken_room import ShakenRoom, pan, room, shake

from ram_avatar.tracking.camera.noise_smoothing import smooth_noise
from ram_avatar.tracking.camera.path import CameraPath, PathFinder
from ram_avatar.tracking.camera.registration import project
from ram_avatar.video import read_frames

WIDTH, HEIGHT = 360, 640


def _find(frames) -> CameraPath:
    finder = PathFinder()
    for frame, mask in frames:
        finder.add(frame, mask)
    return finder.find()


def _errors(path: CameraPath, truth: np.ndarray, size=(WIDTH, HEIGHT)) -> np.ndarray:
    """[N, 49] distance in pixels between the found and the true places of some points of each frame."""
    grid = np.stack(np.meshgrid(*(np.linspace(0, n, 7) for n in size)), -1).reshape(-1, 2)
    home = np.linalg.inv(truth[path.reference])
    found, true = (np.stack([project(m, grid) for m in ms]) for ms in (path.to_scene, home @ truth))
    return np.linalg.norm(found - true, axis=-1)


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def test_a_shaking_camera_is_registered_to_a_tenth_of_a_pixel():
    truth = shake(30, WIDTH, HEIGHT, seed=1)
    path = _find(ShakenRoom(truth, grain=4, caption=True))
    assert _rms(_errors(path, truth)) < 0.1
    assert path.registered.all() and path.reliable and path.moves and path.shift > 0.03
    assert np.nanmax(path.residual) < 0.3
    assert np.array_equal(path.to_scene[path.reference], np.eye(3))


def test_the_scene_is_in_pixels_of_the_source():
    """Although frames are registered at a smaller size."""
    size = (720, 1280)
    truth = shake(8, *size, seed=2, rate=6.0)
    assert _rms(_errors(_find(ShakenRoom(truth, *size)), truth, size)) < 0.15


def test_a_panning_camera_needs_a_homography():
    truth = pan(24, WIDTH, HEIGHT, degrees=3.0)
    path = _find(ShakenRoom(truth))
    assert _rms(_errors(path, truth)) < 0.15
    assert np.abs(path.to_scene[:, 2, :2]).max() > 1e-6


def test_a_tripod_is_exactly_still_despite_captions_light_and_grain():
    flicker = 1 + 0.1 * np.random.default_rng(0).uniform(-1, 1, (20, 1)) * np.ones((1, 3))
    path = _find(ShakenRoom(np.tile(np.eye(3), (20, 1, 1)), grain=6, caption=True, gain=flicker))
    assert path.still and not path.moves and path.reliable
    assert (path.to_scene == np.eye(3)).all() and path.shift < 0.001


def test_flickering_light_moves_nothing():
    truth = shake(20, WIDTH, HEIGHT, seed=4)
    flicker = 1 + 0.2 * np.random.default_rng(0).uniform(-1, 1, (20, 1)) * np.ones((1, 3))
    assert _rms(_errors(_find(ShakenRoom(truth, gain=flicker)), truth)) < 0.1


def test_titles_and_logos_are_not_registered():
    truth = shake(30, WIDTH, HEIGHT, seed=1)
    title = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for row in (300, 400):
        cv2.putText(title, "HELLO", (20, row), cv2.FONT_HERSHEY_DUPLEX, 3, (250, 250, 250), 6)
    frames = [(title if n < 3 or n == 29 else f, m) for n, (f, m) in enumerate(ShakenRoom(truth))]
    path = _find(frames)
    assert np.array_equal(np.flatnonzero(~path.registered), [0, 1, 2, 29])
    assert np.isnan(path.residual[~path.registered]).all() and np.isfinite(path.residual[path.registered]).all()
    assert _rms(_errors(path, truth)[path.registered]) < 0.1
    assert np.allclose(path.to_scene[0], path.to_scene[3], atol=1e-6), "held before the first registered frame"
    assert path.reliable


def test_after_a_cut_the_scene_is_found_again():
    truth = shake(24, WIDTH, HEIGHT, seed=1)
    truth[12:, 0, 2] += 120
    path = _find(ShakenRoom(truth))
    assert path.registered.all() and _rms(_errors(path, truth)) < 0.2


def test_a_watermark_does_not_pin_the_camera():
    truth = shake(20, WIDTH, HEIGHT, seed=1)
    frames = []
    for frame, mask in ShakenRoom(truth):
        for text, row in (("@watermark", 60), ("a caption", 600)):
            cv2.putText(frame, text, (20, row), cv2.FONT_HERSHEY_DUPLEX, 1.2, (255, 255, 0), 3)
        frames.append((frame, mask))
    assert _rms(_errors(_find(frames), truth)) < 0.1


def test_a_bare_wall_counts_as_still():
    rng = np.random.default_rng(0)
    frames = [
        (np.where(cv2.resize(m, (WIDTH, HEIGHT))[..., None] > 0, f, rng.normal(200, 4, f.shape)).astype(np.uint8), m)
        for f, m in ShakenRoom(np.tile(np.eye(3), (12, 1, 1)))
    ]
    path = _find(frames)
    assert path.still and path.reliable


def test_two_depths_do_not_fit_one_plate():
    def shift(x: float) -> np.ndarray:
        return np.stack([np.array([[1, 0, x * n], [0, 1, 0], [0, 0, 1.0]]) for n in range(24)])

    near = ShakenRoom(shift(2.2), seed=3, person=False)
    far = ShakenRoom(shift(0.8), seed=4, person=False)
    blocks = np.kron(np.random.default_rng(0).integers(0, 2, (8, 5)), np.ones((8, 8), int)).astype(np.uint8)
    where = cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)[..., None] > 0
    frames = [(np.where(where, a, b), mask) for (a, mask), (b, _) in zip(near, far, strict=True)]
    assert not _find(frames).reliable


def test_a_walk_down_a_corridor_does_not_fit_one_plate():
    texture = room(WIDTH, HEIGHT, 7)
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    frames = []
    for n in range(24):
        zoom = 1 + 0.03 * n * (0.2 + np.abs(column - WIDTH / 2) / WIDTH)
        x, y = (column - WIDTH / 2) / zoom + WIDTH / 2, (row - HEIGHT / 2) / zoom + HEIGHT / 2
        frames.append((cv2.remap(texture, x, y, cv2.INTER_CUBIC), np.zeros((8, 8), np.uint8)))
    assert not _find(frames).reliable


def test_a_path_needs_a_frame():
    with pytest.raises(ValueError, match="no frame"):
        PathFinder().find()


def test_smoothing_removes_noise_and_keeps_motion_and_jumps():
    rng, time, ones = np.random.default_rng(0), np.arange(200), np.ones(200)
    noise = rng.normal(0, 0.1, (200, 1))
    assert smooth_noise(noise, 0.1 * ones, time).std() < 0.05
    swings = 5 * np.sin(time / 3)[:, None]
    assert np.abs(smooth_noise(swings + noise, 0.1 * ones, time) - swings).std() <= 1.1 * noise.std()
    jump = np.where(time < 90, 0.0, 3.0)[:, None]
    assert np.abs(smooth_noise(jump + 0.1 * noise, 0.01 * ones, time) - jump).max() < 0.1


def _wall() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    return cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)


def test_a_fixed_camera_is_still_while_the_person_moves():
    frames, masks = [], []
    for i in range(8):
        frame, mask = _wall(), np.zeros((480, 640), np.uint8)
        cv2.rectangle(frame, (100 + 30 * i, 100), (220 + 30 * i, 460), (200, 30, 30), -1)
        cv2.rectangle(mask, (95 + 30 * i, 95), (225 + 30 * i, 465), 255, -1)
        frames.append(frame)
        masks.append(mask)
    path = _find(zip(frames, masks, strict=True))
    assert path.still and path.shift < 0.004


@pytest.mark.parametrize("move", ["pan", "zoom"])
def test_a_moving_camera_is_detected(move):
    frames = []
    for i in range(8):
        pan, zoom = np.array([[1, 0, -3.0 * i], [0, 1, 0]]), cv2.getRotationMatrix2D((320, 240), 0, 1 + 0.01 * i)
        matrix = pan if move == "pan" else zoom
        frames.append(cv2.warpAffine(_wall(), matrix, (640, 480), borderMode=cv2.BORDER_REFLECT))
    path = _find((frame, np.zeros((480, 640), np.uint8)) for frame in frames)
    assert path.moves and path.shift > 0.012


def _clip(shared, name: str, every: int, crop: tuple[slice, slice] = (slice(None), slice(None))):
    """Some frames of a real clip, with all but the edges masked where its person dances."""
    for index, frame in enumerate(read_frames(shared / "videos" / name)):
        if index % every == 0:
            frame = np.ascontiguousarray(frame[crop])
            mask = np.zeros(frame.shape[:2], np.uint8)
            mask[frame.shape[0] // 9 :, frame.shape[1] // 4 : -frame.shape[1] // 4] = 255
            yield frame, mask


@pytest.mark.parametrize("name", ["bedroom_dance.mp4", "stage_dance.mp4"])
def test_real_clips_from_a_tripod_are_exactly_still(shared, name):
    path = _find(_clip(shared, name, 8))
    assert path.still and path.reliable and path.lost == 0


def test_a_real_hand_held_clip_is_registered(shared):
    path = _find(_clip(shared, "handheld_hall.mp4", 3, (slice(154, 894), slice(0, 406))))
    assert path.moves and path.reliable and 0.03 < path.shift < 0.1
    assert np.nanmedian(path.residual) < 0.5
    lost = 3 * np.flatnonzero(~path.registered)
    assert ((lost >= 60) & (lost <= 80)).all(), "all but an effect that blurs the image"
