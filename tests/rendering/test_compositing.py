import weakref

import numpy as np

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


def test_the_person_is_gone_and_the_room_is_left():
    plate, hole = _plate(_walks(), 8)
    assert np.abs(plate.astype(int) - _room()).max() <= 1 and hole == 0


def test_what_was_never_uncovered_is_filled_from_around():
    stands = [next(iter(_walks()))] * 6
    plate, hole = _plate(stands, 6)
    assert 0.1 < hole < 0.3
    assert (plate[60, 18] != (250, 10, 10)).any() and np.abs(plate[60, 18].astype(int) - _room()[60, 18]).max() < 40
    assert np.abs(plate[:20].astype(int) - _room()[:20]).max() <= 1


def test_long_clips_are_sampled():
    """Memory does not grow with the clip: at most 90 frames are kept."""
    frames = [walked for _ in range(40) for walked in _walks()]
    kept = [weakref.ref(frame) for frame, _ in frames]
    plate = BackgroundPlate(len(frames))
    while frames:
        plate.add(*frames.pop(0))
    assert 60 <= sum(frame() is not None for frame in kept) <= 90
    assert np.abs(plate.make()[0].astype(int) - _room()).max() <= 1
