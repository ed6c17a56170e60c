"""The one door for drivers: `open_driver` finds out what drives an avatar, and gives it in two views.

`clip` reads a whole motion, for `animate` and `synth`; `live` drives frame by frame. To add a kind of driver, write a
`DriverSource` and let `open_driver` find it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from ..avatar import Avatar
from ..body import BodyTemplate, load_template
from ..capture.capture import Capture, is_capture
from ..core.errors import UserError
from ..core.progress import SILENT, Progress
from ..core.temporaries import scratch_folder
from ..motion.formats import SUFFIXES, ReadOptions, is_motion_file
from ..motion.formats.reading import read_motion
from ..motion.motion import Motion
from ..motion.retargeting.retarget import Person
from ..video import VideoInfo, probe, read_frames
from .driver import Driver
from .film import Film, FilmDriver
from .options import DriverOptions
from .played_motion import PlayedMotion
from .vmc import SCHEME, VmcAddress, VmcDriver, VmcReceiver

MakeTracker = Callable[[Avatar], Driver]
"""Makes what follows a person in images, for an avatar: `camera.tracker_maker`."""


@dataclass(frozen=True)
class DriverClip:
    """A motion from start to end, and whose motion it is."""

    motion: Motion
    template: BodyTemplate
    identity: Tensor  # [I]
    capture: Capture | None = None  # the video it was tracked in; None for a motion file

    @cached_property
    def person(self) -> Person:
        """The driver's body and place."""
        shown = self.motion if self.capture is None else self.capture.shown_motion
        return Person.of(shown, self.template, self.identity)


class DriverSource(ABC):
    """Something that drives an avatar, found but not read yet.

    Attributes:
        recorded: whether it has an end, so that `clip` can read it.
    """

    recorded = True

    def clip(
        self,
        template: BodyTemplate | None = None,
        identity: Tensor | None = None,
        progress: Progress = SILENT,
    ) -> AbstractContextManager[DriverClip]:
        """Read the whole motion. Files that the clip refers to exist within the context.

        Args:
            template: the template that the motion has to be of. None: that of a capture, or the default one.
            identity: [I] the body of a motion file, which has none of its own. None: the template's default.

        Raises:
            UserError: it cannot be read, it is of another template, or it has no end.
        """
        raise UserError(f"{self}: drives live only; use it with `ram-avatar live`")

    @abstractmethod
    def live(self, avatar: Avatar, tracker: MakeTracker | None = None, progress: Progress = SILENT) -> Driver:
        """Drive an avatar frame by frame.

        Args:
            tracker: follows the person in a video or before a camera.

        Raises:
            UserError: it cannot be read, it is of another template, or it needs a tracker.
        """


class _MotionSource(DriverSource):
    """A driver whose motion is known from start to end."""

    def live(self, avatar: Avatar, tracker: MakeTracker | None = None, progress: Progress = SILENT) -> Driver:
        with self.clip(avatar.template.to("cpu"), avatar.identity.cpu(), progress) as clip:
            return PlayedMotion(clip.motion, clip.person, avatar)


@dataclass(frozen=True)
class MotionFileSource(_MotionSource):
    """A motion file of any format in `motion.formats`."""

    path: Path
    options: ReadOptions = field(default_factory=ReadOptions)

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def clip(
        self,
        template: BodyTemplate | None = None,
        identity: Tensor | None = None,
        progress: Progress = SILENT,
    ) -> Iterator[DriverClip]:
        template = template or load_template(progress=progress)
        identity = template.default_identity() if identity is None else identity
        yield DriverClip(read_motion(self.path, template, identity, self.options, progress), template, identity)


@dataclass(frozen=True)
class CaptureSource(_MotionSource):
    """A capture: a video that was tracked before."""

    path: Path
    fps: float | None = None  # resample to this rate; None keeps the video's
    smplx_model: Path | None = None  # for a capture of that template, see `body.load_template`

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def clip(
        self,
        template: BodyTemplate | None = None,
        identity: Tensor | None = None,
        progress: Progress = SILENT,
    ) -> Iterator[DriverClip]:
        """See `DriverSource.clip`; the identity is the capture's."""
        capture = Capture.load(self.path)
        motion = capture.motion
        if template is None:
            template = load_template(motion.template, smplx_model=self.smplx_model, progress=progress)
        capture.check_template(template)
        if self.fps is not None:
            motion = motion.resampled(self.fps)
        yield DriverClip(motion, template, capture.identity, capture)


@dataclass(frozen=True)
class VideoSource(DriverSource):
    """A video of a person, who is tracked.

    `clip` tracks the whole video offline; `live` decodes it in a confined process and follows the person frame by
    frame, so it also takes files from strangers.
    """

    path: Path
    rotate: Literal[0, 90, 180, 270] = 0
    face_model: Path | None = None
    name: str | None = None  # what the user calls the file; None for its path

    def __str__(self) -> str:
        return self.name or str(self.path)

    def probe(self) -> VideoInfo:
        """Return the video's size, rate and length."""
        return probe(self.path, self.rotate)

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8."""
        return read_frames(self.path, rotate=self.rotate)

    @contextmanager
    def clip(
        self,
        template: BodyTemplate | None = None,
        identity: Tensor | None = None,
        progress: Progress = SILENT,
    ) -> Iterator[DriverClip]:
        """See `DriverSource.clip`; the identity is that of the person in the video."""
        from ..tracking.offline.options import TrackOptions
        from ..tracking.offline.track import track  # loads the detector, which no other driver needs

        template = template or load_template(progress=progress)
        with scratch_folder() as scratch:
            capture = track(
                self.path,
                scratch / "capture",
                TrackOptions(face_model=self.face_model, rotate=self.rotate),
                template=template,
                one_scene=False,
                progress=progress,
            )
            yield DriverClip(capture.motion, template, capture.identity, capture)

    def live(self, avatar: Avatar, tracker: MakeTracker | None = None, progress: Progress = SILENT) -> Driver:
        if tracker is None:
            raise UserError(_no_motion(self))
        return FilmDriver(Film(self.path, self.name or self.path.name, self.rotate), tracker(avatar))


@dataclass(frozen=True)
class VmcSource(DriverSource):
    """Another program that sends a humanoid over the Virtual Motion Capture protocol."""

    recorded = False
    address: VmcAddress

    def __str__(self) -> str:
        return "another program"

    def live(self, avatar: Avatar, tracker: MakeTracker | None = None, progress: Progress = SILENT) -> Driver:
        return VmcDriver(avatar, VmcReceiver(self.address))


@dataclass(frozen=True)
class CameraSource(DriverSource):
    """A person before a camera, whose images are passed to `Driver.drive`."""

    recorded = False

    def __str__(self) -> str:
        return "without --source"

    def live(self, avatar: Avatar, tracker: MakeTracker | None = None, progress: Progress = SILENT) -> Driver:
        if tracker is None:
            raise UserError("a camera needs a tracker that follows the person")
        return tracker(avatar)


def open_driver(what: str | Path | None, options: DriverOptions = DriverOptions()) -> DriverSource:
    """Find out what kind of driver is named. Its content is not read yet.

    Args:
        what: a video, a capture folder, a motion file, an address such as `vmc://:39539`, or None for a camera.

    Raises:
        UserError: there is no such file, a bad address, or an option that this kind of driver does not use.
    """
    source = _find(what, options)
    if not isinstance(source, MotionFileSource):
        options.check_unused(source)
    if options.rotate and not isinstance(source, VideoSource):
        raise UserError(f"{source}: --rotate is for videos")
    return source


def open_motion(
    what: str | Path, options: ReadOptions | None = None, *, smplx_model: Path | None = None
) -> MotionFileSource | CaptureSource:
    """Open a driver whose motion is known already: a motion file or a capture. `options.fps` resamples either.

    Args:
        smplx_model: for a capture of that template, see `body.load_template`.

    Raises:
        UserError: there is no such file, it is neither, or an option is set that a capture does not use.
    """
    options, source = options or ReadOptions(), _find(what)
    if isinstance(source, CaptureSource):
        options.check_unused(source, rate=True)
        return CaptureSource(source.path, options.fps, smplx_model)
    if not isinstance(source, MotionFileSource):
        raise UserError(_no_motion(source))
    return MotionFileSource(source.path, options)


def _find(what: str | Path | None, options: DriverOptions = DriverOptions()) -> DriverSource:
    if what is None:
        return CameraSource()
    if isinstance(what, str) and what.startswith(SCHEME):
        return VmcSource(VmcAddress.parse(what))
    path = Path(what)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if is_capture(path):
        return CaptureSource(path)
    if path.is_dir():
        raise UserError(f"{path}: a folder, but not a capture folder")
    if is_motion_file(path):
        return MotionFileSource(path, options)
    return VideoSource(path, options.rotate, options.face_model)


def _no_motion(source: DriverSource) -> str:
    return f"{source}: not a motion file ({', '.join(SUFFIXES)}) and not a capture"
