"""Opens avatars, and sets up what drives them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..animate import check_template
from ..avatar import Avatar, is_avatar
from ..capture.capture import Capture, is_capture
from ..core.device import choose_device
from ..core.errors import UserError
from ..core.images import shrunk
from ..core.progress import SILENT, Progress
from ..drivers.driver import Driver
from ..drivers.film import Film, FilmDriver
from ..drivers.played_motion import PlayedMotion, Standing, standing
from ..drivers.vmc import (
    SCHEME,
    VmcAddress,
    VmcDriver,
    VmcReceiver,
)
from ..inference.engine import Engine
from ..motion.formats.reading import SUFFIXES, ReadOptions, read_motion
from ..motion.retargeting.retarget import Person
from .manual import ManualControl
from .session.backdrop import Backdrop
from .session.pipeline import AvatarPipeline

_LARGEST = 2.0  # sides of the close-up that the scene's longer side has
MakeDriver = Callable[[Avatar], Driver]


def source_of(text: str | None) -> Path | VmcAddress | None:
    """What `--source` names; raises UserError where an address is none."""
    if text is None:
        return None
    return VmcAddress.parse(text) if text.startswith(SCHEME) else Path(text)


def is_film(source: Path) -> bool:
    """Whether a source is a video: neither a capture nor a motion file."""
    return not is_capture(source) and source.suffix.lower() not in SUFFIXES


@dataclass(frozen=True)
class Facts:
    """What a page has to know of an avatar."""

    name: str
    width: int  # pixels of its pictures
    height: int
    transparent: bool  # whether it can be shown without its room
    actions: tuple[str, ...]
    alignment: bool  # whether poses can be aligned


class Studio:
    """The avatars of one folder, and what can drive them.

    Args:
        avatar: the folder of the avatar to begin with; the others that lie beside it can be chosen.
        source: a motion file, a capture, a video or another program that drives in the place of a camera.
        options: what a motion file at `source` does not say.
        rotate: degrees clockwise to turn a video that is the source by, see `video.probe`.
        camera: makes what drives from a camera's pictures.
        smplx_model: see `body.load_template`.
        marked: see `AvatarPipeline`.
        progress: told what was inferred of a motion file at `source`.

    Raises:
        UserError: not an avatar; `source` is not there; `options` without a motion file, or `rotate` without a video.
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
            told = "another program" if isinstance(source, VmcAddress) else source or "without --source"
            self._options.check_unused(told)
        if rotate and not (isinstance(source, Path) and is_film(source)):
            raise UserError("--rotate is for a video that is the --source")
        self.current = avatar.resolve().name
        self.source, self.rotate = source, rotate
        self._parent = avatar.resolve().parent
        self._camera, self._marked = camera, marked
        self._device, self._smplx_model = choose_device(accelerator), smplx_model

    @property
    def avatars(self) -> list[str]:
        """Names of the folders beside the first avatar's that hold one."""
        return sorted(path.name for path in self._parent.iterdir() if is_avatar(path))

    @property
    def drivers(self) -> list[str]:
        """What can drive: "camera", "source", "film" and "sliders"."""
        with_camera = ["camera", "film"] if self._camera else []
        return [*(["source"] if self.source else []), *with_camera, "sliders"]

    def load(self, name: str) -> tuple[Avatar, Facts]:
        """An avatar by its folder's name; raises UserError where there is none, or it is damaged."""
        if name not in self.avatars:  # nothing else may be opened through the page
            raise UserError(f"there is no avatar '{name}' in {self._parent}")
        avatar = Avatar.load(self._parent / name, device=self._device, smplx_model=self._smplx_model)
        width, height = picture_size(avatar)
        facts = Facts(
            name=avatar.name,
            width=width,
            height=height,
            transparent=avatar.network.config.alpha,
            actions=tuple(avatar.template.action_names),
            alignment=avatar.alignment is not None,
        )
        return avatar, facts

    def pipeline(self, avatar: Avatar, driver: Driver) -> AvatarPipeline:
        background = "transparent" if avatar.network.config.alpha else None
        size = picture_size(avatar)
        engine, start = Engine(avatar, background=background, size=size, exact=False), standing(avatar)
        engine.render(start)  # the first frame takes a second: better now than before somebody who moves
        engine.reset()
        return AvatarPipeline(
            engine,
            driver,
            start=start,
            backdrop=Backdrop(avatar.background, size),
            manual=ManualControl(avatar.template),
            marked=self._marked,
        )

    def driver(self, avatar: Avatar, kind: str, film: tuple[Path, str] | None = None) -> Driver:
        """One of `drivers`; `film` is the file of an uploaded video and its name.

        Raises:
            UserError: it cannot drive this avatar.
        """
        if kind not in self.drivers or (kind == "film" and film is None):
            raise UserError(f"'{kind}' cannot drive here; there is {', '.join(self.drivers)}")
        if kind == "sliders":
            return Standing(avatar)
        if kind == "camera":
            return self._camera(avatar)
        if kind == "film":
            return FilmDriver(Film(*film), self._camera(avatar))
        return self._from_source(avatar, self.source)

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


def picture_size(avatar: Avatar) -> tuple[int, int]:
    """Width and height of an avatar's pictures: its scene, no larger than the network's detail is worth sending."""
    return shrunk(avatar.camera.width, avatar.camera.height, _LARGEST * avatar.size)
