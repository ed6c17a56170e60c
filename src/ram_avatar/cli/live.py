"""`ram-avatar live`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..options import AvatarOptions, FaceModelOptions, RotateOptions
from .arguments import Flat, JointNames, Rate, Up, VisibleMark
from .terminal import TerminalProgress


def live(
    avatar: Positional[Path],
    source: Annotated[
        str | None,
        arg(help="what drives: a motion file, a capture, a video, or vmc://:39539 to listen to another program"),
    ] = None,
    joint_names: JointNames = None,
    up: Up = None,
    fps: Rate = None,
    video: Flat[RotateOptions] = RotateOptions(),
    host: Annotated[
        str, arg(help="address to listen on; any but loopback asks for the token in the link")
    ] = "127.0.0.1",
    port: Annotated[int, arg(help="0 takes a free one")] = 8642,
    token: Annotated[str | None, arg(help="key in the link; default: a new one, where one is needed")] = None,
    certificate: Annotated[
        Path | None, arg(help="PEM file with key and certificate; default beyond loopback: one made on this machine")
    ] = None,
    bench: Annotated[bool, arg(help="no page: drive with --source once, and print how fast it went")] = False,
    virtual_camera: Annotated[bool, arg(help="be a camera for other programs, too")] = False,
    visible_mark: VisibleMark = False,
    browser: Annotated[bool, arg(help="open the page")] = True,
    profile: Annotated[str | None, arg(help="name under which your build is remembered")] = "default",
    face: Flat[FaceModelOptions] = FaceModelOptions(),
    loading: Flat[AvatarOptions] = AvatarOptions(),
) -> None:
    """Be the avatar: a page takes your camera and shows the avatar moving as you do. Ctrl-C ends it.

    Nothing is recorded unless you record it on the page, and no image leaves this machine.
    """
    from ..live.web.listening import Address, check_extra, listen

    check_extra()
    address = Address(host, port, token, certificate)
    listening = None if bench else listen(address)  # reports a port in use before seconds of loading
    from ..drivers.camera import tracker_maker
    from ..drivers.options import DriverOptions
    from ..drivers.sources import VideoSource
    from ..live.bench import measure
    from ..live.session.pipeline_factory import PipelineFactory
    from ..live.web.serving import serve
    from ..video import rate_note

    with TerminalProgress() as progress:
        camera = tracker_maker(face.face_model, profile, progress)
        factory = PipelineFactory(
            avatar,
            source=source,
            options=DriverOptions(joint_names=joint_names, up=up, fps=fps, rotate=video.rotate),
            camera=camera,
            accelerator=loading.accelerator,
            smplx_model=loading.smplx_model,
            marked=visible_mark,
            progress=progress,
        )
        if isinstance(factory.source, VideoSource) and (note := rate_note(factory.source.probe())):
            progress.note(note)
        if listening is None:
            measure(factory, progress)
        else:
            serve(factory, address, listening, virtual_camera=virtual_camera, browser=browser, progress=progress)
