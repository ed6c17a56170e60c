"""Videos that are not an upright clip."""

import numpy as np

from ram_avatar.tracking.offline.fitting import FitSettings
from ram_avatar.tracking.offline.options import TrackOptions
from ram_avatar.tracking.offline.track import track
from ram_avatar.video import VideoWriter, read_frames


def test_a_single_frame_is_tracked(film, template, tmp_path):
    """A driver may be a single image."""
    with VideoWriter(tmp_path / "v.mp4", 256, 256, 12) as video:
        video.write(next(read_frames(film)))
    settings = FitSettings(60, 40, refinements=1, refit_iterations=10)
    tracked = track(tmp_path / "v.mp4", tmp_path / "c", template=template, settings=settings, one_scene=False)
    assert len(tracked) == 1 and tracked.motion.confidence[0, 0] > 0.5
    assert tracked.report["fit_errors"]["body"] < 0.02


def test_a_sideways_video_is_noticed_and_rotated(film, template, tmp_path, listener):
    with VideoWriter(tmp_path / "v.mp4", 256, 256, 12) as video:
        for frame in read_frames(film, stop=8):
            video.write(np.ascontiguousarray(np.rot90(frame)))  # counterclockwise
    settings = FitSettings(20, 10, refinements=0)
    track(tmp_path / "v.mp4", tmp_path / "c", template=template, settings=settings, progress=listener)
    assert any("sideways" in note and "--rotate 90" in note for note in listener.notes)
    listener.notes.clear()
    made = track(
        tmp_path / "v.mp4",
        tmp_path / "d",
        TrackOptions(rotate=90),
        template=template,
        settings=settings,
        progress=listener,
    )
    assert not any("--rotate" in note for note in listener.notes) and made.report["rotated"] == 90
    up = made.motion.root_rotation.abs().max()
    assert up < 0.8  # radians: upright, as the performer is
