"""Opens avatars and their drivers, and builds pipelines from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...animate import check_template
from ...avatar import Avatar, is_avatar
from ...capture.capture import Capture, is_capture
from ...core.device import choose_device
from ...core.errors import UserError
from ...core.images import shrunk
from ...core.progress import SILENT, Progress
from ...drivers.driver import Driver
from ...drivers.film import Film, FilmDriver
from ...drivers.played_motion import PlayedMotion, Standing, standing
from ...drivers.vmc import (
    SCHEME,
    VmcAddress,
    VmcDriver,
    VmcReceiver,
)
from ...inference.engine import Engine
from ...motion.formats.reading import SUFFIXES, ReadOptions, read_motion
from ...motion.retargeting.retarget import Person
from .background import Background
from .manual_control import ManualControl
from .pipeline import AvatarPipeline

_MAX_SCALE = 2.0  # longer side of the images, relative to the network's image size
MakeDriver = Callable[[Avatar], Driver]


def source_of(text: str | None) -> Path | VmcAddress | None:
    """Parse `--source`.

    Raises:
        UserError: an address is malformed.
    """
    if text is None:
        return None
    return VmcAddress.parse(text) if text.startswith(SCHEME) else Path(text)


def is_film(source: Path) -> bool:
    """Return whether a source is a video: neither a capture nor a motion file."""
    return not is_capture(source) and source.suffix.lower() not in SUFFIXES


@dataclass(frozen=True)
class AvatarInfo:
    """What a page needs to know about an avatar."""

    name: str
    width: int  # of its images, pixels
    height: int
    transparent: bool  # can be shown without its background
    actions: tuple[str, ...]  # facial actions
    alignment: bool  # poses can be aligned


class PipelineFactory:
    """Opens the avatars of one folder and what can drive them, and builds pipelines.

    Args:
        avatar: the folder of the first avatar; avatars next to it can be chosen too.
        source: a motion file, capture, video or other program that can drive instead of a camera.
        options: how to read a motion file at `source`.
        rotate: degrees clockwise to rotate a video at `source`, see `video.probe`.
        camera: makes a driver that follows camera images.
        smplx_model: see `body.load_template`.
        marked: see `AvatarPipeline`.
        progress: gets notes on what was inferred about a motion file at `source`.

    Raises:
        UserError: not an avatar; `source` does not exist; `options` without a motion file, or `rotate` without a video.
    """

    def __init__(
        self,
        avatar: Path,
        *,
        source: Path | VmcAddress | None = None,
        options: ReadOptions | None = None,
        rotate: int = 0,
        camera: MakeDriver | None = None,
        accelerator: str = "auto",
        smplx_model: Path | None = None,
        marked: bool = False,
        progress: Progress = SILENT,
    ):
        if not is_avatar(avatar):
            raise UserError(f"{avatar}: not an avatar folder (it has no avatar.json); `ram-avatar create` makes one")
        if isinstance(source, Path) and not source.exists():
            raise UserError(f"{source}: no such file")
        self._options, self._progress = options or ReadOptions(), progress
        if not _is_motion_file(source):
            given = "another program" if isinstance(source, VmcAddress) else source or "without --source"
            self._options.check_unused(given)
        if rotate and not (isinstance(source, Path) and is_film(source)):
            raise UserError("--rotate needs a video as --source")
        self.first_avatar = avatar.resolve().name
        self.source, self.rotate = source, rotate
        self._parent = avatar.resolve().parent
        self._camera, self._marked = camera, marked
        self._device, self._smplx_model = choose_device(accelerator), smplx_model

    @property
    def avatars(self) -> list[str]:
        """Folder names of the avatars that can be chosen."""
        return sorted(path.name for path in self._parent.iterdir() if is_avatar(path))

    @property
    def drivers(self) -> list[str]:
        """The available kinds of drivers, of "source", "camera", "film" (an uploaded video) and "sliders"."""
        with_camera = ["camera", "film"] if self._camera else []
        return [*(["source"] if self.source else []), *with_camera, "sliders"]

    def load(self, name: str) -> tuple[Avatar, AvatarInfo]:
        """Load an avatar by its folder name.

        Raises:
            UserError: there is none, or it is damaged.
        """
        if name not in self.avatars:  # pages may open nothing else
            raise UserError(f"there is no avatar '{name}' in {self._parent}")
        avatar = Avatar.load(self._parent / name, device=self._device, smplx_model=self._smplx_model)
        width, height = _image_size(avatar)
        info = AvatarInfo(
            name=avatar.name,
            width=width,
            height=height,
            transparent=avatar.network.config.alpha,
            actions=tuple(avatar.template.action_names),
            alignment=avatar.alignment is not None,
        )
        return avatar, info

    def pipeline(self, avatar: Avatar, driver: Driver) -> AvatarPipeline:
        """Return a pipeline that is ready to render."""
        painted = "transparent" if avatar.network.config.alpha else None
        size = _image_size(avatar)
        engine, start = Engine(avatar, background=painted, size=size, exact=False), standing(avatar)
        engine.render(start)  # the first frame takes a second; spend it here
        engine.reset()
        return AvatarPipeline(
            engine,
            driver,
            start=start,
            background=Background(avatar.background, size),
            manual=ManualControl(avatar.template),
            marked=self._marked,
        )

    def driver(self, avatar: Avatar, kind: str, film: tuple[Path, str] | None = None) -> Driver:
        """Return a driver.

        Args:
            kind: one of `drivers`.
            film: for an uploaded video, its file and its name.

        Raises:
            UserError: it is not available, or cannot drive this avatar.
        """
        if kind == "sliders":
            return Standing(avatar)
        if kind == "source" and self.source is not None:
            return self._from_source(avatar, self.source)
        if kind == "camera" and self._camera is not None:
            return self._camera(avatar)
        if kind == "film" and self._camera is not None and film is not None:
            return FilmDriver(Film(*film), self._camera(avatar))
        raise UserError(f"driver '{kind}' is not available; choose from {', '.join(self.drivers)}")

    def _from_source(self, avatar: Avatar, source: Path | VmcAddress) -> Driver:
        if isinstance(source, VmcAddress):
            return VmcDriver(avatar, VmcReceiver(source))
        if is_film(source):
            if self._camera is None:
                raise UserError(f"{source}: not a motion file ({', '.join(SUFFIXES)}) and not a capture")
            return FilmDriver(Film(source, source.name, self.rotate), self._camera(avatar))
        template, identity = avatar.template.to("cpu"), avatar.identity.cpu()
        if is_capture(source):
            capture = Capture.load(source)
            motion, shown, identity = capture.motion, capture.shown_motion, capture.identity
            check_template(motion, avatar, source)
        else:
            motion = shown = read_motion(source, template, identity, self._options, self._progress)
        return PlayedMotion(motion, Person.of(shown, template, identity), avatar)


def _is_motion_file(source: Path | VmcAddress | None) -> bool:
    return isinstance(source, Path) and not source.is_dir() and source.suffix.lower() in SUFFIXES


def _image_size(avatar: Avatar) -> tuple[int, int]:
    """Return width and height of an avatar's images: its scene, limited to sizes at which the network has detail."""
    return shrunk(avatar.camera.width, avatar.camera.height, _MAX_SCALE * avatar.size)
