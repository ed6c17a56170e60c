"""A hand-held video, from its frames to close-ups of a fixed scene."""

import numpy as np
import pytest

from ram_avatar.rendering.framing import warp
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.tracking.offline.fitting import FitSettings
from ram_avatar.tracking.offline.track import track
from ram_avatar.video import VideoWriter, read_frames

pytestmark = pytest.mark.slow
FRAMES, SIZE, SHOWN = 30, 448, 384  # the shaken view is smaller than the original, so that its edges are never empty


def _shakes() -> np.ndarray:
    """[N, 3, 3] pixels of the original to pixels of the shaken view: a smooth sway, roll and zoom."""
    made = []
    for phase in np.linspace(0, 5, FRAMES):
        x, y = -32 + 11 * np.sin(phase), -32 + 9 * np.cos(1.7 * phase)
        angle, zoom = np.radians(1.5 * np.sin(1.3 * phase)), 1 + 0.02 * np.sin(0.9 * phase)
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = np.array([SIZE / 2, SIZE / 2])
        made.append(np.vstack([np.column_stack([turn, middle - turn @ middle + [x, y]]), [0, 0, 1]]))
    return np.array(made)


@pytest.fixture(scope="module")
def shaken(template, tmp_path_factory):
    """A capture of the performer, filmed by a shaking camera, and the true path."""
    folder = tmp_path_factory.mktemp("shaken")
    write_performance(folder / "still.mp4", Performer(template), "training", frames=FRAMES, fps=12.5, size=SIZE)
    shakes = _shakes()
    with VideoWriter(folder / "film.mp4", SHOWN, SHOWN, 12.5) as video:
        for frame, shake in zip(read_frames(folder / "still.mp4"), shakes, strict=True):
            video.write(warp(frame, shake, (SHOWN, SHOWN)))
    capture = track(folder / "film.mp4", folder / "c", template=template, settings=FitSettings(60, 80))
    return capture, shakes


def test_the_path_is_found(shaken):
    """To a pixel at the corners, relative to the reference frame."""
    capture, shakes = shaken
    assert capture.footage.moves and capture.known_background
    found = capture.footage.to_scene
    reference = int(np.abs(found - np.eye(3)).sum((1, 2)).argmin())
    corners = np.array([[0, 0, 1], [SHOWN, 0, 1], [0, SHOWN, 1], [SHOWN, SHOWN, 1]], float).T
    for index in range(FRAMES):
        true = shakes[reference] @ np.linalg.inv(shakes[index]) @ corners
        ours = found[index] @ corners
        assert np.linalg.norm(true[:2] / true[2] - ours[:2] / ours[2], axis=0).max() < 1.0


def test_the_plate_shows_the_room_as_sharp_as_a_frame(shaken, template):
    capture, shakes = shaken
    reference = int(np.abs(capture.footage.to_scene - np.eye(3)).sum((1, 2)).argmin())
    room = warp(Performer(template).room(SIZE), shakes[reference], (SHOWN, SHOWN)).astype(float)
    plate = capture.background().astype(float)
    inner = (slice(30, -30), slice(30, -30))
    assert np.abs(plate - room)[inner].mean() < 6
    edges = [np.abs(np.diff(picture[inner], axis=1)).mean() for picture in (plate, room)]
    assert edges[0] > 0.8 * edges[1]


def test_close_ups_of_a_shaken_video_are_steady(shaken, template):
    """The background is the same in the close-ups of all frames."""
    capture, _ = shaken
    framing, plate = capture.framing(template), capture.background()
    apart = []
    for index, (frame, mask) in enumerate(capture.frames()):
        square = framing.square(capture.motion.root_translation[index].numpy())
        to_scene = capture.footage.matrix(index)
        seen, behind = square.cut(frame, 192, to_scene).astype(int), square.cut(plate, 192)
        free = (square.cut(mask, 192, to_scene) == 0) & square.inside(SHOWN, SHOWN, 192, to_scene)
        apart.append(np.abs(seen - behind)[free].mean())
    assert np.mean(apart) < 6 and max(apart) < 9


def test_the_person_does_not_shake_with_the_camera(shaken, template):
    """The path of the hips through the scene is as smooth as in the performance."""
    from ram_avatar.synthetic.performances import performance

    capture, _ = shaken
    true = performance("training", template, FRAMES, 12.5).root_translation.numpy()
    found = capture.motion.root_translation.numpy()
    haste = [np.linalg.norm(np.diff(way[:, [0, 2]], 2, axis=0), axis=1).mean() for way in (found, true)]
    assert haste[0] < haste[1] + 0.01  # metres a frame²: the shake alone would add 0.05
