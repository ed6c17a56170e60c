import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.animation.animate import drive
from ram_avatar.animation.options import AnimateOptions
from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import NOBODY, LeftOut
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import to_array
from ram_avatar.core.progress import Silent
from ram_avatar.drivers.sources import DriverClip
from ram_avatar.evaluation import driven
from ram_avatar.evaluation.baselines import nearest_frame, textured_mesh
from ram_avatar.evaluation.document import FLOOR, RESIZED, Evaluation
from ram_avatar.evaluation.evaluate import (
    GroundTruth,
    evaluate,
    scene_frames,
    shows_avatar,
    unseen_frames,
)
from ram_avatar.evaluation.figures import FIGURES
from ram_avatar.evaluation.frames import render_frames
from ram_avatar.inference.render import render
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE

LOST = {part: np.full((count, 3), np.nan) for part, count in (("left_hand", 21), ("right_hand", 21), ("face", 478))}
NOBODY_SEEN = Landmarks(
    topology=MEDIAPIPE,
    pose=np.full((MEDIAPIPE.pose_count, 2), np.nan),
    visibility=np.zeros(MEDIAPIPE.pose_count),
    pose_world=np.full((MEDIAPIPE.pose_count, 3), np.nan),
    mask=np.zeros((1, 1), np.uint8),
    **LOST,
)


@pytest.fixture(scope="module")
def avatar(avatar_folder) -> Avatar:
    return Avatar.load(avatar_folder)


@pytest.fixture(scope="module")
def data(avatar, capture) -> CaptureDataset:
    return CaptureDataset(capture, avatar.dressed, avatar.texture, 64, torch.device("cpu"), Silent())


@pytest.fixture(scope="module")
def evaluated(avatar, capture, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "own"
    return evaluate(avatar, capture, out), out


def test_held_out_frames_have_all_metrics(evaluated, avatar_folder):
    """The document agrees with the metrics that training wrote into the avatar's folder."""
    evaluation, out = evaluated
    document = Evaluation.from_dict(json.loads((out / "evaluation.json").read_text()))
    assert document.own and document.first_frame == 24 and len(document) == 6
    assert set(document.methods) == {"avatar", "textured_mesh", "nearest_frame"}
    metrics = json.loads((avatar_folder / "metrics.json").read_text())
    for method, expected in (("avatar", metrics), ("textured_mesh", metrics["textured_mesh"])):
        assert evaluation.mean(method, "full", "psnr") == pytest.approx(expected["psnr"], abs=1e-3)
        assert evaluation.mean(method, "person", "st_lpips") == pytest.approx(expected["st_lpips_person"], abs=1e-4)
    for group, name in (("time", "flow_error"), ("control", "body_pck"), ("face", "ssim")):
        assert document.mean("nearest_frame", group, name) is not None
    assert document.mean("avatar", "time", "own_noise") == 0  # the renderer adds nothing of its own
    page = (out / "report.html").read_text()
    assert "performer.mp4" in page and page.count("data:image/jpeg") > 6
    assert page.count("whole frame") == 2 * 3  # three frames of the scene, by video and avatar


def test_scene_frames_show_the_whole_scene(avatar, capture):
    """Small, of the scene's aspect; the avatar's frame is the one that rendering the whole clip gives."""
    first, *_, last = scene_frames(avatar, capture, capture.held_out)
    assert (first.number, last.number) == (25, 29)
    video = next(frame for number, (frame, _) in enumerate(capture.frames()) if number == 25)
    assert first.video.shape == first.avatar.shape == video.shape
    assert np.array_equal(first.video, video)
    clip = list(render_frames(avatar, capture.motion, capture.held_out, size=capture.scene_size))
    assert np.abs(clip[5].astype(int) - last.avatar).max() <= 1


@pytest.fixture(scope="module")
def other(avatar, capture):
    """Another person's capture, whose last frames show nobody."""
    other = replace(capture, identity=capture.identity.clone() + 0.05, left_out=[LeftOut(28, 29, NOBODY)])
    assert not shows_avatar(other, avatar)
    return other


def test_another_driver_gives_control_but_no_similarity(avatar, other, tmp_path):
    """There are no true frames of the avatar in another person's motion, only the driver's video."""
    evaluation = evaluate(avatar, other, tmp_path / "driven")
    assert not evaluation.own and len(evaluation) == 28
    assert evaluation.has("control", "body_error") and not evaluation.has("full", "psnr")
    floor, smaller, mesh = (evaluation.figures[method] for method in (FLOOR, RESIZED, "textured_mesh"))
    assert floor["arms_angle"].value < 5 and floor["arms_followed"].value > 0.97 and floor["head_yaw"].value < 2
    assert floor["arms_angle"].value < smaller["arms_angle"].value < mesh["arms_angle"].value < 40
    document = json.loads((tmp_path / "driven" / "evaluation.json").read_text())
    assert Evaluation.from_dict(document).figures == evaluation.figures
    for figures in evaluation.figures.values():
        assert set(figures) == set(FIGURES) and all((f.value is None) == bool(f.absent) for f in figures.values())
    page = (tmp_path / "driven" / "report.html").read_text()
    assert "Driver seen twice" in page and "Following the driver" in page


def test_another_driver_is_followed_as_animate_does(avatar, other, monkeypatch):
    """What is judged is what `animate` draws at its defaults, in the frames that show the driver."""
    clip = DriverClip(other.motion, avatar.template, other.identity, other)
    motion = drive(avatar, clip, AnimateOptions())
    assert not torch.equal(motion.pose, drive(avatar, clip, AnimateOptions(align="off")).pose)
    monkeypatch.setattr(driven, "detect_frames", lambda frames: [NOBODY_SEEN for _ in frames])
    monkeypatch.setattr(driven, "detect", lambda frames, *_: [NOBODY_SEEN for _ in frames])
    found = driven.evaluate_driven(avatar, other, Silent(), 96)
    expected = list(render(avatar, motion[:28], close_up=True, size=(96, 96)))
    assert np.array_equal(found.frames["avatar"], expected)
    assert found.frames["driver"].shape == found.frames["avatar"].shape
    assert {figure.absent for figure in found.evaluation.figures["avatar"].values()} >= {"the driver's are not seen"}


def test_all_frames_of_another_clip_of_the_person_are_unseen(avatar, capture):
    assert shows_avatar(capture, avatar) and unseen_frames(capture, avatar) == list(range(24, 30))
    assert unseen_frames(replace(capture, source="another.mp4"), avatar) == list(range(30))
    moved = replace(capture, camera=replace(capture.camera, center_x=capture.camera.center_x + 9))
    assert not shows_avatar(moved, avatar)


def test_ground_truth_beyond_the_borders_is_the_plate(data):
    kept = data.inside.clone()
    data.inside[..., :10] = False
    truth = GroundTruth.of(data, range(24, 30))
    data.inside[:] = kept
    plate = to_array(data.plates(torch.tensor([26])))[0]
    assert np.array_equal(truth.frames[2][:, :10], plate[:, :10])
    shown = kept[26, 0].numpy()
    shown[:, :10] = False
    assert np.array_equal(truth.frames[2][shown], data.frames[26].numpy()[shown])


def test_nearest_frame_matches_a_plain_search(data):
    joints, trained = data.joints.numpy(), data.capture.train_frames
    for shown, held_out in zip(nearest_frame(data), data.capture.held_out, strict=True):
        distances = [float(np.square(joints[held_out] - joints[i]).sum()) for i in trained]
        assert np.array_equal(shown, data.frames[int(np.argmin(distances))].numpy())


def test_textured_mesh_is_the_warm_start(avatar, capture, data):
    shown = next(textured_mesh(avatar, capture.motion[3:4], avatar.size))
    maps = data.maps(torch.tensor([3]))
    expected = maps.color * maps.mask + data.plates(torch.tensor([3])) * (1 - maps.mask)
    assert np.abs(shown - ((expected[0] + 1) * 127.5).movedim(0, -1).numpy()).max() < 1.5


def test_invalid_input_is_rejected(avatar, capture, evaluated, tmp_path):
    with pytest.raises(UserError, match="--overwrite"):
        evaluate(avatar, capture, evaluated[1])
    foreign = replace(capture, motion=replace(capture.motion, template="other"))
    with pytest.raises(UserError, match="template 'other'"):
        evaluate(avatar, foreign, tmp_path / "foreign")
    assert not (tmp_path / "foreign").exists()
