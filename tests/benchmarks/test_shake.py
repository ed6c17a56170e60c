"""benchmarks/shake.py: a hand-held copy of a video, and its camera path."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from shake import MARGIN, camera_path, shake

from ram_avatar.core.errors import UserError
from ram_avatar.video import VideoWriter, probe, read_frames

WIDTH, HEIGHT, FRAMES, RATE = 150, 210, 40, Fraction(30000, 1001)


def pixel_centres() -> np.ndarray:
    """Return [H, W, 3]: x, y, 1."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.stack([x, y, np.ones_like(x)], -1)


def ramp(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Return an image whose colours encode position [H, W] and frame."""
    return np.stack([20 + 1.4 * x, 20 + y, np.full_like(x, 5 * k)], -1)


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("still") / "still.mkv"
    with VideoWriter(path, WIDTH, HEIGHT, RATE, audio_from=_tone(path.with_suffix(".wav"))) as video:
        for k in range(FRAMES):
            video.write(ramp(*np.moveaxis(pixel_centres()[..., :2], -1, 0), k).round().astype(np.uint8))
    return path


def _tone(path: Path) -> Path:
    rate = 44100
    samples = 0.5 * np.sin(np.arange(2 * rate) * 2 * np.pi * 440 / rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate)
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _loudness(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(np.mean([np.abs(frame.to_ndarray()).mean() for frame in container.decode(audio=0)]))


def test_every_pixel_comes_from_where_the_path_says(still, tmp_path):
    """Bicubic interpolation preserves a linear ramp, so mirrored, repeated or black pixels would show."""
    out = tmp_path / "shaken.mkv"
    path = shake(still, out, seed=3)
    stored = np.load(tmp_path / "shaken.npz", allow_pickle=False)
    assert np.array_equal(stored["to_original"], path)
    frames = list(read_frames(out))
    assert len(frames) == len(path) == FRAMES
    for k, frame in enumerate(frames):
        x, y, one = np.moveaxis(pixel_centres() @ path[k].T, -1, 0)
        assert (one == 1).all()
        assert np.abs(frame - ramp(x, y, k)).max() < 1.6  # two roundings and OpenCV's 1/32 of a pixel
    assert np.abs(frames[0].astype(int) - frames[FRAMES // 2]).max() > 5, "it moves"


def test_size_rate_length_and_sound_are_kept(still, tmp_path):
    out = tmp_path / "shaken.mkv"
    shake(still, out)
    before, after = probe(still), probe(out)
    assert (after.width, after.height, after.rate, after.frames) == (WIDTH, HEIGHT, RATE, FRAMES)
    assert before.has_audio and after.has_audio
    assert _loudness(out) == pytest.approx(_loudness(still), rel=0.1)


@pytest.mark.parametrize("size", [(1080, 1920), (640, 360)])
def test_path_is_smooth_reaches_its_limits_and_stays_inside(size):
    path = camera_path(150, 25.0, size, shift=0.03, rotation=1.5, zoom=0.02, seed=1)
    width, height = size
    corners = np.array([[x, y, 1.0] for x in (0, width) for y in (0, height)])
    reached = np.einsum("nij,kj->nki", path, corners)[..., :2]
    assert reached.min() > 0 and (reached < size).all()
    # The crop is minimal: some corner comes as close to the border as the kernel allows.
    clear = min(reached.min(), (np.array(size) - reached).min())
    assert clear == pytest.approx(MARGIN, abs=1e-6)

    centre = path @ np.array([width / 2, height / 2, 1.0])
    shift = np.linalg.norm(centre[:, :2] - np.array(size) / 2, axis=1)
    assert shift.max() == pytest.approx(0.03 * max(size))
    angle = np.degrees(np.arctan2(path[:, 1, 0], path[:, 0, 0]))
    assert np.abs(angle).max() == pytest.approx(1.5)
    scale = np.hypot(path[:, 0, 0], path[:, 1, 0])
    assert np.sqrt(scale.max() / scale.min()) == pytest.approx(1.02)
    step = np.linalg.norm(np.diff(centre, axis=0)[:, :2], axis=1)
    assert 0 < step.max() < 0.01 * max(size), "small steps between frames"


def test_path_depends_on_the_seed_only():
    make = lambda seed: camera_path(30, 25.0, (640, 360), seed=seed)
    assert np.array_equal(make(4), make(4))
    assert np.abs(make(4) - make(5)).max() > 1


def test_still_copy_shows_the_same_crop(still, tmp_path):
    path = shake(still, tmp_path / "shaken.mkv", still=tmp_path / "twin.mkv")
    frames = list(read_frames(tmp_path / "twin.mkv"))
    assert len(frames) == FRAMES
    x, y, _ = np.moveaxis(pixel_centres(), -1, 0)
    crop = np.sqrt(np.linalg.det(path[:, :2, :2])).mean()
    middle_x, middle_y = WIDTH / 2, HEIGHT / 2
    for k, frame in enumerate(frames):
        wanted = ramp(middle_x + crop * (x - middle_x), middle_y + crop * (y - middle_y), k)
        assert np.abs(frame - wanted).max() < 1.6


def test_zero_limits_give_the_crop_alone():
    path = camera_path(5, 25.0, (640, 360), shift=0, rotation=0, zoom=0)
    assert (path == path[0]).all() and 0.98 < path[0, 0, 0] < 1 and path[0, 0, 1] == 0


def test_invalid_input_is_reported(still, tmp_path):
    (tmp_path / "mine.npz").write_text("precious")
    with pytest.raises(UserError, match=r"mine\.npz exists.*--overwrite"):
        shake(still, tmp_path / "mine.mkv")
    with pytest.raises(UserError, match="is the video itself"):
        shake(still, still, overwrite=True)
    with pytest.raises(UserError, match="--shift"):
        shake(still, tmp_path / "out.mkv", shift=0.5)
    odd = tmp_path / "odd.mkv"
    with VideoWriter(odd, 65, 64, 25) as video:
        video.write(np.zeros((64, 65, 3), np.uint8))
    with pytest.raises(UserError, match=r"65 x 64.*even"):
        shake(odd, tmp_path / "out.mp4")
    assert {file.name for file in tmp_path.iterdir()} == {"odd.mkv", "mine.npz"}
