"""Motions converted and drawn, from Python and the command line."""

import re

import numpy as np
import pytest
import torch

from ram_avatar.cli.main import main
from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats.reading import ReadOptions, read_motion
from ram_avatar.motion.motion import Motion
from ram_avatar.motion_files import convert, show
from ram_avatar.video import probe, read_frames


@pytest.fixture()
def motion_file(random_motion, tmp_path):
    path = tmp_path / "in.npz"
    random_motion(10, turn=0.05).save(path)
    return path


def test_there_and_back_on_the_command_line(motion_file, tmp_path, capsys):
    main(["motion", "convert", str(motion_file), str(tmp_path / "a.bvh")])
    main(["motion", "convert", str(tmp_path / "a.bvh"), str(tmp_path / "b.npz")])
    before, after = Motion.load(motion_file), Motion.load(tmp_path / "b.npz")
    assert after.fps == before.fps and torch.allclose(after.pose, before.pose, atol=1e-4)
    assert torch.allclose(after.root_translation, before.root_translation, atol=1e-5)


def test_another_rate(motion_file, tmp_path):
    made = convert(motion_file, tmp_path / "a.npz", options=ReadOptions(fps=50.0))
    assert (len(made), made.fps) == (19, 50.0)
    assert torch.equal(Motion.load(tmp_path / "a.npz").pose, made.pose)


def test_a_capture_is_a_source(capture, tmp_path, template):
    made = convert(capture.folder, tmp_path / "a.bvh")
    again = read_motion(tmp_path / "a.bvh", template)
    assert len(made) == len(capture) and torch.allclose(
        again.root_translation, capture.motion.root_translation, atol=1e-5
    )


def test_joint_names_of_your_own(tmp_path, template, random_motion):
    convert_from = tmp_path / "odd.bvh"
    random_motion(4, turn=0.05).save(tmp_path / "m.npz")
    convert(tmp_path / "m.npz", convert_from)
    convert_from.write_text(convert_from.read_text().replace("lowerarm01", "Elbogen"))
    with pytest.raises(UserError, match=r"odd\.bvh: .*no joint was found for forearm"):
        convert(convert_from, tmp_path / "a.npz")
    names = tmp_path / "names.yaml"
    names.write_text("sides: [L, R]\njoints: {forearm: 'Elbogen.{side}'}")
    assert len(convert(convert_from, tmp_path / "a.npz", options=ReadOptions(names))) == 4


def test_a_body_on_a_floor(motion_file, tmp_path):
    """The video has the motion's frames and rate; each shows a body in the middle of a lighter floor."""
    main(["motion", "show", str(motion_file), str(tmp_path / "a.mp4"), "--size", "96"])
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames, float(info.fps)) == (96, 96, 10, 25.0)
    for frame in read_frames(tmp_path / "a.mp4"):
        blue = frame[..., 2].astype(int) - frame[..., 0] > 40
        rows, columns = np.nonzero(blue)
        assert 0.02 < blue.mean() < 0.4 and abs(columns.mean() - 48) < 12
        assert rows.min() > 0 and rows.max() < 95 and (blue[:, [0, -1]] == 0).all()


@pytest.fixture()
def smpl_file(tmp_path):
    """Ten frames of SMPL parameters of a person who stands, y up, without a frame rate."""
    path = tmp_path / "smpl.npz"
    parts = {"global_orient": np.zeros((10, 3)), "body_pose": np.zeros((10, 69))}
    np.savez(path, **parts, transl=np.tile([0.0, 1.17, 2.0], (10, 1)))
    return path


def test_options_say_what_a_file_does_not(smpl_file, tmp_path, capfd):
    """Every command takes the rate and the up axis; an axis that was inferred is reported in one line."""
    main(["motion", "convert", str(smpl_file), str(tmp_path / "a.npz"), "--fps", "20"])
    made = Motion.load(tmp_path / "a.npz")
    assert (len(made), made.fps) == (10, 20.0) and made.root_rotation[:, 0].abs().max() < 0.3
    said = capfd.readouterr().err.strip().splitlines()
    assert [line for line in said if "smpl.npz" in line] == [
        f"{smpl_file}: assumed y is up; pass --up=z if that is wrong"
    ]
    main(["motion", "convert", str(smpl_file), str(tmp_path / "b.npz"), "--fps", "20", "--up", "z"])
    assert Motion.load(tmp_path / "b.npz").root_rotation.norm(dim=1).min() > 1.0  # lying down
    assert "took" not in capfd.readouterr().err
    main(["motion", "show", str(smpl_file), str(tmp_path / "a.mp4"), "--fps", "20", "--up=y", "--size", "64"])
    info = probe(tmp_path / "a.mp4")
    assert (info.frames, float(info.fps)) == (10, 20.0)


def test_unused_options_are_refused(capture, film, tmp_path):
    with pytest.raises(UserError, match="--up is for motion files of other programs"):
        convert(capture.folder, tmp_path / "a.npz", options=ReadOptions(up="z"))
    with pytest.raises(UserError, match="--joint-names is for motion files"):
        show(capture.folder, tmp_path / "a.mp4", options=ReadOptions(tmp_path / "names.yaml"))
    assert convert(capture.folder, tmp_path / "a.npz", options=ReadOptions(fps=25.0)).fps == 25.0


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["convert", "{tmp}/absent.bvh", "{tmp}/o.npz"], r"absent\.bvh: no such file"),
        (["convert", "{tmp}", "{tmp}/o.npz"], "not a capture folder"),
        (["convert", "{tmp}/in.npz", "{tmp}/o.fbx"], r"o\.fbx: a motion is written as"),
        (["convert", "{tmp}/in.npz", "{tmp}/in.npz"], "--overwrite"),
        (["convert", "{tmp}/in.npz", "{tmp}/o.npz", "--fps", "0"], "0 frames a second"),
        (["convert", "{tmp}/in.npz", "{tmp}/o.npz", "--fps", "nan"], "nan frames a second"),
        (["convert", "{tmp}/slow.npz", "{tmp}/o.npz", "--fps", "1000"], r"slow\.npz: .*too many frames"),
        (["convert", "{tmp}/other.npz", "{tmp}/o.npz"], r"other\.npz: a motion of template 'smpl'"),
        (["convert", "{tmp}/empty.npz", "{tmp}/o.npz"], r"empty\.npz: holds no frames"),
        (["convert", "{tmp}/in.npz", "{tmp}/o.npz", "--up", "z"], r"in\.npz: --up is for skeletons"),
        (["convert", "{tmp}/smpl.npz", "{tmp}/o.npz"], r"smpl\.npz: has no frame rate .*set it with --fps"),
        (["show", "{tmp}/smpl.npz", "{tmp}/o.mp4"], r"smpl\.npz: has no frame rate .*set it with --fps"),
        (["show", "{tmp}/smpl.npz", "{tmp}/o.mp4", "--fps", "0"], "0 frames a second"),
        (["show", "{tmp}/in.npz", "{tmp}/o.mp4", "--size", "97"], "--size 97"),
        (["show", "{tmp}/in.npz", "{tmp}/o.gif"], r"o\.gif: the name of a video"),
    ],
)
def test_errors_are_one_line(motion_file, smpl_file, random_motion, tmp_path, capsys, arguments, cause):
    slow, other = random_motion(12), random_motion(2)
    slow.fps, other.template = 0.01, "smpl"
    slow.save(tmp_path / "slow.npz")
    other.save(tmp_path / "other.npz")
    random_motion(2)[:0].save(tmp_path / "empty.npz")
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(["motion", *(argument.format(tmp=tmp_path) for argument in arguments)])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 2 and said.startswith("ram-avatar: ")
    assert re.search(cause, said), said
    assert set(tmp_path.iterdir()) == before  # nothing half-written


def test_a_motion_of_one_frame(random_motion, tmp_path):
    random_motion(1, turn=0.05).save(tmp_path / "one.npz")
    show(tmp_path / "one.npz", tmp_path / "one.mp4", size=64)
    assert probe(tmp_path / "one.mp4").frames == 1
