"""What all pages of a server share: one session, who drives it, who watches, and its files."""

import asyncio
import dataclasses
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...avatar import Avatar, generated_by
from ...core.errors import UserError
from ...drivers.settings import Settings
from ...video.untrusted import Decoder, read_untrusted_picture
from ..protocol import CameraFrame
from ..session.pipeline import Pipeline
from ..session.session import Outlet, Session
from ..session.sinks import (
    LONGEST_RECORDING,
    Mailbox,
    PageOutlet,
    Recorder,
    ViewOutlet,
    VirtualCamera,
)
from ..studio import Facts, Studio

MOST_VIEWS = 8
GRACE = 15.0  # seconds that a page that lost its network may stay away
_MOST_RECORDINGS = 5  # kept until the server ends


class Page:
    """The page that drives. Its events and answers wait here for the socket.

    Args:
        ident: of the tab; the same tab may come back.
    """

    def __init__(self, ident: str, wake: Callable[[], None]):
        self.ident = ident
        self.mailbox = Mailbox(wake)
        self.outlet = PageOutlet(self.mailbox)
        self.events: deque[dict] = deque(maxlen=256)
        self.dismissed: str | None = None  # why it has to go
        self._wake = wake

    def tell(self, event: dict) -> None:
        self.events.append(event)
        self._wake()

    def dismiss(self, reason: str) -> None:
        self.dismissed = reason
        self._wake()


class Host:
    """Lives in the server's event loop; the session's worker speaks to it through that loop.

    Args:
        folder: for uploads and recordings; belongs to the host, and is removed with it.
        virtual_camera: show everything on one as well.
    """

    def __init__(self, studio: Studio, folder: Path, *, virtual_camera: bool = False):
        self.studio = studio
        self.settings = Settings()
        self.page: Page | None = None
        self.recordings: dict[str, Path] = {}
        self.failed: str | None = None
        self._folder, self._wants_camera = folder, virtual_camera
        self._avatar: Avatar | None = None
        self._facts: Facts | None = None
        self._kind = studio.drivers[0]
        self._film: tuple[Path, str] | None = None
        self._views: set[ViewOutlet] = set()
        self._camera: VirtualCamera | None = None
        self._recorder: Recorder | None = None
        self._recording_since = 0.0
        self._resting: asyncio.Task | None = None
        self._loop = asyncio.get_running_loop()
        self.session = self._new_session()

    # The session --------------------------------------------------------------------------------------------

    def _new_session(self) -> Session:
        session = Session(self._open, lambda event: self._from_worker(session, event))
        return session

    def _open(self) -> Pipeline:
        """Called by the worker."""
        avatar, facts = self.studio.load(self.studio.current)
        kind = self._kind if self._kind in self.studio.drivers else self.studio.drivers[-1]
        pipeline = self.studio.pipeline(avatar, self.studio.driver(avatar, kind, self._film))
        pipeline.settings = self.settings
        if self._wants_camera and self._camera is None:
            self._camera = VirtualCamera((facts.width, facts.height))
            self.session.add(self._camera)
        self._avatar, self._facts = avatar, facts
        return pipeline

    def _from_worker(self, session: Session, event: dict) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(self._heard, session, event)

    def _heard(self, session: Session, event: dict) -> None:
        if session is not self.session:
            return
        if event["type"] == "failed":
            self.failed = event["text"]
        self.tell(self.welcome() if event["type"] == "ready" else event)

    def tell(self, event: dict) -> None:
        """Let the page know, where there is one."""
        if self.page is not None:
            self.page.tell(event)

    def welcome(self) -> dict:
        """Everything a page has to know when it comes, or when another avatar is there."""
        if self.failed is not None:
            return {"type": "failed", "text": self.failed}
        if self._facts is None:
            return {"type": "loading", "avatar": self.studio.current}
        return {
            "type": "welcome",
            "avatar": self.studio.current,
            "avatars": self.studio.avatars,
            "facts": dataclasses.asdict(self._facts),
            "drivers": self.studio.drivers,
            "driver": self._kind,
            "settings": dataclasses.asdict(self.settings),
            "recording": self._recorder is not None,
            "recordings": list(self.recordings),
            "virtual_camera": self._camera.name if self._camera else None,
        }

    async def stop(self) -> bool:
        """End cleanly: what was recorded so far is closed, the worker is waited for; False where that takes too
        long."""
        if self._recorder is not None:
            await self.stop_recording()
        ended = await asyncio.to_thread(self.session.close)
        if self._camera is not None:
            self._camera.close()
        return ended

    # Pages and views ----------------------------------------------------------------------------------------

    def enter(self, page: Page, *, take_over: bool) -> bool:
        """A page comes; False where another one drives and shall go on doing so."""
        if self.page is not None and self.page.ident != page.ident:
            if not take_over:
                return False
            self.page.dismiss("taken")
        elif self.page is not None:
            self.page.dismiss("replaced")  # the same tab, back on another connection
        if self.page is not None:
            self.session.remove(self.page.outlet)
        if self._resting is not None:
            self._resting.cancel()
        self.page = page
        page.outlet.transparent = self._transparent
        self.session.add(page.outlet)
        page.tell(self.welcome())
        return True

    def leave(self, page: Page) -> None:
        """A page goes: for good, or its network is gone and it will be back."""
        self.session.remove(page.outlet)
        if self.page is page:
            self.page = None
            self._resting = self._loop.create_task(self._rest())

    async def _rest(self) -> None:
        """Where nobody comes back, the next page finds everything as at the start."""
        await asyncio.sleep(GRACE)
        if self._recorder is not None:
            await self.stop_recording()
        self.settings, self._kind = Settings(), self.studio.drivers[0]
        self.session.rest()
        self._with_avatar(self._start_afresh)
        self._remove_film()

    def _start_afresh(self, pipeline: Pipeline) -> None:
        pipeline.settings = self.settings
        self._start_driver(pipeline)

    def watch(self, view: ViewOutlet) -> bool:
        """A view comes; False where there are too many."""
        if len(self._views) >= MOST_VIEWS:
            return False
        self._views.add(view)
        self.session.add(view)
        return True

    def unwatch(self, view: ViewOutlet) -> None:
        self._views.discard(view)
        self.session.remove(view)

    # What a page may ask for --------------------------------------------------------------------------------

    def offer(self, frame: CameraFrame) -> None:
        self.session.offer(frame)

    async def answer(self, request: dict) -> None:
        """Do what a page asks for.

        Raises:
            UserError: it cannot be done, or is not known.
        """
        asked = getattr(self, f"_on_{request['type']}", None)
        if asked is None:
            raise UserError(f"this server does not know '{request['type'][:40]}'; reload the page")
        made = asked(request)
        if made is not None:
            await made

    def _on_settings(self, request: dict) -> None:
        actions = self._facts.actions if self._facts else ()
        changes = request.get("changes")
        if not isinstance(changes, dict):
            raise UserError("settings want changes")
        self._set(self.settings.changed(changes, actions))

    def _set(self, settings: Settings) -> None:
        if settings.background == "transparent" and self._facts and not self._facts.transparent:
            raise UserError("this avatar was learned with its background; it cannot be transparent")
        self.settings = settings

        def apply(pipeline: Pipeline) -> None:
            pipeline.settings = settings

        self.session.call(apply)
        if self.page is not None:
            self.page.outlet.transparent = self._transparent
        self.tell({"type": "settings", "settings": dataclasses.asdict(settings)})

    @property
    def _transparent(self) -> bool:
        return self.settings.background == "transparent"

    def _on_calibrate(self, request: dict) -> None:
        self.session.call(lambda pipeline: pipeline.calibrate())

    def _on_reset(self, request: dict) -> None:
        self.session.call(lambda pipeline: pipeline.reset())

    def _on_driver(self, request: dict) -> None:
        kind = request.get("kind")
        if kind not in self.studio.drivers or (kind == "film" and self._film is None):
            raise UserError(f"'{kind}' cannot drive here")
        self._kind = kind
        self._with_avatar(self._start_driver)
        if kind != "film":
            self._remove_film()
        self.tell({"type": "driver", "driver": kind})

    def _start_driver(self, pipeline: Pipeline) -> None:
        pipeline.use(self.studio.driver(self._avatar, self._kind, self._film))

    def _with_avatar(self, command: Callable[[Pipeline], None]) -> None:
        if self.failed is None:
            self.session.call(command)

    async def _on_avatar(self, request: dict) -> None:
        name = request.get("name")
        if name not in self.studio.avatars:
            raise UserError(f"there is no avatar '{name}'")
        old = self.session
        self.studio.current, self.failed, self._facts = name, None, None
        self.settings = dataclasses.replace(self.settings, face={}, fingers={})
        self.tell(self.welcome())
        await asyncio.to_thread(old.close, 30.0)  # two avatars at once might not fit into memory
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        if self.session is not old:
            return
        self.session = self._new_session()
        for outlet in (*([self.page.outlet] if self.page else []), *self._views, *self._recording()):
            self.session.add(outlet)
        self.session.start()

    def _recording(self) -> list[Outlet]:
        return [self._recorder] if self._recorder else []

    def _on_coding(self, request: dict) -> None:
        outlet, h264 = self.page.outlet, request.get("h264") is True
        self.session.call(lambda _: outlet.pack_as(h264))

    def _on_keyframe(self, request: dict) -> None:
        outlet = self.page.outlet
        self.session.call(lambda _: outlet.start_over())

    async def _on_record(self, request: dict) -> None:
        if request.get("on") is True:
            self.start_recording()
        elif self._recorder is not None:
            await self.stop_recording()

    def start_recording(self) -> None:
        """From the next picture on."""
        if self._avatar is None or self._recorder is not None:
            raise UserError("a recording runs already" if self._recorder else "the avatar is not there yet")
        while len(self.recordings) >= _MOST_RECORDINGS:
            self.recordings.pop(next(iter(self.recordings))).unlink(missing_ok=True)
        path = self._folder / f"{secrets.token_urlsafe(12)}.mp4"
        self._recorder = Recorder(path, (self._facts.width, self._facts.height), generated_by(self._avatar))
        self._recording_since = time.monotonic()
        self.session.add(self._recorder)
        self.tell({"type": "recording"})

    async def end_long_recording(self) -> None:
        """A recording that is too long, or cannot be written on, ends by itself."""
        if self._recorder is not None:
            long = time.monotonic() - self._recording_since > LONGEST_RECORDING
            if long or self._recorder.error is not None:
                await self.stop_recording()

    async def stop_recording(self) -> None:
        """Close the file; the page is told where to get it."""
        recorder, self._recorder = self._recorder, None
        self.session.remove(recorder)
        try:
            await asyncio.to_thread(recorder.finish)
        except UserError as error:
            self.tell({"type": "recorded", "text": str(error)})
            return
        self.recordings[recorder.path.stem] = recorder.path
        seconds = round(time.monotonic() - self._recording_since, 1)
        self.tell({"type": "recorded", "recording": recorder.path.stem, "seconds": seconds})

    # Uploads ------------------------------------------------------------------------------------------------

    def scratch(self) -> Path:
        """A new name for an upload."""
        return self._folder / f"{secrets.token_urlsafe(12)}.upload"

    async def take_film(self, path: Path, name: str) -> None:
        """Drive with an uploaded video from now on; the file is the host's and is removed when it is not used.

        Raises:
            UserError: it cannot be decoded, or nothing here could be driven by it. The file is removed.
        """
        try:
            if "film" not in self.studio.drivers:
                raise UserError("no tracker is here that could follow the person in a video")
            decoder = Decoder("film", path, name)
            try:
                if await asyncio.to_thread(decoder.next) is None:
                    raise UserError(f"{name}: holds no video frames")
            finally:
                decoder.close()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._remove_film()
        self._film, self._kind = (path, name), "film"
        self._with_avatar(self._start_driver)
        self.tell({"type": "driver", "driver": "film", "name": name})

    def _remove_film(self) -> None:
        """After the driver that reads it is gone."""
        if self._film is None:
            return
        path, self._film = self._film[0], None
        self.session.call(lambda _: path.unlink(missing_ok=True))

    async def take_picture(self, path: Path, name: str) -> None:
        """An uploaded picture as background. The file is removed.

        Raises:
            UserError: it cannot be decoded.
        """
        try:
            picture = await asyncio.to_thread(read_untrusted_picture, path, name)
        finally:
            path.unlink(missing_ok=True)
        self.session.call(lambda pipeline: pipeline.backdrop.choose(picture))
        self._set(dataclasses.replace(self.settings, background="picture"))
