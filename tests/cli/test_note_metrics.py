import json

import pytest

from ram_avatar.cli.metrics import note_metrics
from ram_avatar.core.errors import UserError

ROW = {"psnr": 25.7, "psnr_person": 22.6, "st_lpips_person": 0.04}
METRICS = {"frames": 32, **ROW, "textured_mesh": ROW, "nearest_frame": {**ROW, "psnr": None}}


def test_metrics_are_noted_beside_those_of_the_baselines(tmp_path, listener):
    note_metrics(tmp_path, listener)
    assert not listener.notes  # there are none yet
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    note_metrics(tmp_path, listener)
    head, *rows, _ = listener.notes
    assert head.startswith("On 32 held-out frames")
    assert [row.split()[0] for row in rows] == ["this", "textured", "nearest"]
    assert "25.70" in rows[0] and "–" in rows[2]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"frames": "\x1b[31m"}, "frames: expected a whole number"),
        ({"psnr": "high"}, "psnr: expected a number"),
        ({"textured_mesh": []}, "textured_mesh: expected fields by name"),
        ({"nearest_frame": {}}, "psnr is missing"),
    ],
)
def test_metrics_that_are_damaged_are_refused(tmp_path, listener, changes, cause):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS | changes))
    with pytest.raises(UserError, match=rf"metrics\.json: damaged \({cause}"):
        note_metrics(tmp_path, listener)
