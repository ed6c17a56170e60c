import json
import sys

import numpy as np
import pytest

from ram_avatar.avatar import Avatar
from ram_avatar.creation.create import create
from ram_avatar.creation.draft import FRAMES, draft_avatar, is_draft
from ram_avatar.creation.options import CreateOptions
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.video import VideoWriter, probe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def long_film(template, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "me.mp4"
    write_performance(path, Performer(template), "training", frames=2 * FRAMES, fps=25.0, size=128)
    return path


def test_a_draft_is_an_avatar_marked_as_such(long_film, template, tiny, tmp_path):
    made = draft_avatar(long_film, template, CreateOptions(preset=tiny))
    assert made.training["step"] == 0 and made.name == "me" and (made.camera.width, made.camera.height) == (128, 128)
    made.save(tmp_path)
    assert is_draft(tmp_path) and Avatar.load(tmp_path).training["draft"]
    described = json.loads((tmp_path / "avatar.json").read_text())
    described["training"].pop("draft")
    (tmp_path / "avatar.json").write_text(json.dumps(described))
    assert not is_draft(tmp_path) and not is_draft(tmp_path / "nowhere")


def test_short_videos_and_videos_of_nobody_get_no_draft(film, template, tiny, tmp_path):
    assert probe(film).frames < 2 * FRAMES
    assert draft_avatar(film, template, CreateOptions(preset=tiny)) is None
    with VideoWriter(tmp_path / "wall.mp4", 64, 64, 25) as video:
        for _ in range(2 * FRAMES):
            video.write(np.full((64, 64, 3), 120, np.uint8))
    assert draft_avatar(tmp_path / "wall.mp4", template, CreateOptions(preset=tiny)) is None


def test_the_draft_is_saved_before_tracking_and_then_replaced(long_film, template, tiny, tmp_path, monkeypatch):
    """A run interrupted while tracking leaves the draft; the next one resumes and replaces it."""

    def interrupted(*arguments, **options):
        assert is_draft(tmp_path / "me")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[create.__module__], "track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            create(long_film, tmp_path / "me", CreateOptions(preset=tiny, instant=True))
    assert is_draft(tmp_path / "me")
    made = create(long_film, tmp_path / "me", CreateOptions(preset=tiny, instant=True, accelerator="cpu"))
    assert not is_draft(tmp_path / "me") and "draft" not in made.training
    assert (tmp_path / "me" / "preview.mp4").is_file()
