"""The hub: one avatar session, shared by the page that drives it and the views that watch."""

import asyncio
import dataclasses
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from ...avatar import Avatar, generated_by
from ...core.errors import UserError
from ...drivers.settings import Settings
from ...video.untrusted import Decoder, read_untrusted_picture
from ..session.pipeline import Pipeline
from ..session.pipeline_factory import AvatarInfo, PipelineFactory
from ..session.session import Session
from ..session.sinks import Sink, ViewSink
from ..session.virtual_camera import VirtualCamera
from .page import Page
from .recordings import Recordings

MAX_VIEWS = 8
GRACE = 15.0  # seconds in which a page may reconnect before everything is reset
_UNLOAD_TIMEOUT = 30.0  # seconds


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """The avatar that is shown."""

    avatar: Avatar
    info: AvatarInfo


class Hub:
    """Holds the session, its settings, its page and views, and their files.

    Lives in the server's event loop; the session's worker reaches it through that loop.

    Args:
        folder: for uploads and recordings. Belongs to the hub; the caller removes it.
        virtual_camera: also show the avatar on a virtual camera.
    """

    def __init__(self, factory: PipelineFactory, folder: Path, *, virtual_camera: bool = False):
        self.avatar_name = factory.first_avatar
        self.settings = Settings()
        self.page: Page | None = None
        self.recordings = Recordings(folder)
        self._factory, self._folder, self._wants_camera = factory, folder, virtual_camera
        self._loaded: _Loaded | None = None
        self._failure: str | None = None
        self._driver = factory.drivers[0]
        self._film: tuple[Path, str] | None = None  # of an upload: the file, and its name
        self._views: set[ViewSink] = set()
        self._camera: VirtualCamera | None = None
        self._reset_task: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._handlers: dict[str, Callable[[dict], Awaitable[None] | None]] = {
            "avatar": self._choose_avatar,
            "calibrate": lambda _: self.session.call(lambda pipeline: pipeline.calibrate()),
            "coding": self._choose_coding,
            "driver": self._choose_driver,
            "keyframe": self._send_keyframe,
            "record": self._record,
            "reset": lambda _: self.session.call(lambda pipeline: pipeline.reset()),
            "settings": self._change_settings,
        }
        self._loop = asyncio.get_running_loop()
        self.session = self._new_session()

    # Session ------------------------------------------------------------------------------------------------

    def _new_session(self) -> Session:
        session = Session(self._open, lambda event: self._from_worker(session, event))
        return session

    def _open(self) -> Pipeline:
        """Load the avatar. Called by the worker."""
        avatar, info = self._factory.load(self.avatar_name)
        kind = self._driver if self._driver in self._factory.drivers else self._factory.drivers[-1]
        pipeline = self._factory.pipeline(avatar, self._factory.driver(avatar, kind, self._film))
        pipeline.settings = self.settings
        if self._wants_camera and self._camera is None:
            self._camera = VirtualCamera((info.width, info.height))
            self.session.add(self._camera)
        self._loaded = _Loaded(avatar, info)
        return pipeline

    def _from_worker(self, session: Session, event: dict) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._on_session_event, session, event)

    def _on_session_event(self, session: Session, event: dict) -> None:
        if session is not self.session:
            return
        if event["type"] == "failed":
            self._failure = event["text"]
        self._send_event(self._welcome() if event["type"] == "ready" else event)

    def _send_event(self, event: dict) -> None:
        """Send an event to the page, if there is one."""
        if self.page is not None:
            self.page.send_event(event)

    def _welcome(self) -> dict:
        """Return the event with the full state: for a page that connects, or when another avatar is loaded."""
        if self._failure is not None:
            return {"type": "failed", "text": self._failure}
        if self._loaded is None:
            return {"type": "loading", "avatar": self.avatar_name}
        return {
            "type": "welcome",
            "avatar": self.avatar_name,
            "avatars": self._factory.avatars,
            "facts": dataclasses.asdict(self._loaded.info),
            "drivers": self._factory.drivers,
            "driver": self._driver,
            "settings": dataclasses.asdict(self.settings),
            "recording": self.recordings.recorder is not None,
            "recordings": list(self.recordings.finished),
            "virtual_camera": self._camera.name if self._camera else None,
        }

    async def stop(self) -> bool:
        """Finish the recording and stop the worker; return False if the worker does not stop in time."""
        await self._stop_recording()
        stopped = await asyncio.to_thread(self.session.close)
        if self._camera is not None:
            self._camera.close()
        return stopped

    # Pages and views ----------------------------------------------------------------------------------------

    def connect(self, page: Page, *, take_over: bool) -> bool:
        """Let a page drive; return False if another one does and is not to be replaced.

        A session that failed starts over.
        """
        if self.page is not None:
            same_tab = self.page.tab == page.tab  # reconnecting, perhaps before the old connection was closed
            if not same_tab and not take_over:
                return False
            self.page.close("replaced" if same_tab else "taken")
            self.session.remove(self.page.sink)
        if self._reset_task is not None:
            self._reset_task.cancel()
        if self._failure is not None:
            self._start_over()
        self.page = page
        page.sink.transparent = self._transparent
        self.session.add(page.sink)
        page.send_event(self._welcome())
        return True

    def disconnect(self, page: Page) -> None:
        """Remove a page. It may reconnect within `GRACE` seconds."""
        self.session.remove(page.sink)
        if self.page is page:
            self.page = None
            self._reset_task = self._loop.create_task(self._reset_after_grace())

    def _start_over(self) -> None:
        """Start a new session, in the initial state, after the last one failed."""
        self._remove_film()
        self._forget_choices()
        self._failure, self._loaded = None, None
        self._replacing = self._loop.create_task(self._replace_session())

    def _forget_choices(self) -> None:
        self.settings, self._driver = Settings(), self._factory.drivers[0]

    async def _reset_after_grace(self) -> None:
        """Return to the initial state, for the next page."""
        await asyncio.sleep(GRACE)
        await self._stop_recording()
        self._forget_choices()
        self.session.reset()
        self.session.call(self._restart, limited=False)
        self._remove_film()

    def _restart(self, pipeline: Pipeline) -> None:
        pipeline.settings = self.settings
        self._start_driver(pipeline)

    def add_view(self, view: ViewSink) -> bool:
        """Add a view; return False if there are too many."""
        if len(self._views) >= MAX_VIEWS:
            return False
        self._views.add(view)
        self.session.add(view)
        return True

    def remove_view(self, view: ViewSink) -> None:
        """Remove a view."""
        self._views.discard(view)
        self.session.remove(view)

    # Requests of the page -----------------------------------------------------------------------------------

    async def handle(self, request: dict) -> None:
        """Do what the page requests.

        Raises:
            UserError: the request is unknown, or cannot be fulfilled.
        """
        handler = self._handlers.get(request["type"])
        if handler is None:
            raise UserError(f"unknown request '{request['type'][:40]}'; reload the page")
        made = handler(request)
        if made is not None:
            await made

    def _change_settings(self, request: dict) -> None:
        changes = request.get("changes")
        if not isinstance(changes, dict):
            raise UserError("a settings request needs `changes`")
        self._set(self.settings.changed(changes, self._loaded.info.actions if self._loaded else ()))

    def _set(self, settings: Settings) -> None:
        if settings.background == "transparent" and self._loaded and not self._loaded.info.transparent:
            raise UserError("this avatar was trained with its background and cannot be transparent")
        self.settings = settings

        def apply(pipeline: Pipeline) -> None:
            pipeline.settings = settings

        self.session.call(apply)
        if self.page is not None:
            self.page.sink.transparent = self._transparent
        self._send_event({"type": "settings", "settings": dataclasses.asdict(settings)})

    @property
    def _transparent(self) -> bool:
        return self.settings.background == "transparent"

    def _choose_driver(self, request: dict) -> None:
        kind = request.get("kind")
        if kind not in self._factory.drivers or (kind == "film" and self._film is None):
            raise UserError(f"no driver '{kind}'")
        self._driver = kind
        self._call(self._start_driver)
        if kind != "film":
            self._remove_film()
        self._send_event({"type": "driver", "driver": kind})

    def _start_driver(self, pipeline: Pipeline) -> None:
        """Called by the worker."""
        if self._loaded is not None:  # otherwise another avatar is being loaded, which will use the driver
            pipeline.use(self._factory.driver(self._loaded.avatar, self._driver, self._film))

    def _call(self, command: Callable[[Pipeline], None]) -> None:
        if self._failure is None:
            self.session.call(command)

    async def _choose_avatar(self, request: dict) -> None:
        name = request.get("name")
        if name not in self._factory.avatars:
            raise UserError(f"no avatar '{name}'")
        self.avatar_name, self._failure, self._loaded = name, None, None
        self.settings = dataclasses.replace(self.settings, face={}, fingers={})
        self._send_event(self._welcome())
        await self._replace_session()

    async def _replace_session(self) -> None:
        """End the session, and start a new one."""
        old = self.session
        await asyncio.to_thread(old.close, _UNLOAD_TIMEOUT)  # two avatars at once might not fit into memory
        if self.session is not old:
            return
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        self.session = self._new_session()
        for sink in self._sinks():
            self.session.add(sink)
        self.session.start()

    def _sinks(self) -> list[Sink]:
        sinks: list[Sink] = [*self._views]
        if self.page is not None:
            sinks.append(self.page.sink)
        if self.recordings.recorder is not None:
            sinks.append(self.recordings.recorder)
        return sinks

    def _choose_coding(self, request: dict) -> None:
        h264 = request.get("h264") is True
        if self.page is not None:
            sink = self.page.sink
            self.session.call(lambda _: sink.use_h264(h264))

    def _send_keyframe(self, request: dict) -> None:
        if self.page is not None:
            sink = self.page.sink
            self.session.call(lambda _: sink.restart())

    # Recording ----------------------------------------------------------------------------------------------

    async def _record(self, request: dict) -> None:
        if request.get("on") is True:
            self._start_recording()
        else:
            await self._stop_recording()

    def _start_recording(self) -> None:
        if self._loaded is None:
            raise UserError("the avatar is not loaded yet")
        info = self._loaded.info
        self.session.add(self.recordings.start((info.width, info.height), generated_by(self._loaded.avatar)))
        self._send_event({"type": "recording"})

    async def end_overdue_recording(self) -> None:
        """End a recording that is too long or cannot be written."""
        if self.recordings.overdue:
            await self._stop_recording()

    async def _stop_recording(self) -> None:
        """Finish the recording, if there is one, and report it to the page."""
        recorder = self.recordings.recorder
        if recorder is not None:
            self.session.remove(recorder)
            self._send_event({"type": "recorded", **await self.recordings.finish(recorder)})

    # Uploads ------------------------------------------------------------------------------------------------

    def upload_path(self) -> Path:
        """Return a new file name for an upload."""
        return self._folder / f"{secrets.token_urlsafe(12)}.upload"

    async def use_film(self, path: Path, name: str) -> None:
        """Drive with an uploaded video. The hub takes the file and removes it once it is no longer used.

        Raises:
            UserError: the video cannot be decoded, or there is no tracker. The file is removed.
        """
        try:
            if "film" not in self._factory.drivers:
                raise UserError("no tracker is available to follow the person in a video")
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
        self._film, self._driver = (path, name), "film"
        self._call(self._start_driver)
        self._send_event({"type": "driver", "driver": "film", "name": name})

    def _remove_film(self) -> None:
        """Remove the uploaded video, after the driver that reads it is closed."""
        if self._film is None:
            return
        path, self._film = self._film[0], None
        if self._failure is None:
            self.session.call(lambda _: path.unlink(missing_ok=True), limited=False)
        else:  # the session has ended, and calls nothing
            path.unlink(missing_ok=True)

    async def use_picture(self, path: Path, name: str) -> None:
        """Use an uploaded image as background. The file is removed.

        Raises:
            UserError: the image cannot be decoded.
        """
        try:
            image = await asyncio.to_thread(read_untrusted_picture, path, name)
        finally:
            path.unlink(missing_ok=True)
        self.session.call(lambda pipeline: pipeline.background.use_image(image))
        self._set(dataclasses.replace(self.settings, background="picture"))
