"""The background behind the avatar."""

import numpy as np

from ...core.images import fill


class Background:
    """Composites the avatar over its own room, a colour, or an image.

    Args:
        plate: the avatar's own background [H, W, 3] uint8.
        size: width and height of the frames.
    """

    def __init__(self, plate: np.ndarray, size: tuple[int, int]):
        self._size, self._plate = size, fill(plate, *size)
        self._image: np.ndarray | None = None

    def use_image(self, image: np.ndarray) -> None:
        """Set the user's image [H, W, 3] uint8, cropped about its centre to fill the frame."""
        self._image = fill(image, *self._size)

    def composite(self, rgba: np.ndarray, background: str) -> np.ndarray:
        """Return the frame over a background.

        Args:
            rgba: [H, W, 4] uint8, straight alpha.
            background: as in `Settings`. "picture" falls back to the room while no image is set; "transparent" gives
                black, for outputs without opacity.

        Returns:
            [H, W, 3] uint8.
        """
        if background == "picture" and self._image is not None:
            below = self._image
        elif background == "transparent":
            below = np.zeros(3, np.uint8)
        elif background.startswith("#"):
            below = np.frombuffer(bytes.fromhex(background[1:]), np.uint8)
        else:
            below = self._plate
        opacity = rgba[..., 3:].astype(np.uint16)
        return ((rgba[..., :3] * opacity + below * (255 - opacity) + 127) // 255).astype(np.uint8)
