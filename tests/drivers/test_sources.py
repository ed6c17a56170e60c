"""What `open_driver` makes of a name, and what its sources give."""

import pytest
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.drivers.options import DriverOptions
from ram_avatar.drivers.played_motion import PlayedMotion
from ram_avatar.drivers.sources import (
    CameraSource,
    CaptureSource,
    MotionFileSource,
    VideoSource,
    open_driver,
    open_motion,
)
from ram_avatar.motion.formats import ReadOptions


@pytest.fixture()
def motion_file(random_motion, tmp_path):
    path = tmp_path / "m.npz"
    random_motion(10, turn=0.05).save(path)
    return path


def test_the_kind_of_driver_is_found(capture, motion_file, film):
    assert open_driver(None) == CameraSource()
    assert open_driver(capture.folder) == CaptureSource(capture.folder)
    options = DriverOptions(fps=20.0)
    assert open_driver(str(motion_file), options) == MotionFileSource(motion_file, options)
    assert open_driver(film, DriverOptions(rotate=90)) == VideoSource(film, 90)


def test_options_that_a_driver_does_not_use_are_refused(capture, motion_file, film):
    for what in (None, "vmc://:39539", capture.folder, film):
        with pytest.raises(UserError, match="--up is for motion files"):
            open_driver(what, DriverOptions(up="z"))
    for what in (None, "vmc://:39539", capture.folder, motion_file):
        with pytest.raises(UserError, match="--rotate is for videos"):
            open_driver(what, DriverOptions(rotate=90))


def test_impossible_options_are_refused():
    for wrong in ({"rotate": 45}, {"up": "w"}, {"fps": 0.0}):
        with pytest.raises(UserError):
            DriverOptions(**wrong)


def test_bad_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.mp4: no such file"):
        open_driver(tmp_path / "absent.mp4")
    with pytest.raises(UserError, match="not a capture folder"):
        open_driver(tmp_path)


def test_a_motion_file_is_put_on_the_given_body(motion_file, template):
    identity = template.default_identity() + 0.1
    with open_driver(motion_file).clip(template, identity) as clip:
        assert len(clip.motion) == 10 and clip.capture is None
        assert torch.equal(clip.identity, identity) and torch.equal(clip.person.identity, identity)


def test_a_capture_brings_its_own_body(capture, template):
    with open_driver(capture.folder).clip() as clip:
        assert clip.template.name == template.name and torch.equal(clip.identity, capture.identity)
        assert clip.capture.footage == capture.footage
    with open_motion(capture.folder, ReadOptions(fps=25.0)).clip() as clip:
        assert clip.motion.fps == 25.0 and len(clip.motion) == 59  # of 30 frames at 12.5 a second


def test_a_motion_of_another_template_is_refused(capture, smplx):
    with (
        pytest.raises(UserError, match=r"a capture of body template 'anny.*, not 'smplx"),
        open_driver(capture.folder).clip(smplx),
    ):
        pass


def test_only_a_video_and_a_camera_need_a_tracker(avatar, motion_file, film):
    assert isinstance(open_driver(motion_file).live(avatar), PlayedMotion)
    for what in (film, None):
        with pytest.raises(UserError):
            open_driver(what).live(avatar)


def test_a_video_is_not_a_motion(film):
    with pytest.raises(UserError, match="not a motion file"):
        open_motion(film)


def test_a_driver_without_an_end_makes_no_clip():
    with pytest.raises(UserError, match="ram-avatar live"):
        open_driver("vmc://:39539").clip()
