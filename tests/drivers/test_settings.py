import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.drivers.settings import Settings

ACTIONS = ("jawOpen", "mouthPucker")


def test_changes_keep_all_other_settings():
    first = Settings().changed({"smoothing": 0.2, "face": {"jawOpen": 1}}, ACTIONS)
    then = first.changed({"background": "#00B140", "mirror": False}, ACTIONS)
    assert (then.smoothing, then.background, then.mirror, dict(then.face)) == (0.2, "#00B140", False, {"jawOpen": 1.0})
    assert then.changed({"face": {}}, ACTIONS).face == {}
    assert Settings().changed({"fingers": {"left thumb": 0.5}}, ()).fingers == {"left thumb": 0.5}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"speed": 1}, "speed"),
        ({"mirror": 1}, "mirror"),
        ({"remember": "yes"}, "remember is on or off"),
        ({"smoothing": 1.01}, "smoothing"),
        ({"smoothing": True}, "smoothing"),
        ({"smoothing": float("nan")}, "smoothing"),
        ({"alignment": "0.5"}, "alignment"),
        ({"background": "/etc/passwd"}, "background"),
        ({"background": ["#000000"]}, "background"),
        ({"background": "#00b1401"}, "background"),
        ({"face": {"noseWiggle": 0.1}}, "noseWiggle"),
        ({"face": {"jawOpen": -0.1}}, "jawOpen"),
        ({"face": [1]}, "face"),
        ({"fingers": {"left toe": 1}}, "left toe"),
    ],
)
def test_bad_changes_are_refused(changes, cause):
    with pytest.raises(UserError, match=cause):
        Settings().changed(changes, ACTIONS)
