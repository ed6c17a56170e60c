import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ram_avatar.capture.footage import PATH_FILE, Footage
from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.records import Description

STATIC = Footage("video.mp4", 10, 20, 74, 68)


def _moving(frames: int = 3) -> Footage:
    to_scene = np.tile(np.eye(3), (frames, 1, 1))
    to_scene[:, 0, 2] = 4.0 * np.arange(frames)
    return replace(STATIC, to_scene=to_scene, gains=np.linspace(0.5, 1.0, frames)[:, None] * np.ones(3))


def _load(described: dict, folder: Path, frames: int = 3) -> Footage:
    return Footage.load(Description({"footage": described}, folder / "capture.json"), folder, frames)


@pytest.mark.parametrize("footage", [STATIC, _moving()])
def test_saved_footage_is_read_back(footage, tmp_path):
    footage.save_path(tmp_path)
    assert (tmp_path / PATH_FILE).exists() == footage.moves
    described = json.loads(json.dumps(footage.as_dict()))
    read = _load(described, tmp_path)
    assert read.as_dict() == footage.as_dict() and read.size == (64, 48)
    for name in ("to_scene", "gains"):
        assert np.array_equal(getattr(read, name), getattr(footage, name)) or not footage.moves


def test_a_path_of_another_length_or_with_infinities_is_refused(tmp_path):
    _moving(4).save_path(tmp_path)
    with pytest.raises(UserError, match=r"to_scene must be \[3, 3, 3\], got \[4, 3, 3\]"):
        _load(STATIC.as_dict(), tmp_path)
    replace(STATIC, gains=np.full((3, 3), np.inf)).save_path(tmp_path)
    with pytest.raises(UserError, match="finite"):
        _load(STATIC.as_dict(), tmp_path)
    np.savez(tmp_path / PATH_FILE, other=np.zeros(3))
    with pytest.raises(UserError, match="it holds other"):
        _load(STATIC.as_dict(), tmp_path)
    (tmp_path / PATH_FILE).write_bytes(b"cut short")
    with pytest.raises(UserError, match="damaged"):
        _load(STATIC.as_dict(), tmp_path)


def test_frames_are_adjusted_and_placed_in_the_scene():
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[10:20, 10:20] = 50
    footage = _moving()
    assert footage.evened(0, frame).max() == 100 and footage.evened(2, frame) is frame
    placed = footage.in_scene(2, frame, (64, 48))
    assert (placed[12:18, 20:26] == 50).all() and not placed[:, :17].any()


def test_an_empty_image_is_refused():
    with pytest.raises(ValueError, match="no image"):
        Footage("video.mp4", 10, 0, 10, 20)
