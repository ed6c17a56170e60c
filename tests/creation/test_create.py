import shutil

import pytest

from ram_avatar.capture.capture import NOBODY, Capture, LeftOut
from ram_avatar.core.errors import UserError
from ram_avatar.creation.create import create
from ram_avatar.creation.options import CreateOptions, TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.video import VideoWriter, read_frames


def test_too_few_frames_are_refused(capture, film, tiny, tmp_path):
    few = Capture(**{**vars(capture), "left_out": (LeftOut(5, 29, NOBODY),)})
    with pytest.raises(UserError, match="in only 5 frames; an avatar takes at least 24"):
        train(few, tmp_path / "a", TrainOptions(preset=tiny, accelerator="cpu"))
    with VideoWriter(tmp_path / "v.mp4", 256, 256, 12) as video:
        for frame in read_frames(film, stop=10):
            video.write(frame)
    with pytest.raises(UserError, match=r"v\.mp4: only 10 frames; an avatar takes at least 24"):
        create(tmp_path / "v.mp4", tmp_path / "a", CreateOptions(preset=tiny, accelerator="cpu"))
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_a_capture_made_with_another_rotation_is_refused(capture, film, tiny, tmp_path):
    shutil.copytree(capture.folder, tmp_path / "a-capture")
    with pytest.raises(UserError, match="made with --rotate 0, not 90; remove it or pass --overwrite"):
        create(film, tmp_path / "a", CreateOptions(preset=tiny, accelerator="cpu", rotate=90))


def test_a_capture_of_another_video_or_template_is_refused(capture, film, tiny, smplx_file, tmp_path):
    shutil.copytree(capture.folder, tmp_path / "a-capture")
    other = shutil.copyfile(film, tmp_path / "other.mp4")
    with pytest.raises(UserError, match=r"made from 'performer\.mp4', not from .*other\.mp4"):
        create(other, tmp_path / "a", CreateOptions(preset=tiny, accelerator="cpu"))
    smplx = CreateOptions(preset=tiny, accelerator="cpu", template="smplx", smplx_model=smplx_file)
    with pytest.raises(UserError, match="of body template 'anny"):
        create(film, tmp_path / "a", smplx)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"precision": "fp8"}, "precision is one of auto, 32-true, bf16-mixed, not 'fp8'"),
        ({"accelerator": "quantum"}, "accelerator is one of"),
        ({"devices": 0}, "devices is at least 1"),
        ({"rotate": 45}, "rotate is one of 0, 90, 180, 270, not '45'"),
    ],
)
def test_impossible_options_are_refused_when_they_are_made(values, cause):
    with pytest.raises(UserError, match=cause):
        CreateOptions(**values)
