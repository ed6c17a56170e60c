"""Opens avatars and their drivers, and builds pipelines from them."""

from dataclasses import dataclass
from pathlib import Path

from ...avatar import Avatar, is_avatar
from ...core.device import choose_device
from ...core.errors import UserError
from ...core.images import shrunk
from ...core.progress import SILENT, Progress
from ...drivers.driver import Driver
from ...drivers.options import DriverOptions
from ...drivers.played_motion import Standing, standing
from ...drivers.sources import CameraSource, MakeTracker, VideoSource, open_driver
from ...inference.engine import Engine
from .background import Background
from .manual_control import ManualControl
from .pipeline import AvatarPipeline

_MAX_SCALE = 2.0  # longer side of the images, relative to the network's image size


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
        source: what can drive instead of a camera, see `open_driver`; None for nothing.
        options: what the source does not say.
        camera: makes a driver that follows a person in camera images; None if there is none.
        smplx_model: see `body.load_template`.
        marked: see `AvatarPipeline`.
        progress: gets notes on what was inferred about a motion file at `source`.

    Raises:
        UserError: not an avatar; see `open_driver` for `source` and `options`.
    """

    def __init__(
        self,
        avatar: Path,
        *,
        source: str | Path | None = None,
        options: DriverOptions = DriverOptions(),
        camera: MakeTracker | None = None,
        accelerator: str = "auto",
        smplx_model: Path | None = None,
        marked: bool = False,
        progress: Progress = SILENT,
    ):
        if not is_avatar(avatar):
            raise UserError(f"{avatar}: not an avatar folder (it has no avatar.json); `ram-avatar create` makes one")
        self.source = open_driver(source, options)
        self.first_avatar = avatar.resolve().name
        self._parent = avatar.resolve().parent
        self._camera, self._marked, self._progress = camera, marked, progress
        self._device, self._smplx_model = choose_device(accelerator), smplx_model

    @property
    def avatars(self) -> list[str]:
        """Folder names of the avatars that can be chosen."""
        return sorted(path.name for path in self._parent.iterdir() if is_avatar(path))

    @property
    def drivers(self) -> list[str]:
        """The available kinds of drivers, of "source", "camera", "film" (an uploaded video) and "sliders"."""
        with_camera = ["camera", "film"] if self._camera else []
        return [*([] if isinstance(self.source, CameraSource) else ["source"]), *with_camera, "sliders"]

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
        if kind not in self.drivers or (kind == "film" and film is None):
            raise UserError(f"driver '{kind}' is not available; choose from {', '.join(self.drivers)}")
        source = self.source
        if kind == "camera":
            source = CameraSource()
        elif kind == "film" and film is not None:
            path, name = film
            source = VideoSource(path, name=name)
        return source.live(avatar, self._camera, self._progress)


def _image_size(avatar: Avatar) -> tuple[int, int]:
    """Return width and height of an avatar's images: its scene, limited to sizes at which the network has detail."""
    return shrunk(avatar.camera.width, avatar.camera.height, _MAX_SCALE * avatar.size)
