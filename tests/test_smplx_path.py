"""From video to driven avatar on a template other than Anny."""

import numpy as np
import pytest
import torch

from ram_avatar.animation.animate import animate
from ram_avatar.avatar import Avatar
from ram_avatar.body.template import SIDES
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.creation.options import TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.evaluation.control import expected_landmarks
from ram_avatar.motion.formats.writing import write_motion
from ram_avatar.rendering.rasterizer import rasterize
from ram_avatar.rendering.shading import shaded
from ram_avatar.tracking.correspondence import Correspondence
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.offline.fitting import FitSettings
from ram_avatar.tracking.offline.track import track
from ram_avatar.video import read_frames

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def at_hand(smplx_file, tmp_path_factory):
    """Set the environment variable to the model file, and use a fresh cache for what is measured."""
    from ram_avatar.body import AnnyTemplate
    from ram_avatar.core.cache import cache_folder

    built = cache_folder() / AnnyTemplate.file_name
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        (cache / AnnyTemplate.file_name).symlink_to(built)
        patch.setenv("RAM_AVATAR_CACHE", str(cache))
        patch.setenv("RAM_AVATAR_SMPLX", str(smplx_file))
        yield cache


@pytest.fixture(scope="module")
def tracked(at_hand, film, smplx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smplx-capture") / "c"
    return track(film, folder, template=smplx, settings=FitSettings(60, 80))


@pytest.fixture(scope="module")
def learned(tracked, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smplx-avatar") / "a"
    train(tracked, folder, TrainOptions(preset=tiny, accelerator="cpu"))
    return folder


def test_measured_landmarks_match_those_shipped_for_the_same_mesh(tracked, at_hand, template, smplx):
    """The fake model has Anny's mesh, so its measurements must match those shipped for Anny."""
    assert (at_hand / f"{smplx.name}-mediapipe.npz").is_file()
    ours, annys = (Correspondence.load(each, MEDIAPIPE) for each in (smplx, template))
    surface = smplx.body(smplx.default_identity()).reference_vertices()
    apart = ((ours.regressor - annys.regressor)[ours.face_rows] @ surface).norm(dim=1)
    assert apart.median() < 0.001 and apart.quantile(0.95) < 0.004
    assert (ours.joint_offsets - annys.joint_offsets).norm(dim=1).max() < 0.012


def test_the_video_is_tracked(tracked, smplx):
    assert tracked.motion.template == smplx.name and tracked.motion.pose.shape == (30, 53, 3)
    assert tracked.report["fit_errors"]["body"] < 0.012 and tracked.report["fit_errors"]["face"] < 0.006
    assert tracked.report["face_read_from"] == "landmarks"  # the net's actions are ARKit's
    overlap, drawn = [], shaded(smplx, tracked.identity, tracked.motion, tracked.camera)
    for (_, mask), (_, shape) in zip(tracked.frames(), drawn, strict=True):
        overlap.append(((mask > 127) & shape).sum() / ((mask > 127) | shape).sum())
    assert np.mean(overlap) > 0.65


def test_part_boxes_contain_face_and_hands(tracked, smplx):
    data = CaptureDataset(tracked, smplx, torch.zeros(3, 8, 8), 128, torch.device("cpu"), Silent())
    posed = smplx.body(tracked.identity).pose(*tracked.motion[:1].parameters())
    pixels = data.cameras[0].project(posed.vertices)[0]
    landmarks = (Correspondence.load(smplx, MEDIAPIPE).regressor[: MEDIAPIPE.face.count] @ posed.vertices[0])[None]
    features = data.cameras[0].project(landmarks)[0, :, :2]
    fingers = [pixels[smplx.fingertips[5 * k : 5 * k + 5].flatten(), :2] for k in range(len(SIDES))]
    for box, points in zip(data.boxes[0], (features, *fingers), strict=True):
        inside = ((points >= box[:2]) & (points <= box[:2] + box[2])).all(1)
        assert inside.float().mean() > 0.9


def test_an_avatar_is_driven_by_a_motion_file(learned, tracked, smplx, template, capture, tmp_path):
    avatar = Avatar.load(learned)
    assert avatar.template.name == smplx.name and avatar.training["step"] == 12
    write_motion(tmp_path / "drive.bvh", capture.motion, template, capture.identity)
    animate(avatar, tmp_path / "drive.bvh", tmp_path / "out.mp4")
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert len(frames) == 30 and np.abs(frames[0].astype(int) - frames[15]).mean() > 0.5
    animate(avatar, tracked.folder, tmp_path / "own.mp4")
    assert len(list(read_frames(tmp_path / "own.mp4"))) == 30


def test_expected_landmarks_match_the_detected_person(tracked, smplx):
    """Expected landmarks of a tracked motion lie within its silhouette."""
    camera = tracked.camera
    wanted = expected_landmarks(smplx, tracked.identity, [camera] * 4, tracked.motion[:4])
    posed = smplx.body(tracked.identity).pose(*tracked.motion[:4].parameters()).vertices
    covered = rasterize(camera.project(posed), smplx.faces, 256, 256).mask.numpy()
    for landmarks, mask in zip(wanted, covered, strict=True):
        x, y = landmarks.pose[[11, 12, 13, 14, 23, 24, 25, 26]].round().astype(int).T
        assert mask[y.clip(0, 255), x.clip(0, 255)].mean() > 0.7
        assert np.isfinite(landmarks.face).all()


def test_a_missing_model_file_is_reported_in_one_line(learned, tracked, tiny, tmp_path, monkeypatch, smplx):
    monkeypatch.delenv("RAM_AVATAR_SMPLX")
    for call in (lambda: Avatar.load(learned), lambda: train(tracked, tmp_path / "a", TrainOptions(preset=tiny))):
        with pytest.raises(UserError, match=rf"{smplx.name} needs its model file: get SMPLX_NEUTRAL\.npz") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()
