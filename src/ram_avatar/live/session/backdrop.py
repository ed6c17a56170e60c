"""What is behind the avatar."""

import numpy as np

from ...core.images import fill


class Backdrop:
    """The avatar's own room, a colour, or a picture.

    Args:
        plate: the avatar's own background [H, W, 3] uint8.
        size: width and height of the pictures.
    """

    def __init__(self, plate: np.ndarray, size: tuple[int, int]):
        self._size, self._plate = size, fill(plate, *size)
        self._picture: np.ndarray | None = None

    def choose(self, picture: np.ndarray) -> None:
        """Take a picture [H, W, 3] uint8 of the user's; its middle fills the frame."""
        self._picture = fill(picture, *self._size)

    def behind(self, rgba: np.ndarray, background: str) -> np.ndarray:
        """The picture over a background.

        Args:
            rgba: [H, W, 4] uint8, straight.
            background: as in `Settings`. "picture" before one was chosen is the room; "transparent" is black,
                for what cannot be transparent.

        Returns:
            [H, W, 3] uint8.
        """
        if background == "picture" and self._picture is not None:
            below = self._picture
        elif background == "transparent":
            below = np.zeros(3, np.uint8)
        elif background.startswith("#"):
            below = np.frombuffer(bytes.fromhex(background[1:]), np.uint8)
        else:
            below = self._plate
        opacity = rgba[..., 3:].astype(np.uint16)
        return ((rgba[..., :3] * opacity + below * (255 - opacity) + 127) // 255).astype(np.uint8)
