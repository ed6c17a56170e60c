"""Cuts are found, and lookalikes are not."""

import cv2
import numpy as np
import pytest

from ram_avatar.tracking.offline.scenes import TRANSITION, Scenes, runs
from ram_avatar.video import read_frames

FPS = 16.0


def place(seed: int) -> np.ndarray:
    """An image with large and small shapes, as rooms have."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 255, (3, 4, 3), dtype=np.uint8)
    picture = cv2.resize(colors, (320, 240), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, width, height = random.integers((0, 0, 5, 5), (310, 230, 40, 40)).tolist()
        cv2.rectangle(picture, (x, y), (x + width, y + height), random.integers(0, 255, 3).tolist(), -1)
    return picture


def logo() -> np.ndarray:
    card = np.full((240, 320, 3), (20, 24, 60), np.uint8)
    cv2.circle(card, (160, 100), 60, (240, 200, 40), -1)
    cv2.putText(card, "LOGO", (90, 210), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (255, 255, 255), 4)
    return card


def dancer(count: int) -> list[np.ndarray]:
    """A person who fills a third of the image and jumps back and forth, by up to 50 pixels a frame."""
    frames = []
    for i in range(count):
        frame, left = place(0), int(110 + 60 * np.sin(0.8 * i))
        cv2.rectangle(frame, (left, 30), (left + 100, 239), (200, 30, 30), -1)
        cv2.circle(frame, (left + 50, 40), 30, (220, 180, 150), -1)
        frames.append(frame)
    return frames


def shift(frame: np.ndarray, x: float, y: float, zoom: float = 1.0, turn: float = 0.0) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((160, 120), turn, zoom)
    matrix[:, 2] += x, y
    return cv2.warpAffine(frame, matrix, (320, 240), borderMode=cv2.BORDER_REFLECT)


def labels(frames: list[np.ndarray]) -> list[int]:
    scenes = Scenes(FPS)
    for frame in frames:
        scenes.add(frame)
    return scenes.labels().tolist()


def fade(first: np.ndarray, last: np.ndarray, count: int) -> list[np.ndarray]:
    return [cv2.addWeighted(first, 1 - share, last, share, 0) for share in np.arange(1, count + 1) / (count + 1)]


def shaken() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [shift(f, *(6 * random.normal(size=2)), zoom=1.2, turn=3 * random.normal()) for f in dancer(30)]


def panned() -> list[np.ndarray]:
    wide = np.concatenate([place(seed) for seed in range(4)], 1)
    return [np.ascontiguousarray(wide[:, 25 * i : 25 * i + 320]) for i in range(30)]


def brightened() -> list[np.ndarray]:
    gains = 1 + 0.6 * np.sin(0.7 * np.arange(30))
    return [(f * g + 15).clip(0, 255).astype(np.uint8) for f, g in zip(dancer(30), gains, strict=True)]


def captioned() -> list[np.ndarray]:
    frames = dancer(30)
    for i, frame in enumerate(frames):
        cv2.putText(frame, "abcdefg"[i % 7 :] * 3, (300 - 20 * i, 225), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255,) * 3, 5)
    return frames


def zoomed() -> list[np.ndarray]:
    return [shift(f, 0, 0, zoom=1.0 if i < 15 else 1.35) for i, f in enumerate(dancer(30))]


@pytest.mark.parametrize("film", [lambda: dancer(30), shaken, panned, brightened, captioned, zoomed])
def test_one_scene_has_one_label(film):
    assert labels(film()) == [0] * 30


def test_a_title_card_before_and_after_the_scene():
    assert labels([logo()] * 4 + dancer(20) + [logo()] * 8) == [0] * 4 + [1] * 20 + [0] * 8


def test_a_cut_is_reported_as_it_happens():
    scenes = Scenes(FPS)
    told = [scenes.add(frame) for frame in dancer(20) + [logo()] * 5]
    assert told == [False] * 20 + [True] + [False] * 4


def test_a_recurring_scene_keeps_its_label():
    assert labels(dancer(10) + [place(7)] * 5 + dancer(10)) == [0] * 10 + [1] * 5 + [0] * 10
    found = labels(dancer(10) + [np.full((240, 320, 3), 255, np.uint8)] + dancer(10))  # a flash
    assert found[10] == 1 and found[:9] == [0] * 9 and found[12:] == [0] * 9


def test_frames_of_a_fade_belong_to_neither_scene():
    frames = dancer(20)
    found = labels(frames + fade(frames[-1], logo(), 8) + [logo()] * 12)
    assert found[:20] == [0] * 20 and found[29:] == [1] * 11
    assert found[22:26] == [TRANSITION] * 4


@pytest.mark.parametrize("count", [4, 10])
def test_a_fade_to_black_ends_the_scene_before_it_gets_dark(count):
    frames, black = dancer(20), np.zeros((240, 320, 3), np.uint8)
    found = labels(frames + fade(frames[-1], black, count) + [black] * 12)
    assert found[:20] == [0] * 20 and 0 not in found[22:]
    found = labels([black] * 12 + fade(black, frames[0], count) + frames)
    assert found[-18:] == [1] * 18 and 1 not in found[: 12 + count - 2]


def test_a_bare_wall_stays_one_scene():
    noise = np.random.default_rng(0)
    assert labels([noise.normal(128, 4, (240, 320, 3)).clip(0, 255).astype(np.uint8) for _ in range(20)]) == [0] * 20


@pytest.mark.parametrize("name", ["bedroom_dance", "handheld_hall", "stage_dance"])
def test_real_clips_have_one_scene(shared, name):
    """A fast dance; a hand-held camera at 8 frames a second, dazzled by a window; moving captions."""
    scenes = Scenes({"bedroom_dance": 16.0, "handheld_hall": 8.0, "stage_dance": 24.0}[name])
    for frame in read_frames(shared / "videos" / f"{name}.mp4", stop=160):
        scenes.add(frame)
    assert set(scenes.labels()) == {0}


def test_a_cut_between_real_clips(shared):
    first, second = (
        [cv2.resize(f, (240, 400)) for f in read_frames(shared / "videos" / f"{name}.mp4", stop=16)]
        for name in ("bedroom_dance", "stage_dance")
    )
    assert labels(first + second + first) == [0] * 16 + [1] * 16 + [0] * 16


def test_runs():
    assert runs([2, 3, 4, 8, 10, 11]) == [[2, 3, 4], [8], [10, 11]] and runs([]) == []
