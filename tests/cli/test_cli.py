import subprocess
import sys

import pytest

from ram_avatar.cli.main import COMMANDS, main
from ram_avatar.cli.motion import MOTION_COMMANDS


def _run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "from ram_avatar.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )


def _fails(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS, *(f"motion {name}" for name in MOTION_COMMANDS)])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert len(said) > 200
    nested = {"": COMMANDS, "motion": MOTION_COMMANDS}
    assert all(name in said for name in nested.get(command, ()))


@pytest.mark.parametrize(
    ("name", "content"), [("absent.mp4", None), ("empty.mp4", b""), ("text.mp4", b"hello"), ("folder.mp4", "folder")]
)
def test_an_unreadable_video_is_reported_in_one_line_with_code_2(tmp_path, capsys, name, content):
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    before = set(tmp_path.iterdir())
    code, said = _fails(capsys, "create", tmp_path / name, tmp_path / "out")
    line = said.strip().splitlines()[-1]
    assert code == 2 and name in line and line.startswith("ram-avatar: ")
    assert set(tmp_path.iterdir()) == before  # nothing half-written


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ((), "the body template smplx needs its model file: get SMPLX_NEUTRAL.npz"),
        (("--smplx-model", "absent.npz"), "absent.npz: no such file (the model of SMPL-X"),
        (("--smplx-model", "SMPLX_NEUTRAL.pkl"), "pickles are not opened"),
    ],
)
def test_a_missing_smplx_model_says_where_to_get_it(tmp_path, film, capsys, monkeypatch, options, cause):
    monkeypatch.delenv("RAM_AVATAR_SMPLX", raising=False)
    code, said = _fails(capsys, "track", film, tmp_path / "c", "--template", "smplx", *options)
    assert code == 2 and cause in said.strip().splitlines()[-1] and "non-commercial" in said
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_reported_before_any_work(tmp_path, film, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    code, said = _fails(capsys, "create", film, tmp_path / "out")
    assert code == 2 and "exists" in said and "--overwrite" in said
    code, said = _fails(capsys, "create", film, tmp_path / "out", "--overwrite")
    assert code == 2 and (tmp_path / "out" / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["create", "{film}", "{tmp}/o", "--preset", "huge"], "preset 'huge'"),
        (["create", "{film}", "{tmp}/o", "--accelerator", "quantum"], "quantum"),
        (["create", "{film}", "{tmp}/o", "--precision", "fp8"], "bf16-mixed"),
        (["create", "{film}", "{tmp}/o", "--devices", "4000"], "4000 devices"),
        (["train", "{tmp}", "{tmp}/o"], "not a capture"),
        (["evaluate", "{tmp}/me"], "me-capture"),
        (["evaluate", "{tmp}/me", "{tmp}"], "neither a capture nor a folder of captures"),
        (["evaluate", "{tmp}/me", "{tmp}/a", "{tmp}/b"], "neither a capture nor a folder of captures"),
        (["synth", "{tmp}/o", "--size", "65"], "even size"),
        (["synth", "{tmp}/o", "--motion", "{tmp}/absent.npz"], "absent.npz"),
        (["animate", "{tmp}", "{film}", "{tmp}/o.mp4"], "not an avatar"),
    ],
)
def test_wrong_arguments_are_reported(tmp_path, film, capsys, arguments, cause):
    code, said = _fails(capsys, *[a.format(film=film, tmp=tmp_path) for a in arguments])
    assert code == 2 and cause in said and "Traceback" not in said


def test_debug_shows_the_traceback(tmp_path, capsys):
    _, said = _fails(capsys, "track", tmp_path / "absent.mp4", tmp_path / "c", "--debug")
    assert "Traceback" in said


def test_ctrl_c_says_how_to_resume(tmp_path, capsys, monkeypatch):
    import ram_avatar.creation.train

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ram_avatar.creation.train, "train", interrupted)
    assert _fails(capsys, "train", tmp_path / "c", tmp_path / "a") == (
        130,
        "Interrupted. Run the same command to resume.\n",
    )


def test_help_loads_nothing_heavy():
    code = """
import sys
from ram_avatar.cli.main import main
try:
    main(["create", "--help"])
except SystemExit:
    print(sorted({"torch", "cv2", "mediapipe", "numpy"} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_from_the_shell():
    done = _run("track", "absent.mp4", "capture")
    assert done.returncode == 2 and "absent.mp4" in done.stderr and done.stdout == ""


@pytest.mark.slow
def test_create_and_animate_as_a_user_does(film, tmp_path):
    """Create with a recipe of one's own, animate, evaluate; then again, with everything done already."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "network: {image_size: 64, texture_channels: 2, texture_resolution: 32, attention_channels: 4,\n"
        "  attention_widths: [8, 8], face_channels: 2, hand_channels: 2, feature_widths: [4, 8],\n"
        "  unet_widths: [8, 12, 16], style_dim: 8, discriminator_widths: [8, 12, 16]}\n"
        "training: {steps: 4, batch_size: 2, perceptual_layers: [relu1_1]}\n"
        "texture_size: 64\n"
    )
    avatar, out = tmp_path / "me", tmp_path / "out.mp4"
    done = _run("create", str(film), str(avatar), "--preset", str(recipe), "--accelerator", "cpu")
    assert done.returncode == 0, done.stderr
    assert "First avatar ready" in done.stderr and "ST-LPIPS" in done.stderr
    assert (tmp_path / "me-capture" / "capture.json").is_file()
    done = _run("animate", str(avatar), str(tmp_path / "me-capture"), str(out), "--side-by-side")
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    done = _run("evaluate", str(avatar))
    assert done.returncode == 0, done.stderr
    assert (avatar / "evaluation" / "report.html").is_file() and "baseline" in done.stderr
    again = _run("evaluate", str(avatar))
    assert again.returncode == 2 and "--overwrite" in again.stderr
    again = _run("create", str(film), str(avatar), "--preset", str(recipe))
    assert again.returncode == 2 and "trained to its end" in again.stderr
