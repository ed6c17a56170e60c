import pytest
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats.arkit import read_live_link, write_live_link

NAMES = ["jawOpen", "eyeBlinkLeft", "tongueOut"]
HEADER = "Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen,TongueOut,HeadYaw\n"


def recording(tmp_path, *rows: str, header: str = HEADER):
    (tmp_path / "take.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return tmp_path / "take.csv"


def ramp(clocks: list[str]) -> list[str]:
    """Return rows in which the jaw opens by a hundredth each."""
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
    assert fps == 30.0  # with a clock of 60
    assert torch.allclose(actions, torch.tensor([[0.5, 0.25, 1.0], [0.5, 0.25, 0.0]]))


@pytest.mark.parametrize("count", [10, 12, 15, 17, 20, 24, 25, 30, 60])
def test_the_clock_rate_is_inferred_from_frame_numbers(tmp_path, count):
    clocks = [f"23:59:{58 + i // count}:{i % count:02d}" for i in range(2 * count)]
    clocks += [f"00:00:00:{i:02d}.000" for i in range(count)]  # over midnight
    actions, fps = read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)
    assert fps == count and len(actions) == 3 * count
    assert torch.allclose(actions[:, 0], torch.arange(3 * count).div(100).clamp(max=1), atol=1e-4)


@pytest.mark.parametrize(("camera", "clock"), [(10, 60), (15, 30), (15, 60), (12, 24), (6, 24), (20, 60), (25, 50)])
def test_a_camera_slower_than_its_clock(tmp_path, camera, clock):
    """Such a camera skips frame numbers: 0, 4, 8 to 56 of a clock of 60."""
    step = clock // camera
    clocks = [f"10:00:0{i // camera}:{i % camera * step:02d}" for i in range(4 * camera)]
    actions, fps = read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)
    assert fps == camera and len(actions) == 4 * camera
    assert torch.allclose(actions[:, 0], torch.arange(4 * camera).div(100).clamp(max=1), atol=1e-4)


def test_creeping_fractions(tmp_path):
    """The app adds thousandths of a frame; 14.985 is not a camera's rate, 29.97 is."""
    for clock, rate in ((15, 15.0), (30, 29.97)):
        clocks = [f"10:00:0{i // clock}:{i % clock + i / 1000:06.3f}" for i in range(4 * clock)]
        actions, fps = read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)
        assert fps == rate and len(actions) == 4 * clock
        assert torch.allclose(actions[:, 0], torch.arange(4 * clock).div(100).clamp(max=1), atol=1e-4)


def test_dropped_frames_in_a_short_clip(tmp_path):
    clocks = [*(f"10:00:00:{i:02d}" for i in range(10, 28)), *(f"10:00:01:{i:02d}" for i in range(12))]
    assert read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)[1] == 30.0


def test_a_rate_that_the_file_does_not_state(tmp_path):
    """All frames within a second, or no times at all: the given rate is used."""
    within = ramp([f"10:00:01:{i:02d}" for i in range(12)])
    without = [row.split(",", 1)[1] for row in within]
    for path in (recording(tmp_path, *within), recording(tmp_path, *without, header=HEADER.split(",", 1)[1])):
        with pytest.raises(UserError, match=r"take\.csv: .*--fps"):
            read_live_link(path, NAMES)
        actions, fps = read_live_link(path, NAMES, fps=15.0)
        assert fps == 15.0 and torch.allclose(actions[:, 0], torch.arange(12).div(100), atol=1e-5)


def test_seconds_instead_of_timecodes(tmp_path):
    """Audio2Face's columns: a number, timeCode in rounded seconds, blendShapes.NAME."""
    header = ",timeCode,blendShapes.EyeBlinkLeft,blendShapes.JawOpen,blendShapes.TongueOut\n"
    rows = [f"{i},{i / 30:.4f},0.25,{i / 100},0" for i in range(90) if i not in (20, 21, 50)]
    actions, fps = read_live_link(recording(tmp_path, *rows, header=header), NAMES)
    assert fps == 30.0 and actions.shape == (90, 3)
    assert torch.allclose(actions[:, 0], torch.arange(90).div(100), atol=1e-4) and (actions[:, 1] == 0.25).all()


@pytest.mark.parametrize(
    "names",
    [
        ["jawOpen", "eyeBlinkLeft", "tongueOut"],
        ["JAWOPEN", "EYEBLINKLEFT", "TONGUEOUT"],
        ["blendShapes.JawOpen", "blendShapes.EyeBlinkLeft", "blendShapes.TongueOut"],
        ["CTRL_expressions_jawOpen", "CTRL_expressions_eyeBlinkLeft", "CTRL_expressions_tongueOut"],
        ["Face:JawOpen", "Face:EyeBlinkLeft", "Face:TongueOut"],
    ],
    ids=["ARKit", "capitals", "Audio2Face", "MetaHuman", "namespace"],
)
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ",")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects(tmp_path, names, separator, decimal, encoding):
    rows = [["Timecode", "BlendShapeCount", *names, "SomethingJawOpening"]]
    for i in range(60):
        clock = f"10:00:0{i // 30}:{i % 30:02d}.000"
        rows.append([cell.replace(".", decimal) for cell in (clock, "61", f"{i / 100}", "0.5", "0.25", "0.9")])
    (tmp_path / "take.csv").write_text("\r\n".join(separator.join(row) for row in rows), encoding=encoding)
    actions, fps = read_live_link(tmp_path / "take.csv", NAMES)
    assert fps == 30.0
    assert torch.allclose(actions[:, 0], torch.arange(60).div(100), atol=1e-5)
    assert torch.allclose(actions[:, 1:], torch.tensor([0.5, 0.25]).expand(60, 2))


def test_a_name_within_another_is_not_its_column(tmp_path):
    header = HEADER.replace("JawOpen", "superjawopen")
    actions, _ = read_live_link(recording(tmp_path, *ramp(["10:00:00:59", "10:00:01:00"]), header=header), NAMES)
    assert (actions[:, 0] == 0).all() and (actions[:, 1] == 0.5).all()


def test_gaps_are_bridged(tmp_path):
    """Frames that were dropped, that show no face, or that repeat the time of the one before."""
    rows = ramp([f"10:00:0{i // 30}:{i % 30:02d}" for i in range(90)])
    broken = [*rows[:10], *rows[13:20], rows[20].split(",")[0] + ",0", rows[21].split(",")[0] + ",0,,,,", *rows[22:]]
    broken.insert(30, broken[29].replace("0.5", "0.9"))
    whole, _ = read_live_link(recording(tmp_path, *rows), NAMES)
    bridged, fps = read_live_link(recording(tmp_path, *broken), NAMES)
    assert fps == 30 and torch.allclose(bridged, whole, atol=1e-5)


def test_seconds_since_midnight_start_again_at_midnight(tmp_path):
    clocks = [f"{(86_399 + k / 30) % 86_400:.4f}" for k in range(60)]
    actions, fps = read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)
    assert fps == 30 and len(actions) == 60 and torch.allclose(actions[:, 0], torch.arange(60).div(100), atol=1e-4)


def test_a_face_that_is_out_of_sight_for_minutes(tmp_path):
    clocks = [f"10:0{minute}:0{k // 30}:{k % 30:02d}" for minute in (0, 9) for k in range(60)]
    actions, fps = read_live_link(recording(tmp_path, *ramp(clocks)), NAMES)
    assert fps == 30 and len(actions) == 542 * 30


def test_too_many_columns_are_refused(tmp_path):
    with pytest.raises(UserError, match="has 1006 columns"):
        read_live_link(recording(tmp_path, *GOOD, header=HEADER.strip() + ",x" * 1000 + "\n"), NAMES)


def test_missing_actions_are_noted(tmp_path, listener):
    rows = ramp(["10:00:00:59", "10:00:01:00", "10:00:01:01"])
    actions, _ = read_live_link(recording(tmp_path, *rows), ["jawOpen", "cheekPuff"], listener)
    assert (actions[:, 1] == 0).all() and actions[2, 0] > 0
    clock, absent = listener.notes
    assert "take.csv: its timecodes count 60 frames a second" in clock and "take.csv: has no cheekPuff" in absent


GOOD = ramp(["10:00:00:59", "10:00:01:00", "10:00:01:01"])


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([*GOOD, "10:00:01:02,61,0.5"], "line 5: has 3 columns, but the header 6"),
        ([GOOD[0], "noon,61,0,0,0,0", GOOD[2]], r"line 3: 'noon' is neither a timecode"),
        ([GOOD[0], "10:00:01:00,61,0,x,0,0"], "line 3: could not convert string to float: 'x'"),
        ([GOOD[0], "10:00:01:00,61,0,,0,0"], "line 3: could not convert"),
        ([GOOD[0], "10:00:01:00,61,0,nan,0,0"], "line 3: holds a number that is not finite"),
        ([GOOD[0], GOOD[2], GOOD[1]], "line 4: its time is before that of the line above"),
        (GOOD[:1], "fewer than two frames"),
        ([], "fewer than two frames"),
        (GOOD[1:], "ends within one second"),
        ([GOOD[0], "3.5,61,0,0,0,0"], "timecodes in some lines and seconds in others"),
        ([GOOD[0], GOOD[0]], "ends within one second"),
        (["0,61,0,0,0,0", "0,61,0,0,0,0"], "all its frames have the same time"),
        (["0,61,0,0,0,0", "0.001,61,0,0,0,0", "99999,61,0,0,0,0"], "too far apart"),
        ([f"{k / 60},61,0,0,0,0" for k in range(60)] + ["40000,61,0,0,0,0"], "too far apart"),
        ([f"00:00:00:00.000000{k},61,0,0,0,0" for k in range(9)] + ["00:00:01:00,61,0,0,0,0"], "too close together"),
        ([GOOD[0], "24:00:00:00,61,0,0,0,0"], "line 3: '24:00:00:00' is neither a timecode"),
        ([GOOD[0], "10:60:00:00,61,0,0,0,0"], "line 3: '10:60:00:00' is neither a timecode"),
        (["x" * 70_000], "line 2: longer than 65536 characters"),
    ],
)
def test_errors_name_the_cause(tmp_path, rows, cause):
    with pytest.raises(UserError, match=rf"take\.csv: .*{cause}"):
        read_live_link(recording(tmp_path, *rows), NAMES)


def test_other_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"absent\.csv: there is no such file"):
        read_live_link(tmp_path / "absent.csv", NAMES)
    for header in ("", "time,value\n", "Timecode,BlendShapeCount,Other\n", "\x00\x01\x02\n"):
        with pytest.raises(UserError, match=r"take\.csv: not a facial recording"):
            read_live_link(recording(tmp_path, header=header), NAMES)
    monkeypatch.setattr("ram_avatar.motion.formats.arkit._MAX_BYTES", 100)
    with pytest.raises(UserError, match=r"take\.csv: larger than"):
        read_live_link(recording(tmp_path, *GOOD), NAMES)
