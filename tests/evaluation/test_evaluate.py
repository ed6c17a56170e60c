import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import to_array
from ram_avatar.core.progress import Silent
from ram_avatar.evaluation.baselines import nearest_frame, textured_mesh
from ram_avatar.evaluation.document import Evaluation
from ram_avatar.evaluation.evaluate import (
    Truth,
    evaluate,
    shows_avatar,
    unseen_frames,
)


@pytest.fixture(scope="module")
def avatar(avatar_folder) -> Avatar:
    return Avatar.load(avatar_folder)


@pytest.fixture(scope="module")
def data(avatar, capture) -> CaptureDataset:
    return CaptureDataset(capture, avatar.template, avatar.texture, 64, torch.device("cpu"), Silent())


@pytest.fixture(scope="module")
def judged(avatar, capture, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "own"
    return evaluate(avatar, capture, out), out


def test_held_out_frames_are_judged_by_every_instrument(judged, avatar_folder):
    """The document agrees with the figures that training left beside the avatar."""
    evaluation, out = judged
    document = Evaluation.from_dict(json.loads((out / "evaluation.json").read_text()))
    assert document.own and document.first_frame == 24 and len(document) == 6
    assert set(document.ways) == {"avatar", "textured_mesh", "nearest_frame"}
    metrics = json.loads((avatar_folder / "metrics.json").read_text())
    for way, told in (("avatar", metrics), ("textured_mesh", metrics["textured_mesh"])):
        assert evaluation.mean(way, "full", "psnr") == pytest.approx(told["psnr"], abs=1e-3)
        assert evaluation.mean(way, "person", "st_lpips") == pytest.approx(told["st_lpips_person"], abs=1e-4)
    for group, name in (("time", "flow_error"), ("control", "body_pck"), ("face", "ssim")):
        assert document.mean("nearest_frame", group, name) is not None
    assert document.mean("avatar", "time", "own_noise") == 0  # the renderer adds nothing of its own
    page = (out / "report.html").read_text()
    assert "performer.mp4" in page and page.count("data:image/jpeg") > 6


def test_another_person_is_followed_but_not_compared(avatar, capture, tmp_path):
    """There is no true picture of the avatar in somebody else's motion: control is judged, likeness is not."""
    other = replace(capture, identity=capture.identity.clone() + 0.05)
    assert not shows_avatar(other, avatar)
    evaluation = evaluate(avatar, other, tmp_path / "driven")
    assert not evaluation.own and len(evaluation) == 30
    assert evaluation.has("control", "body_error") and not evaluation.has("full", "psnr")


def test_another_clip_of_the_same_person_is_unseen_throughout(avatar, capture):
    assert shows_avatar(capture, avatar) and unseen_frames(capture, avatar) == list(range(24, 30))
    assert unseen_frames(replace(capture, source="another.mp4"), avatar) == list(range(30))
    moved = replace(capture, camera=replace(capture.camera, center_x=capture.camera.center_x + 9))
    assert not shows_avatar(moved, avatar)


def test_the_truth_beyond_the_videos_edge_is_the_plate(data):
    kept = data.inside.clone()
    data.inside[..., :10] = False
    truth = Truth.of(data, range(24, 30))
    data.inside[:] = kept
    plate = to_array(data.plates(torch.tensor([26])))[0]
    assert np.array_equal(truth.frames[2][:, :10], plate[:, :10])
    shown = kept[26, 0].numpy()
    shown[:, :10] = False
    assert np.array_equal(truth.frames[2][shown], data.frames[26].numpy()[shown])


def test_nearest_frame_against_a_search_by_hand(data):
    joints, trained = data.joints.numpy(), data.capture.train_frames
    for shown, held_out in zip(nearest_frame(data), data.capture.held_out, strict=True):
        distances = [float(np.square(joints[held_out] - joints[i]).sum()) for i in trained]
        assert np.array_equal(shown, data.frames[int(np.argmin(distances))].numpy())


def test_textured_mesh_is_what_training_starts_from(avatar, capture, data):
    shown = next(textured_mesh(avatar, capture.motion[3:4]))
    maps = data.maps(torch.tensor([3]))
    expected = maps.color * maps.mask + data.plates(torch.tensor([3])) * (1 - maps.mask)
    assert np.abs(shown - ((expected[0] + 1) * 127.5).movedim(0, -1).numpy()).max() < 1.5


def test_refusals(avatar, capture, judged, tmp_path):
    with pytest.raises(UserError, match="--overwrite"):
        evaluate(avatar, capture, judged[1])
    foreign = replace(capture, motion=replace(capture.motion, template="other"))
    with pytest.raises(UserError, match="template 'other'"):
        evaluate(avatar, foreign, tmp_path / "foreign")
    assert not (tmp_path / "foreign").exists()
