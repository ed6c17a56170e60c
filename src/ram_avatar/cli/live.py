"""`ram-avatar live`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..drivers.options import DriverOptions
from ..options import AvatarOptions
from .arguments import Flat
from .terminal import TerminalProgress


def live(
    avatar: Positional[Path],
    source: Annotated[
        str | None,
        arg(help="what drives: a motion file, a capture, a video, or vmc://:39539 to listen to another program"),
    ] = None,
    driving: Flat[DriverOptions] = DriverOptions(),
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
    visible_mark: Annotated[bool, arg(help="mark every frame as generated, in a corner")] = False,
    browser: Annotated[bool, arg(help="open the page")] = True,
    profile: Annotated[str | None, arg(help="name under which your build is remembered")] = "default",
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
    from ..drivers.sources import VideoSource
    from ..live.bench import measure
    from ..live.session.pipeline_factory import PipelineFactory
    from ..live.web.serving import serve
    from ..video import rate_note

    with TerminalProgress() as progress:
        camera = tracker_maker(driving.face_model, profile, progress)
        factory = PipelineFactory(
            avatar,
            source=source,
            options=replace(driving, face_model=None),  # the camera has it
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
