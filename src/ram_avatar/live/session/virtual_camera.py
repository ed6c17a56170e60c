"""A sink that other programs see as a camera."""

from ...core.errors import UserError
from ..protocol import CameraFrame
from .pipeline import RenderedFrame


class VirtualCamera:
    """A camera that other programs can choose. Needs `pyvirtualcam` and a driver (see docs/live.md).

    Args:
        size: width and height of the images.

    Raises:
        UserError: either is missing.
    """

    def __init__(self, size: tuple[int, int]):
        try:
            import pyvirtualcam
        except ImportError:
            raise UserError("--virtual-camera needs one more package: pip install 'ram-avatar[camera]'") from None
        try:
            self._camera = pyvirtualcam.Camera(width=size[0], height=size[1], fps=30, print_fps=False)
        except RuntimeError as error:
            cause = str(error).strip().splitlines()[0]
            raise UserError(
                f"no virtual camera on this machine ({cause}); docs/live.md explains how to get one"
            ) from None
        self.name: str = self._camera.device

    def show(self, frame: CameraFrame, rendered: RenderedFrame) -> None:
        """Show the image."""
        self._camera.send(rendered.rgb)

    def drop(self, frame: CameraFrame) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()
