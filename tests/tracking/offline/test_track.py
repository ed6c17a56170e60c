import json
import shutil

import numpy as np
import pytest

from ram_avatar.capture.capture import Capture
from ram_avatar.core.errors import UserError
from ram_avatar.synthetic.performer import Performer
from ram_avatar.tracking.offline.options import TrackOptions
from ram_avatar.tracking.offline.track import track
from ram_avatar.video import VideoWriter, probe, read_frames


def test_a_film_becomes_a_capture(capture, film):
    assert len(capture) == probe(film).frames == 30 and capture.train_frames == list(range(24))
    assert capture.known_background and not capture.footage.moves and capture.report["others_seen"] == 0
    assert capture.scene_size == capture.footage.size == (256, 256)
    assert capture.report["detection_rates"]["body"] > 0.95
    assert capture.report["fit_errors"]["body"] < 0.012
    assert capture.report["face_read_from"] in ("landmarks", "blendshape net and landmarks")
    preview = list(read_frames(capture.folder / "preview.mp4"))
    assert len(preview) == 30 and preview[0].shape == (256, 512, 3)


def test_the_frames_are_those_of_the_film(capture, film):
    for (frame, mask), source in zip(capture.frames(), read_frames(film), strict=True):
        assert np.array_equal(frame, source) and mask.shape == frame.shape[:2]
    assert mask.max() == 255 and 0.03 < (mask > 127).mean() < 0.5


def test_the_template_lies_on_the_person(capture, template):
    """The fitted mesh and the detector's mask cover nearly the same pixels."""
    from ram_avatar.rendering.shading import shaded

    overlap = []
    frames = capture.frames()
    drawings = shaded(template, capture.identity, capture.motion, capture.camera)
    for (_, mask), (_, drawn) in zip(frames, drawings, strict=True):
        person = mask > 127
        overlap.append((person & drawn).sum() / (person | drawn).sum())
    assert np.mean(overlap) > 0.65


def test_the_background_is_the_empty_room(capture, template):

    room = Performer(template).room(256).astype(int)
    assert np.abs(capture.background().astype(int) - room).mean() < 6


def test_a_capture_is_reloaded(capture):
    again = Capture.load(capture.folder)
    assert again.camera == capture.camera and len(again) == len(capture)
    assert (again.identity - capture.identity).abs().max() < 1e-5


def _video(path, frames, shape=(96, 80)):
    with VideoWriter(path, shape[1], shape[0], 12) as video:
        for i in range(frames):
            video.write(np.full((*shape, 3), 40 + i, np.uint8))
    return path


@pytest.mark.parametrize("one_scene", [True, False])
def test_videos_without_a_person(tmp_path, template, one_scene):
    video = _video(tmp_path / "v.mp4", 10)
    with pytest.raises(UserError, match=r"v\.mp4: no person was found in any of its 10 frames"):
        track(video, tmp_path / "c", template=template, one_scene=one_scene)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]  # nothing half-written remains


def test_a_person_in_too_few_frames(tmp_path, film, template):
    """The scene continues without them."""
    frames, room = list(read_frames(film)), Performer(template).room(256)
    with VideoWriter(tmp_path / "v.mp4", 256, 256, 12) as video:
        for i in range(30):
            video.write(frames[i] if i < 8 else room)
    with pytest.raises(UserError, match=r"v.mp4.*only .*% of the frames"):
        track(tmp_path / "v.mp4", tmp_path / "c", template=template)


def test_an_existing_folder_is_kept(tmp_path, film, template):
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match="exists"):
        track(film, tmp_path / "c", template=template)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda f: (f / "capture.json").write_text("{"), "damaged"),
        (lambda f: _set(f, format_version=7), "capture format 7"),
        (lambda f: _set(f, camera={"focal": 1}), "damaged"),
        (lambda f: _set(f, frames=3), "does not belong"),
        (lambda f: (f / "motion.npz").write_bytes(b"x"), "motion.npz"),
        (lambda f: _set(f, format_version=1), "capture format 1, but .* make the capture again"),
        (lambda f: (f / "masks.mkv").unlink(), "masks.mkv is missing"),
        (lambda f: (f / "video.mp4").unlink(), "video.mp4 is missing"),
        (lambda f: _footage(f, file="../video.mp4"), "footage: file: expected a name"),
        (lambda f: _footage(f, right=200), "footage does not fit"),
        (lambda f: _footage(f, left=-3), "damaged"),
        (
            lambda f: np.savez(f / "camera_path.npz", to_scene=np.eye(3)[None]),
            r"camera_path.npz: to_scene must be \[30, 3, 3\]",
        ),
        (lambda f: np.savez(f / "camera_path.npz", to_scene=np.full((30, 3, 3), np.nan)), "camera_path.npz: .*finite"),
        (lambda f: np.savez(f / "camera_path.npz", other=np.zeros((30, 3))), "camera_path.npz: damaged"),
        (lambda f: (f / "camera_path.npz").write_text("x"), "camera_path.npz: .*damaged"),
        (lambda f: (f / "capture.json").unlink(), "not a capture"),
    ],
)
def test_damaged_captures_are_reported(capture, tmp_path, spoil, cause):
    folder = tmp_path / "c"
    shutil.copytree(capture.folder, folder)
    spoil(folder)
    with pytest.raises(UserError, match=cause):
        Capture.load(folder)


def _set(folder, **values):
    path = folder / "capture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _footage(folder, **values):
    path = folder / "capture.json"
    described = json.loads(path.read_text())
    described["footage"] |= values
    path.write_text(json.dumps(described))


def test_a_given_face_model_must_be_the_right_one(tmp_path, film, template):
    (tmp_path / "m.task").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"m\.task.*checksum"):
        track(film, tmp_path / "c", TrackOptions(face_model=tmp_path / "m.task"), template=template)


def test_the_blendshape_net_reads_a_real_face(shared, template):
    from ram_avatar.tracking.detection.expressions import ExpressionNet
    from ram_avatar.tracking.detection.mediapipe import HolisticDetector

    frame = next(iter(read_frames(shared / "videos" / "bedroom_dance.mp4")))
    detector, net = HolisticDetector(), ExpressionNet(shared / "models" / "face_landmarker.task", template.action_names)
    landmarks = detector.detect(frame)
    scores = net.detect(frame, landmarks)
    landmarks.face[:] = np.nan
    known = np.isfinite(scores)  # the net does not know the tongue
    assert known.sum() == 51 and not known[template.action_names.index("tongueOut")]
    assert scores[known].min() >= 0 and scores[known].max() > 0.2
    assert np.isnan(net.detect(frame, landmarks)).all()  # no face, no scores
    detector.close()
    net.close()
