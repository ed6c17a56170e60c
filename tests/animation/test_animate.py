import shutil
from dataclasses import replace
from functools import partial
from itertools import islice

import cv2
import numpy as np
import pytest

from ram_avatar.animation.animate import animate
from ram_avatar.animation.options import AnimateOptions
from ram_avatar.avatar import Avatar
from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats.writing import write_motion
from ram_avatar.synthetic.improvisation import improvised
from ram_avatar.synthetic.performances import perform
from ram_avatar.tracking.offline.fitting import FitSettings
from ram_avatar.tracking.offline.track import track
from ram_avatar.video import VideoWriter, probe, read_frames


@pytest.fixture(scope="module")
def avatar(avatar_folder):
    return Avatar.load(avatar_folder)


def test_driven_by_its_own_capture_it_overlaps_the_video(avatar, capture, tmp_path):
    """Retargeting a person to themselves changes nothing."""
    animate(avatar, capture.folder, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert (info.frames, info.width, info.height) == (30, 256, 256) and abs(float(info.fps) - 12.5) < 1e-6
    shown = list(read_frames(tmp_path / "out.mp4"))
    truth = [frame for frame, _ in capture.frames()]
    plain = capture.background().astype(int)
    near = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(shown, truth, strict=True)])
    far = np.mean([np.abs(plain - b).mean() for b in truth])
    assert near < 0.9 * far


def test_a_motion_file_drives(avatar, capture, tmp_path):
    animate(avatar, capture.folder / "motion.npz", tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").frames == 30


def test_every_frame_is_marked_if_set(avatar, capture, tmp_path):
    """The mark is in the lower right corner, and nowhere else."""
    for name, marked in (("plain.mp4", False), ("marked.mp4", True)):
        animate(avatar, capture.folder / "motion.npz", tmp_path / name, AnimateOptions(visible_mark=marked))
    plain, marked = (np.stack(list(read_frames(tmp_path / name))).astype(int) for name in ("plain.mp4", "marked.mp4"))
    changed = np.abs(marked - plain).max(-1) > 40  # more than compression does
    assert changed[:, 128:, 128:].any((1, 2)).all() and not changed[:, :128].any()


def test_a_bvh_file_drives(avatar, capture, template, tmp_path):
    """The capture's motion, read from a BVH file, puts the avatar about where the capture itself does."""
    write_motion(tmp_path / "m.bvh", capture.motion, template, capture.identity)
    animate(avatar, tmp_path / "m.bvh", tmp_path / "bvh.mp4")
    animate(avatar, capture.folder, tmp_path / "own.mp4")
    shown, own = (list(read_frames(tmp_path / name)) for name in ("bvh.mp4", "own.mp4"))
    plain = capture.background().astype(int)
    near = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(shown, own, strict=True)])
    far = np.mean([np.abs(plain - b).mean() for b in own])
    assert near < 0.7 * far
    with pytest.raises(UserError, match="beside"):
        animate(avatar, tmp_path / "m.bvh", tmp_path / "two.mp4", AnimateOptions(side_by_side=True))


def test_a_motion_file_without_a_rate(avatar, tmp_path):
    parts = {"global_orient": np.zeros((6, 3)), "body_pose": np.zeros((6, 63))}
    np.savez(tmp_path / "smplx.npz", **parts, transl=np.tile([0.0, 1.3, 2.0], (6, 1)))
    with pytest.raises(UserError, match=r"smplx\.npz: has no frame rate .*--fps"):
        animate(avatar, tmp_path / "smplx.npz", tmp_path / "out.mp4")
    options = AnimateOptions(fps=20.0, up="y")
    animate(avatar, tmp_path / "smplx.npz", tmp_path / "out.mp4", options)
    info = probe(tmp_path / "out.mp4")
    assert (info.frames, float(info.fps)) == (6, 20.0)


def test_options_of_motion_files_are_refused_elsewhere(avatar, capture, film, tmp_path):
    for driver in (capture.folder, film):
        for options, name in (({"up": "z"}, "--up"), ({"fps": 20.0}, "--fps")):
            with pytest.raises(UserError, match=f"{name} is for motion files of other programs"):
                animate(avatar, driver, tmp_path / "out.mp4", AnimateOptions(**options))


def test_the_driver_is_shown_beside_the_avatar(avatar, capture, tmp_path):
    animate(avatar, capture.folder, tmp_path / "out.mp4", AnimateOptions(side_by_side=True))
    left = next(iter(read_frames(tmp_path / "out.mp4")))[:, :256]
    truth = next(iter(capture.frames()))[0]
    assert left.shape == (256, 256, 3) and np.abs(left.astype(int) - truth).mean() < 12


def test_transparent(avatar, capture, tmp_path):
    animate(avatar, capture.folder, tmp_path / "out.webm", AnimateOptions(background="transparent"))
    assert probe(tmp_path / "out.webm").frames == 30
    with pytest.raises(UserError, match="transparen"):
        animate(avatar, capture.folder, tmp_path / "out.mp4", AnimateOptions(background="transparent"))
    assert not (tmp_path / "out.mp4").exists()


def test_a_driving_video_is_tracked_and_its_sound_kept(avatar, film, tmp_path, monkeypatch):
    """A video of ten frames with a tone, tracked in few steps."""
    import av

    monkeypatch.setattr("ram_avatar.tracking.offline.track.track", partial(track, settings=FitSettings(60, 80)))
    driver = tmp_path / "driver.mp4"
    with av.open(str(driver), "w") as container:
        video = container.add_stream("libx264", rate=12)
        video.width = video.height = 256
        sound = container.add_stream("aac", rate=44100)
        for frame in islice(read_frames(film), 10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        tone = (0.3 * np.sin(np.arange(44100) * 0.06)).astype(np.float32)[None]
        for start in range(0, tone.shape[1], 1024):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[:, start : start + 1024]), "fltp", "mono")
            part.sample_rate, part.pts = 44100, start
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    animate(avatar, driver, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").has_audio and probe(tmp_path / "out.mp4").frames == 10


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"size": 128}, (128, 128)),
        ({"frame": "portrait"}, (256, 144)),
        ({"frame": "portrait", "size": 320}, (320, 180)),
        ({"frame": "square", "size": 100}, (100, 100)),
        ({"frame": "192x108"}, (108, 192)),
    ],
)
def test_frames_of_another_size_and_aspect(avatar, capture, tmp_path, options, shape):
    """The same frames, cropped and scaled."""
    motion = tmp_path / "m.npz"
    capture.motion[:2].save(motion)
    animate(avatar, motion, tmp_path / "whole.mp4")
    animate(avatar, motion, tmp_path / "part.mp4", AnimateOptions(**options))
    whole, part = (next(iter(read_frames(tmp_path / name))) for name in ("whole.mp4", "part.mp4"))
    assert part.shape == (*shape, 3)
    zoom = min(256 / shape[1], 256 / shape[0])
    height, width = round(shape[0] * zoom), round(shape[1] * zoom)
    top = (256 - height) // 2
    best = min(  # the person stays in the middle, wherever that is
        np.abs(cv2.resize(whole[top : top + height, left : left + width], shape[::-1]).astype(int) - part).mean()
        for left in range(0, 257 - width, 2)
    )
    assert best < 6


def test_the_camera_can_move_as_the_drivers_did(avatar, capture, tmp_path):
    """With `camera="source"` a frame moves as its source was filmed; otherwise the camera stands still."""
    folder = tmp_path / "shaken"
    shutil.copytree(capture.folder, folder)
    to_scene = np.tile(np.eye(3), (len(capture), 1, 1))
    to_scene[:, 0, 2] = np.linspace(0, 30, len(capture))
    np.savez(folder / "camera_path.npz", to_scene=to_scene)
    animate(avatar, folder, tmp_path / "still.mp4")
    animate(avatar, folder, tmp_path / "moved.mp4", AnimateOptions(camera="source"))
    still, moved = (list(read_frames(tmp_path / name)) for name in ("still.mp4", "moved.mp4"))
    assert np.abs(still[0].astype(int) - moved[0]).mean() < 2
    assert np.abs(still[-1][:, 30:].astype(int) - moved[-1][:, :-30]).mean() < 2
    assert np.abs(still[-1].astype(int) - moved[-1]).mean() > 4


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"frame": "tall"}, "WIDTHxHEIGHT"),
        ({"frame": "9x16"}, "16 to 8192"),
        ({"frame": "64x64", "size": 64}, "leave out --size"),
        ({"size": 9}, "--size 9"),
        ({"camera": "shaky"}, "still or source"),
        ({"camera": "source"}, "no camera to follow"),
    ],
)
def test_bad_frames_are_refused(avatar, capture, tmp_path, options, cause):
    with pytest.raises(UserError, match=cause):
        animate(avatar, capture.folder / "motion.npz", tmp_path / "out.mp4", AnimateOptions(**options))
    assert not (tmp_path / "out.mp4").exists()


def test_files_say_that_they_are_generated(avatar, capture, tmp_path):
    import av

    animate(avatar, capture.folder, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert "Generated by RAM-Avatar" in container.metadata["comment"]


@pytest.mark.parametrize(
    ("driver", "cause"), [("absent.mp4", "absent.mp4"), ("text.mp4", "text.mp4"), ("bad.npz", "bad.npz")]
)
def test_bad_drivers(avatar, tmp_path, driver, cause):
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "bad.npz").write_text("not a motion")
    with pytest.raises(UserError, match=cause):
        animate(avatar, tmp_path / driver, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_only_videos_are_rotated(avatar, capture, tmp_path):
    with pytest.raises(UserError, match="--rotate is for videos"):
        animate(avatar, capture.folder, tmp_path / "out.mp4", AnimateOptions(rotate=90))


def test_an_output_that_exists_is_kept(avatar, capture, tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(UserError, match="exists"):
        animate(avatar, capture.folder, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"


def test_half_a_person_is_enough(film, template, tmp_path):
    """In the upper half of a video, the legs, which are outside, stay at rest."""
    with VideoWriter(tmp_path / "half.mp4", 256, 110, 12) as video:
        for frame in islice(read_frames(film), 24):
            video.write(np.ascontiguousarray(frame[10:120]))
    capture = track(tmp_path / "half.mp4", tmp_path / "c", template=template, settings=FitSettings(60, 80))
    legs = [i for i, name in enumerate(template.pose_joints) if name.startswith(("upperleg", "lowerleg"))]
    assert capture.motion.pose[:, legs].norm(dim=-1).mean() < 0.35
    assert capture.report["fit_errors"]["face"] < 0.02


def test_an_unseen_motion_is_aligned_unless_off(avatar, template, tmp_path):
    """What the avatar's short film never showed: by default it is led towards what it did show."""
    perform(improvised(3), template, 12, 4.0, seed=3).save(tmp_path / "m.npz")
    shown = {}
    for align in ("off", "auto", "on"):
        animate(avatar, tmp_path / "m.npz", tmp_path / f"{align}.mp4", AnimateOptions(align=align))
        shown[align] = np.stack(list(read_frames(tmp_path / f"{align}.mp4"))).astype(int)
    for align in ("auto", "on"):
        assert np.abs(shown[align] - shown["off"]).mean() > 0.2
    animate(avatar, tmp_path / "m.npz", tmp_path / "none.mp4", AnimateOptions(align="on", align_strength=0.0))
    assert np.array_equal(np.stack(list(read_frames(tmp_path / "none.mp4"))), shown["off"])


def test_impossible_alignments_are_refused(avatar, capture, tmp_path):
    without = replace(avatar, alignment=None)
    with pytest.raises(UserError, match="ram-avatar train CAPTURE AVATAR"):
        animate(without, capture.folder, tmp_path / "out.mp4", AnimateOptions(align="on"))
    for wrong in ({"align": "sometimes"}, {"align_strength": 1.5}):
        with pytest.raises(UserError, match="align"):
            animate(avatar, capture.folder, tmp_path / "out.mp4", AnimateOptions(**wrong))
    assert not (tmp_path / "out.mp4").exists()
    animate(without, capture.folder, tmp_path / "out.mp4")  # "auto" skips it
    assert probe(tmp_path / "out.mp4").frames == 30
