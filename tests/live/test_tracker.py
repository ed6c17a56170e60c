import dataclasses
import json

import numpy as np
import pytest
import torch

from ram_avatar.live.builds import BUILD_FILE, BuildFit, remember_build, remembered_build
from ram_avatar.live.protocol import Status
from ram_avatar.live.settings import Settings
from ram_avatar.live.tracker import LiveTracker
from ram_avatar.tracking.landmarks import HolisticDetector, Landmarks
from ram_avatar.video import read_frames

RATE = 12.5  # frames a second of the film


@pytest.fixture()
def own_cache(tmp_path, monkeypatch, template):
    """A cache folder that remembers nobody."""
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def seen(film) -> tuple[list[np.ndarray], list[Landmarks]]:
    """The performer's film, and what the real detector sees in it."""
    detector, pictures = HolisticDetector(masks=False), list(read_frames(film))
    found = [detector.detect(picture) for picture in pictures]
    detector.close()
    return pictures, found


class Replay:
    """A detector that has seen it all before; of a black picture it says that nobody is there."""

    def __init__(self, found: list[Landmarks]):
        self._found, self._next, self.closed = found, 0, False

    def detect(self, frame):
        if not frame.any():
            seen = vars(self._found[0])
            nobody = {name: np.full_like(seen[name], np.nan) for name in seen if name not in ("visibility", "mask")}
            return Landmarks(**nobody, visibility=np.zeros(33), mask=seen["mask"])
        self._next += 1
        return self._found[(self._next - 1) % len(self._found)]

    def close(self):
        self.closed = True


@pytest.fixture()
def tracker(avatar, seen, own_cache):
    remember_build(avatar.template, avatar.identity)
    tracker = LiveTracker(avatar, Replay(seen[1]))
    tracker.adjust(Settings(mirror=False, smoothing=0.0, alignment=0.0))
    yield tracker
    tracker.close()


def _drive(tracker, pictures, start=0.0):
    return [tracker.drive(picture, start + i / RATE) for i, picture in enumerate(pictures)]


def test_the_avatar_does_what_the_person_in_the_pictures_does(tracker, avatar, capture, seen):
    """Wrists and head go where the offline fit of the same film has them, about the hips and in lengths of the leg."""
    driven = _drive(tracker, seen[0])
    frames = [d.frame for d in driven if d.frame is not None]
    first = len(driven) - len(frames)
    assert 0 < first < 12 and all(d.frame is None for d in driven[:first])
    assert driven[0].status == Status.CALIBRATING and driven[-1].status == Status.SEEN
    template = avatar.template
    joints = [template.joint_of(role) for role in ("hips", "hand.L", "hand.R", "head")]

    def places(identity, motion):
        posed = template.body(identity).pose(*motion.parameters()).joints[:, joints, :3, 3]
        return posed[:, 1:] - posed[:, :1]

    from ram_avatar.motion.motion import Motion

    live = places(avatar.identity, Motion.of_frames(template.name, RATE, frames))
    fitted = places(capture.identity, capture.motion[first:])
    flat = lambda x: (x - x.mean(0))[..., [0, 2]].flatten().numpy()  # noqa: E731 - across and up; depth is a guess
    assert np.corrcoef(flat(live), flat(fitted))[0, 1] > 0.9


def test_who_leaves_is_lost_and_comes_back(tracker, seen):
    pictures, black = seen[0], np.zeros_like(seen[0][0])
    _drive(tracker, pictures[:14])
    gone = _drive(tracker, [black] * 3, 2.0)
    assert {d.status for d in gone} == {Status.LOST} and all(d.frame is None for d in gone)
    assert np.isnan(gone[0].landmarks).all()
    assert _drive(tracker, pictures[14:16], 3.0)[-1].status == Status.SEEN


def test_without_a_picture_it_waits(tracker):
    driven = tracker.drive(None, 0.0)
    assert driven.frame is None and driven.status == Status.WAITING


def test_after_a_reset_it_looks_anew_where_the_person_stands(tracker, seen):
    _drive(tracker, seen[0][:14])
    tracker.reset()
    assert _drive(tracker, seen[0][:1], 5.0)[0].frame is None


def test_overlay_and_timings_come_with_every_picture(tracker, seen):
    driven = _drive(tracker, seen[0][:10])[-1]
    body = driven.landmarks[:33][np.isfinite(driven.landmarks[:33]).all(1)]
    assert len(body) > 12 and (body > -0.2).all() and (body < 1.2).all()
    assert set(driven.timings) == {"detect", "solve", "align"}


# Builds ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_is_learned_beside_the_session_and_remembered(avatar, seen, own_cache):
    """Of somebody who is not known the build is found from what is seen; the next tracker begins with it."""
    tracker = LiveTracker(avatar, Replay(seen[1]))
    for i, picture in enumerate(seen[0] * 2):
        tracker.drive(picture, i / 4)
    while tracker._learning is not None:
        tracker.drive(seen[0][0], 100.0)
    tracker.close()
    build = remembered_build(avatar.template)
    assert build is not None and not torch.allclose(build, avatar.template.default_identity())
    assert torch.equal(LiveTracker(avatar, Replay(seen[1]))._identity, build)


def test_a_fit_that_nobody_wants_any_more_ends(template, seen):
    fit = BuildFit(template, seen[1][:8], 256, 256, 5.0)
    fit.close()
    assert not fit.running and fit.identity is None


def test_builds_are_remembered_exactly(template, own_cache):
    assert remembered_build(template) is None
    identity = template.default_identity() * 0.9
    remember_build(template, identity)
    assert torch.equal(remembered_build(template), identity)


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept | {"template": "another"},
        lambda kept: kept | {"identity": kept["identity"][:-1]},
        lambda kept: kept | {"identity": [99.0] * len(kept["identity"])},
        lambda kept: kept | {"identity": [float("nan")] * len(kept["identity"])},
        lambda kept: "no object",
    ],
)
def test_a_damaged_memory_is_none(template, own_cache, damage):
    remember_build(template, template.default_identity())
    path = own_cache / BUILD_FILE
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    assert remembered_build(template) is None


def test_alignment_is_as_strong_as_the_page_says(avatar, seen, own_cache, monkeypatch):
    """The carrier hands the page's strength to the aligner, from the next frame on."""
    from ram_avatar.live import carrying

    asked = []

    class Noted:
        def __init__(self, alignment, template, fps):
            self.strength = 1.0

        def __call__(self, frame):
            asked.append(self.strength)
            return frame

    monkeypatch.setattr(carrying, "Aligner", Noted)
    remember_build(avatar.template, avatar.identity)
    tracker = LiveTracker(dataclasses.replace(avatar, alignment=object()), Replay(seen[1]))
    tracker.adjust(Settings(alignment=0.7))
    _drive(tracker, seen[0][:10])
    tracker.adjust(Settings(alignment=0.2))
    _drive(tracker, seen[0][10:12], 1.0)
    tracker.close()
    assert asked[0] == 0.7 and asked[-1] == 0.2
