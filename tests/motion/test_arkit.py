import pytest
import torch

from ram_avatar.errors import UserError
from ram_avatar.motion.arkit import read_live_link, write_live_link

NAMES = ["jawOpen", "eyeBlinkLeft", "tongueOut"]
HEADER = "Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen,TongueOut,HeadYaw\n"


def recording(tmp_path, *rows: str, header: str = HEADER):
    (tmp_path / "take.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return tmp_path / "take.csv"


def ramp(clocks: list[str]) -> list[str]:
    """Rows whose jaw opens by a hundredth each."""
    return [f"{clock},61,0.5,{index / 100},0,-0.3" for index, clock in enumerate(clocks)]


@pytest.mark.parametrize("fps", [12.5, 24.0, 29.97, 30.0, 60.0, 120.0])
def test_round_trip(tmp_path, fps):
    actions = torch.rand(150, 3, generator=torch.Generator().manual_seed(0))
    write_live_link(tmp_path / "take.csv", actions, NAMES, fps)
    again, rate = read_live_link(tmp_path / "take.csv", NAMES)
    assert rate == pytest.approx(fps, rel=1e-3) and again.dtype == torch.float32
    assert again.shape == actions.shape and torch.allclose(again, actions, atol=2e-3)


def test_columns_are_found_by_name(tmp_path):
    path = recording(tmp_path, "01:00:00:58.0,61,0.25,0.5,1.5,9", "01:00:01:00.0,61,0.25,0.5,-0.1,9")
    actions, fps = read_live_link(path, NAMES)
    assert fps == 30.0  # of a clock that counts 60
    assert torch.allclose(actions, torch.tensor([[0.5, 0.25, 1.0], [0.5, 0.25, 0.0]]))


@pytest.mark.parametrize("count", [24, 25, 30, 60])
def test_the_clock_is_read_off_its_frames(tmp_path, count):
    clocks = [f"23:59:{58 + i // count}:{i % count:02d}" for i in range(2 * count)]
    clocks += [f"00:00:00:{i:02d}.000" for i in range(count)]  # over midnight
    actions, fps = read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)
    assert fps == count and len(actions) == 3 * count
    assert torch.allclose(actions[:, 0], torch.arange(3 * count).div(100).clamp(max=1), atol=1e-4)


def test_gaps_are_bridged(tmp_path):
    """Frames that were dropped, that have no face, or the time of the one before."""
    rows = ramp([f"10:00:0{i // 30}:{i % 30:02d}" for i in range(90)])
    broken = [*rows[:10], *rows[13:20], rows[20].split(",")[0] + ",0", rows[21].split(",")[0] + ",0,,,,", *rows[22:]]
    broken.insert(30, broken[29].replace("0.5", "0.9"))
    whole, _ = read_live_link(recording(tmp_path, *rows), NAMES)
    bridged, fps = read_live_link(recording(tmp_path, *broken), NAMES)
    assert fps == 30 and torch.allclose(bridged, whole, atol=1e-5)


def test_absent_actions_are_told(tmp_path):
    class Listener:
        notes: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.notes.append(text)

    rows = ramp(["10:00:00:59", "10:00:01:00", "10:00:01:01"])
    actions, _ = read_live_link(recording(tmp_path, *rows), ["jawOpen", "cheekPuff"], Listener())
    assert (actions[:, 1] == 0).all() and actions[2, 0] > 0
    assert len(Listener.notes) == 1 and "take.csv: has no cheekPuff" in Listener.notes[0]


GOOD = ramp(["10:00:00:59", "10:00:01:00", "10:00:01:01"])


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([*GOOD, "10:00:01:02,61,0.5"], "line 5: has 3 columns, but the header 6"),
        ([GOOD[0], "noon,61,0,0,0,0", GOOD[2]], r"line 3: 'noon' is not a timecode"),
        ([GOOD[0], "10:00:01:00,61,0,x,0,0"], "line 3: could not convert string to float: 'x'"),
        ([GOOD[0], "10:00:01:00,61,0,,0,0"], "line 3: could not convert"),
        ([GOOD[0], "10:00:01:00,61,0,nan,0,0"], "line 3: holds a number that is not finite"),
        ([GOOD[0], GOOD[2], GOOD[1]], "line 4: its time is before that of the line above"),
        (GOOD[:1], "fewer than two frames"),
        ([], "fewer than two frames"),
        (GOOD[1:], "ends within one second"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, rows, cause):
    with pytest.raises(UserError, match=rf"take\.csv: .*{cause}"):
        read_live_link(recording(tmp_path, *rows), NAMES)


def test_other_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"absent\.csv: there is no such file"):
        read_live_link(tmp_path / "absent.csv", NAMES)
    for header in ("", "time,value\n", "Timecode,BlendShapeCount,Other\n", "\x00\x01\x02\n"):
        with pytest.raises(UserError, match=r"take\.csv: not a Live Link Face recording"):
            read_live_link(recording(tmp_path, header=header), NAMES)
    monkeypatch.setattr("ram_avatar.motion.arkit._MAX_BYTES", 100)
    with pytest.raises(UserError, match=r"take\.csv: larger than"):
        read_live_link(recording(tmp_path, *GOOD), NAMES)
