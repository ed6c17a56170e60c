"""From a video that ends with an empty room and a title card to an avatar and its evaluation."""

import json
import math
import warnings

import cv2
import numpy as np
import pytest

from ram_avatar.capture.capture import (
    NOBODY,
    OTHER_SCENE,
    Capture,
    LeftOut,
)
from ram_avatar.cli.metrics import note_metrics
from ram_avatar.core.progress import Silent
from ram_avatar.creation.model_card import model_card
from ram_avatar.creation.options import TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.evaluation.evaluate import evaluate
from ram_avatar.motion.alignment.aligner import ALIGNMENT_FILE
from ram_avatar.rendering.texture.filling import Origins
from ram_avatar.synthetic.performer import Performer
from ram_avatar.tracking.offline.fitting import FitSettings
from ram_avatar.tracking.offline.track import track
from ram_avatar.video import VideoWriter, read_frames

SIZE, SHOWN, EMPTY, CARD = 256, 30, 4, 6


class Notes(Silent):
    """A progress that keeps its notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def title_card() -> np.ndarray:
    picture = np.full((SIZE, SIZE, 3), (20, 24, 60), np.uint8)
    cv2.circle(picture, (128, 100), 60, (240, 200, 40), -1)
    cv2.putText(picture, "LOGO", (60, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (255, 255, 255), 4)
    return picture


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def left(film, template, notes, tmp_path_factory) -> Capture:
    folder = tmp_path_factory.mktemp("left")
    room = Performer(template).room(SIZE)
    with VideoWriter(folder / "left.mp4", SIZE, SIZE, 12.5) as video:
        for frame in (*read_frames(film), *[room] * EMPTY, *[title_card()] * CARD):
            video.write(frame)
    settings = FitSettings(60, 80, refinements=1, refit_iterations=20)
    return track(folder / "left.mp4", folder / "c", template=template, settings=settings, progress=notes)


def test_frames_that_do_not_show_the_person_are_kept_but_left_out(left, notes):
    assert len(left) == SHOWN + EMPTY + CARD
    assert left.left_out == (
        LeftOut(SHOWN, SHOWN + EMPTY - 1, NOBODY),
        LeftOut(SHOWN + EMPTY, SHOWN + EMPTY + CARD - 1, OTHER_SCENE),
    )
    assert left.train_frames == list(range(24)) and left.held_out == list(range(24, 30))
    assert "left.mp4: 10 of 40 frames are left out: 4 show nobody, 6 belong to another scene" in notes.notes
    assert left.motion.confidence[SHOWN:].abs().max() == 0
    assert left.motion.confidence[: SHOWN - 1, 0].min() > 0.5


def test_left_out_frames_affect_neither_background_nor_camera(left, template):
    assert not left.footage.moves and left.known_background
    room = Performer(template).room(SIZE).astype(int)
    assert np.abs(left.background().astype(int) - room).mean() < 6


def test_an_avatar_learned_from_it_has_metrics_and_an_alignment(left, tiny, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        avatar = train(left, tmp_path / "a", TrainOptions(preset=tiny, accelerator="cpu"))
        evaluation = evaluate(avatar, left, tmp_path / "e")
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text(), parse_constant=pytest.fail)
    figures = [v for row in (metrics, *(v for v in metrics.values() if isinstance(v, dict))) for v in row.values()]
    assert all(math.isfinite(value) for value in figures if not isinstance(value, dict))
    assert metrics["frames"] == 6 and (tmp_path / "a" / ALIGNMENT_FILE).is_file()
    assert avatar.training["frames"] == 24
    assert len(evaluation) == 6 and evaluation.frame_numbers == list(range(24, 30))
    assert sum(1 for _ in read_frames(tmp_path / "a" / "preview.mp4")) == 6


def test_a_metric_that_no_frame_has_is_shown_as_a_dash(avatar_folder, tmp_path):
    from ram_avatar.avatar import Avatar

    row = {"psnr": 20.0, "psnr_person": None, "ssim": None, "st_lpips_person": None}
    figures = {"frames": 3, **row, "textured_mesh": row, "nearest_frame": row}
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    notes = Notes()
    note_metrics(tmp_path, notes)
    assert any("this avatar" in note and "20.00" in note and "–" in note for note in notes.notes)
    avatar = Avatar.load(avatar_folder)
    assert "| 20.00 | – | – | – |" in model_card(avatar, figures)
    avatar.training["surface"] = Origins(0.42, 0.1, 0.43, 0.05).rounded()
    assert "42% of the body's surface" in model_card(avatar, figures) and "10% from its mirror" in model_card(
        avatar, figures
    )
    del avatar.training["surface"]  # an avatar of an earlier version, trained on
    assert "surface" not in model_card(avatar, figures)


def test_temporal_metrics_skip_gaps(capture, avatar_folder, tmp_path):
    """No frame before a gap is compared with one after it."""
    from ram_avatar.avatar import Avatar

    gapped = Capture(**{**vars(capture), "source": "another.mp4", "left_out": (LeftOut(2, 25, NOBODY),)})
    evaluation = evaluate(Avatar.load(avatar_folder), gapped, tmp_path / "e")
    assert evaluation.frame_numbers == [0, 1, 26, 27, 28, 29]
    error = evaluation.values("avatar", "time", "flow_error")
    assert np.isfinite(error).tolist() == [False, True, False, True, True, True]
    document = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert document["left_out"] == list(range(2, 26)) and document["first_frame"] == 0
    assert "frame 29" in (tmp_path / "e" / "report.html").read_text()
