"""The live server as an ASGI application: its routes, its middleware, and the hub behind them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute

from ..session.pipeline_factory import PipelineFactory
from ..session.rate_limit import RateLimit
from .access import Access, AccessMiddleware
from .files import receive_upload, send_recording, send_static
from .hub import Hub
from .security_headers import SecurityHeadersMiddleware
from .sockets import serve_page, serve_view

_UPLOADS, _UPLOAD_BURST = 0.2, 5  # a second, and at once


def create_app(factory: PipelineFactory, access: Access, folder: Path, *, virtual_camera: bool = False) -> Starlette:
    """Return the application. Its session starts and ends with it.

    Args:
        folder: for uploads and recordings; the caller removes it.
        virtual_camera: also show the avatar on a virtual camera.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.hub = Hub(factory, folder, virtual_camera=virtual_camera)
        app.state.hub.session.start()
        try:
            yield
        finally:
            app.state.ended = await app.state.hub.stop()

    app = Starlette(
        lifespan=lifespan,
        middleware=[Middleware(SecurityHeadersMiddleware), Middleware(AccessMiddleware, access)],
        routes=[
            Route("/upload/{kind}", receive_upload, methods=["POST"]),
            Route("/recordings/{name}.mp4", send_recording),
            Route("/{path:path}", send_static),
            WebSocketRoute("/socket", serve_page),
            WebSocketRoute("/socket/view/{background}", serve_view),
        ],
    )
    app.router.redirect_slashes = False  # to an address that the client names
    app.state.uploads = RateLimit(_UPLOADS, _UPLOAD_BURST)
    app.state.uploading = asyncio.Lock()
    return app
