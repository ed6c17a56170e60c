"""The command line: parses, calls, prints."""

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import Positional, arg, subcommand

from ..core.errors import UserError

Preset = Annotated[
    str,
    arg(
        help="lite (256 pixels, minutes on a CPU), standard (512), paper (1024), as-published, or the path of a "
        ".yaml recipe"
    ),
]
Devices = Annotated[int, arg(help="GPUs (on a CPU: processes) that share every batch")]
FaceModel = Annotated[Path | None, arg(help="MediaPipe's face_landmarker.task; sought in the cache or downloaded")]
JointNames = Annotated[Path | None, arg(help="a .yaml that names the joints of an unknown skeleton")]
Up = Annotated[
    Literal["x", "y", "z", "-x", "-y", "-z"] | None,
    arg(help="axis of a motion file that points up (--up=-y for a negative one); default: found from the motion"),
]
Rate = Annotated[
    float | None,
    arg(help="frame rate of a motion file that has none; a file that has one is resampled to it"),
]
Template = Annotated[
    Literal["anny", "smplx"], arg(help="the body: anny, free and built in, or smplx, whose model file you have")
]
SmplxModel = Annotated[
    Path | None, arg(help="SMPL-X's model file, SMPLX_NEUTRAL.npz; without, the environment's RAM_AVATAR_SMPLX")
]
VisibleMark = Annotated[bool, arg(help="a small mark on every picture says that it is generated")]
Rotate = Annotated[
    Literal[0, 90, 180, 270],
    arg(help="degrees clockwise to turn the video by, if it was filmed sideways and carries no rotation tag"),
]
Overwrite = Annotated[bool, arg(help="replace an output that exists")]


def create(
    video: Positional[Path],
    avatar: Positional[Path],
    preset: Preset = "lite",
    instant: Annotated[bool, arg(help="stop at the textured template, before training")] = False,
    precision: Annotated[str, arg(help="auto, 32-true or bf16-mixed")] = "auto",
    accelerator: Annotated[str, arg(help="auto, cpu or cuda")] = "auto",
    devices: Devices = 1,
    template: Template = "anny",
    smplx_model: SmplxModel = None,
    face_model: FaceModel = None,
    rotate: Rotate = 0,
    overwrite: Overwrite = False,
) -> None:
    """Track a video of one person and learn an avatar from it.

    The capture is kept beside the avatar's own files, in AVATAR-capture. Running the same command again goes
    on where a stopped run was.
    """
    from ..creation.create import create as run

    with _progress() as progress:
        run(
            video,
            avatar,
            preset=preset,
            instant=instant,
            precision=precision,
            accelerator=accelerator,
            devices=devices,
            template=_template(template, smplx_model, progress),
            face_model=face_model,
            rotate=rotate,
            overwrite=overwrite,
            progress=progress,
        )
        _report(avatar, progress)


def track(
    video: Positional[Path],
    capture: Positional[Path],
    template: Template = "anny",
    smplx_model: SmplxModel = None,
    face_model: FaceModel = None,
    rotate: Rotate = 0,
    overwrite: Overwrite = False,
) -> None:
    """Track the person in a video: a capture folder with motion, identity, masks and background."""
    from ..tracking.offline.track import track as run

    with _progress() as progress:
        body = _template(template, smplx_model, progress)
        made = run(
            video,
            capture,
            template=body,
            face_model=face_model,
            rotate=rotate,
            overwrite=overwrite,
            progress=progress,
        )
        seen = made.report["detection_rates"].items()
        rates = ", ".join(f"{part.replace('_', ' ')} {rate:.0%}" for part, rate in seen)
        progress.note(f"{capture}: {len(made)} frames; seen: {rates}; face read from {made.report['face_read_from']}")


def train(
    capture: Positional[Path],
    avatar: Positional[Path],
    preset: Preset = "lite",
    instant: Annotated[bool, arg(help="stop at the textured template, before training")] = False,
    precision: Annotated[str, arg(help="auto, 32-true or bf16-mixed")] = "auto",
    accelerator: Annotated[str, arg(help="auto, cpu or cuda")] = "auto",
    devices: Devices = 1,
    smplx_model: SmplxModel = None,
    overwrite: Overwrite = False,
) -> None:
    """Learn an avatar from a capture; goes on where a stopped run was."""
    from ..creation.train import train as run

    _use_smplx(smplx_model)
    with _progress() as progress:
        run(
            capture,
            avatar,
            preset=preset,
            instant=instant,
            precision=precision,
            accelerator=accelerator,
            devices=devices,
            overwrite=overwrite,
            progress=progress,
        )
        _report(avatar, progress)


def animate(
    avatar: Positional[Path],
    driver: Positional[Path],
    out: Positional[Path],
    background: Annotated[str | None, arg(help="a picture's file, or 'transparent' (.mov and .webm)")] = None,
    side_by_side: Annotated[bool, arg(help="show the driver on the left")] = False,
    keep_place: Annotated[bool, arg(help="the avatar does not walk with the driver")] = False,
    align: Annotated[
        str,
        arg(
            help="for poses that the avatar's video never showed: auto moves them towards those it did, no limb by "
            "more than 10 degrees; on is the paper's full alignment, which can lose a gesture; off changes nothing"
        ),
    ] = "auto",
    align_strength: Annotated[float, arg(help="share of the way that poses are moved, 0 to 1")] = 1.0,
    frame: Annotated[
        str,
        arg(help="the avatar's own video frame (source), or the largest square, portrait or WIDTHxHEIGHT part of it"),
    ] = "source",
    size: Annotated[int | None, arg(help="pixels of the longer side; default: the video's own")] = None,
    camera: Annotated[str, arg(help="still, or source: move as the driver's camera did")] = "still",
    visible_mark: VisibleMark = False,
    joint_names: JointNames = None,
    up: Up = None,
    fps: Rate = None,
    accelerator: Annotated[str, arg(help="auto, cpu or cuda")] = "auto",
    smplx_model: SmplxModel = None,
    face_model: FaceModel = None,
    rotate: Rotate = 0,
    overwrite: Overwrite = False,
) -> None:
    """Move an avatar as a driver does.

    A driver is a video, a capture folder, or a motion file: our own .npz, .npz of AMASS, SMPL or SMPL-X, .bvh, .amc
    with its .asf, .csv of Live Link Face or Audio2Face.
    """
    from ..animate import animate as run
    from ..avatar import Avatar
    from ..core.device import choose_device
    from ..motion.formats.reading import ReadOptions

    options = ReadOptions(joint_names, up, fps)
    _use_smplx(smplx_model)
    with _progress() as progress:
        loaded = Avatar.load(avatar, device=choose_device(accelerator), progress=progress)
        run(
            loaded,
            driver,
            out,
            background=background,
            side_by_side=side_by_side,
            keep_place=keep_place,
            align=align,
            align_strength=align_strength,
            frame=frame,
            size=size,
            camera=camera,
            visible_mark=visible_mark,
            options=options,
            face_model=face_model,
            rotate=rotate,
            overwrite=overwrite,
            progress=progress,
        )
        progress.note(f"{out}: ready")


def evaluate(
    avatar: Positional[Path],
    capture: Annotated[Positional[Path | None], arg(help="default: AVATAR-capture, which `create` leaves")] = None,
    out: Annotated[
        Path | None, arg(help="folder to make; default: AVATAR/evaluation or AVATAR/evaluation-CAPTURE")
    ] = None,
    accelerator: Annotated[str, arg(help="auto, cpu or cuda")] = "auto",
    smplx_model: SmplxModel = None,
    overwrite: Overwrite = False,
) -> None:
    """Say how good an avatar is: figures (evaluation.json) and a page with pictures (report.html).

    On the capture that it was learned from, its held-out frames are the truth. On somebody else's, it is judged
    whether the avatar does what it is told.
    """
    from ..avatar import Avatar
    from ..capture.capture import Capture
    from ..core.device import choose_device
    from ..evaluation.evaluate import REPORT_FILE
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.report import plain_words

    _use_smplx(smplx_model)
    own = avatar.with_name(f"{avatar.name}-capture")
    if capture is None and not own.is_dir():
        raise UserError(f"{own}: no such folder; name the capture to evaluate on")
    out = out or avatar / (f"evaluation-{capture.name}" if capture and capture != own else "evaluation")
    with _progress() as progress:
        loaded = Avatar.load(avatar, device=choose_device(accelerator), progress=progress)
        made = run(loaded, Capture.load(capture or own), out, overwrite=overwrite, progress=progress)
        progress.note(plain_words(made))
        progress.note(f"{out / REPORT_FILE}: ready")


def export(
    avatar: Positional[Path],
    out: Positional[Path],
    motion: Annotated[
        Path | None, arg(help="a motion .npz whose condition maps are written beside OUT, as .npz")
    ] = None,
    smplx_model: SmplxModel = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an avatar's network as one ONNX graph, for programs without torch: condition maps to RGBA.

    Inputs, outputs and units are told in the file's metadata and in docs/export.md.
    """
    from ..avatar import Avatar
    from ..inference.export import export as run
    from ..motion.motion import Motion

    _use_smplx(smplx_model)
    with _progress() as progress:
        loaded = Avatar.load(avatar, progress=progress)
        with progress.wait("Writing the graph"):
            run(loaded, out, motion=Motion.load(motion) if motion else None, overwrite=overwrite)
        progress.note(f"{out}: ready")


def live(
    avatar: Positional[Path],
    source: Annotated[
        str | None,
        arg(help="a motion file, a capture or a video, or vmc://:39539 to listen to another program, drives"),
    ] = None,
    joint_names: JointNames = None,
    up: Up = None,
    fps: Rate = None,
    rotate: Rotate = 0,
    host: Annotated[
        str, arg(help="address to listen on; any but loopback asks for the token in the link")
    ] = "127.0.0.1",
    port: Annotated[int, arg(help="0 takes a free one")] = 8642,
    token: Annotated[str | None, arg(help="the key in the link; default: a new one, where one is needed")] = None,
    certificate: Annotated[
        Path | None, arg(help="PEM with key and certificate; default beyond loopback: one of this machine's own")
    ] = None,
    bench: Annotated[bool, arg(help="no page: drive by --source once, and print how fast it went")] = False,
    virtual_camera: Annotated[bool, arg(help="be a camera for other programs, too")] = False,
    visible_mark: VisibleMark = False,
    browser: Annotated[bool, arg(help="open the page")] = True,
    profile: Annotated[str | None, arg(help="a name under which your build is remembered")] = "default",
    face_model: FaceModel = None,
    smplx_model: SmplxModel = None,
    accelerator: Annotated[str, arg(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Be the avatar: a page takes your camera and shows the avatar moving as you do. Ctrl-C ends it.

    Nothing is recorded unless the page is asked to, and no picture goes anywhere but to this machine.
    """
    from ..live.web.serving import (
        Address,
        check_extra,
        listen,
        serve,
    )

    check_extra()
    _use_smplx(smplx_model)
    address = Address(host, port, token, certificate)
    listening = None if bench else listen(address)  # a port in use is told before seconds of loading
    from ..drivers.camera import tracker_maker
    from ..live.bench import measure
    from ..live.studio import Studio, is_film, source_of
    from ..motion.formats.reading import ReadOptions
    from ..video import probe, rate_note

    with _progress() as progress:
        camera = tracker_maker(face_model, profile, progress)
        studio = Studio(
            avatar,
            source=source_of(source),
            options=ReadOptions(joint_names, up, fps),
            rotate=rotate,
            camera=camera,
            accelerator=accelerator,
            marked=visible_mark,
            progress=progress,
        )
        if isinstance(studio.source, Path) and is_film(studio.source) and (note := rate_note(probe(studio.source))):
            progress.note(note)
        if bench:
            measure(studio, progress)
        else:
            serve(studio, address, listening, virtual_camera=virtual_camera, browser=browser, progress=progress)


def synth(
    out: Positional[Path],
    motion: Annotated[str, arg(help="training, driving, walking, a motion .npz or a capture folder")] = "training",
    frames: Annotated[int, arg(help="at most so many")] = 300,
    fps: Annotated[float, arg(help="of training, driving and walking; files keep their own rate")] = 25.0,
    size: Annotated[int, arg(help="side of the square pictures, pixels")] = 512,
    seed: Annotated[int, arg(help="0 is the performer of the demo")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Film the built-in performer in any motion, with the truth: OUT/video.mp4 and OUT/truth, a capture.

    `ram-avatar track OUT/video.mp4` can be compared with the truth; `ram-avatar train OUT/truth AVATAR` learns
    from perfect tracking.
    """
    from ..synthetic.laboratory import synthesize

    with _progress() as progress:
        synthesize(
            out, motion=motion, frames=frames, fps=fps, size=size, seed=seed, overwrite=overwrite, progress=progress
        )
        progress.note(f"{out}: ready")


def demo(
    out: Annotated[Path, arg(help="folder for everything the demo makes")] = Path("demo"),
    video: Annotated[Path | None, arg(help="learn from your own video instead of the performer's")] = None,
    preset: Preset = "lite",
    rotate: Rotate = 0,
    overwrite: Overwrite = False,
) -> None:
    """The whole path on a built-in performer: film, track, train, drive, and show."""
    from ..demo import run_demo

    with _progress() as progress:
        run_demo(out, video=video, preset=preset, rotate=rotate, overwrite=overwrite, progress=progress)


def convert(
    source: Positional[Path],
    out: Positional[Path],
    fps: Annotated[
        float | None,
        arg(help="frame rate of the result, and of a source that has none; default: the source's own, up to 60"),
    ] = None,
    template: Template = "anny",
    smplx_model: SmplxModel = None,
    joint_names: JointNames = None,
    up: Up = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a motion in another format.

    A source is a capture folder or a motion file: our own .npz, .npz of AMASS, SMPL or SMPL-X, .bvh, .amc with its
    .asf, .csv of Live Link Face or Audio2Face. OUT is .npz, .bvh (the body) or .csv (the face).
    """
    from ..motion.formats.reading import ReadOptions
    from ..motion_files import convert as run

    with _progress() as progress:
        made = run(
            source,
            out,
            template=_template(template, smplx_model, progress),
            options=ReadOptions(joint_names, up, fps),
            overwrite=overwrite,
            progress=progress,
        )
        progress.note(f"{out}: {len(made)} frames at {made.fps:g} a second")


def show(
    source: Positional[Path],
    out: Positional[Path],
    size: Annotated[int, arg(help="side of the square pictures, pixels")] = 512,
    template: Template = "anny",
    smplx_model: SmplxModel = None,
    joint_names: JointNames = None,
    up: Up = None,
    fps: Rate = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw any motion as a shaded body on a floor: OUT is .mp4, .mov or .webm. For sources see `convert`."""
    from ..motion.formats.reading import ReadOptions
    from ..motion_files import show as run

    with _progress() as progress:
        run(
            source,
            out,
            size=size,
            template=_template(template, smplx_model, progress),
            options=ReadOptions(joint_names, up, fps),
            overwrite=overwrite,
            progress=progress,
        )
        progress.note(f"{out}: ready")


def prior(
    paths: Annotated[
        Positional[list[Path]],
        arg(metavar="MOTIONS... PRIOR", help="what to learn from, and the .safetensors file to make"),
    ],
    epochs: Annotated[int, arg(help="how often every pose is seen")] = 50,
    seed: Annotated[int, arg(help="of everything that is random")] = 0,
    licence: Annotated[str, arg(help="of the motions, for the prior's card")] = "unknown: that of the motions",
    overwrite: Overwrite = False,
) -> None:
    """Fit a motion prior, what alignment knows of anybody's poses, to many motions: files, folders, .zip of .bvh."""
    import shlex

    from ..body import load_template
    from ..motion.alignment.prior_training import PriorTraining, fit_prior

    # One list of paths: a list of motions would leave nothing for a path after it.
    if len(paths) < 2:
        raise UserError("ram-avatar motion prior MOTIONS... PRIOR: name at least one motion and the file to make")
    *motions, out = paths
    with _progress() as progress:
        card = fit_prior(
            motions,
            out,
            template=load_template(progress=progress),
            training=PriorTraining(epochs=epochs, seed=seed),
            licence=licence,
            command=shlex.join(["ram-avatar", *sys.argv[1:]]),
            overwrite=overwrite,
            progress=progress,
        )
        progress.note(
            f"{out}: {card['poses']} poses of {card['files']} motions; held-out poses come back within "
            f"{card['held_out_error_degrees']:.1f} degrees a joint"
        )


MOTION_COMMANDS = {
    "convert": convert,
    "show": show,
    "prior": prior,
}
_MOTION = Union[tuple(Annotated[Any, subcommand(name, constructor=run)] for name, run in MOTION_COMMANDS.items())]  # noqa: UP007


def motion(command: Annotated[_MOTION, arg(name="")]) -> None:
    """What to do with motions that are files: convert them, look at them, learn from them."""


COMMANDS = {
    "create": create,
    "track": track,
    "train": train,
    "animate": animate,
    "evaluate": evaluate,
    "export": export,
    "live": live,
    "motion": motion,
    "demo": demo,
    "synth": synth,
}


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Exits with 2 for what the user can mend, 1 for a fault of ours, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    _quiet_libraries()
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="ram-avatar",
            description="One video in, a driveable avatar out. --debug shows the traceback of an error.",
            args=[a for a in arguments if a != "--debug"],
        )
    except UserError as error:
        _fail(str(error), 2, debug)
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; the same command goes on.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"ram-avatar: {message}", file=sys.stderr)
    sys.exit(code)


def _quiet_libraries() -> None:
    """The libraries underneath greet and warn at length; nothing of it helps a user."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Two thread pools that wait by spinning slow each other many times on small machines.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _use_smplx(model: Path | None) -> None:
    """For this run and the processes that it starts, as if the environment had said so."""
    if model is not None:
        os.environ["RAM_AVATAR_SMPLX"] = str(model.resolve())


def _template(name: str, smplx_model: Path | None, progress):
    """The template that was asked for; None for the default, which is loaded where it is needed."""
    from ..body import load_template

    _use_smplx(smplx_model)
    return None if name == "anny" else load_template(name, progress=progress)


def _progress():
    from .terminal import TerminalProgress

    return TerminalProgress()


def _report(avatar: Path, progress) -> None:
    """The figures of a finished avatar, as a table beside what is simpler."""
    import json

    from ..creation.outcome import METRICS, METRICS_FILE
    from ..evaluation.metric_catalog import tell

    path = avatar / METRICS_FILE
    if not path.is_file():
        return
    figures = json.loads(path.read_text())
    progress.note(f"On {figures['frames']} held-out frames    PSNR   person   ST-LPIPS of the person (less is better)")
    for name, row in (
        ("this avatar", figures),
        ("textured mesh", figures["textured_mesh"]),
        ("nearest training frame", figures["nearest_frame"]),
    ):
        told = [tell(METRICS[key][1], row[key]) for key in ("psnr", "psnr_person", "st_lpips_person")]
        progress.note(f"  {name:24s} {told[0]:>7} {told[1]:>8} {told[2]:>8}")
    progress.note(f"{avatar}: ready; look at {avatar / 'preview.mp4'}")
