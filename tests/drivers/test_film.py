import time

import av
import numpy as np
import pytest
from stepped_film import number_of, write_steps

from ram_avatar.core.errors import UserError
from ram_avatar.drivers.driver import Driven, Status
from ram_avatar.drivers.film import Film, FilmDriver


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_steps(tmp_path_factory.mktemp("film") / "steps.mp4")


def test_a_raw_stream_is_a_film(tmp_path):
    path = tmp_path / "steps.h264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(10):
            picture = np.full((48, 64, 3), 20 * k + 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    shown = Film(path, path.name)
    assert [number_of(shown.at(t)) for t in (0.0, 0.31, 0.79, 0.95)] == [0, 3, 7, 9]
    shown.close()


def test_a_film_shows_the_frame_that_is_due_and_loops(film):
    shown = Film(film, "steps.mp4")
    assert [number_of(shown.at(50 + t)) for t in (0.0, 0.05, 0.31, 0.79)] == [0, 0, 3, 7]
    assert number_of(shown.at(50.95)) == 9
    assert number_of(shown.at(51.0)) == 0  # the next loop
    shown.close()


def test_a_film_that_decodes_slowly_plays_slowly(film, monkeypatch):
    """Otherwise every call would take longer than the one before, to catch up with it."""
    shown = Film(film, "steps.mp4")
    shown.at(0.0)
    decode = shown._decoder.next
    monkeypatch.setattr(shown._decoder, "next", lambda: (time.sleep(0.06), decode())[1])
    numbers = [number_of(shown.at(seconds)) for seconds in (0.9, 0.91, 1.2)]
    shown.close()
    steps = np.diff([0, *numbers])
    assert (steps >= 1).all() and (steps <= 2).all()  # and not all nine frames at once


def test_a_film_that_cannot_be_decoded_says_so_every_time(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    shown = Film(tmp_path / "bad.mp4", "bad.mp4")
    for seconds in (0.0, 0.1):
        with pytest.raises(UserError, match=r"bad\.mp4"):
            shown.at(seconds)
    shown.close()


def test_a_film_replaces_the_camera(film):
    class Brightness:
        def drive(self, rgb, seconds):
            return Driven(None, Status.SEEN, np.array([[number_of(rgb), 0.0]]))

        def close(self): ...

    driver = FilmDriver(Film(film, "steps.mp4"), Brightness())
    assert driver.drive(None, 1.0).landmarks[0, 0] == 0
    then = driver.drive(None, 1.5)
    assert then.landmarks[0, 0] == 5 and number_of(then.picture) == 5
    driver.close()
