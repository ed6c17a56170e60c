"""What a user can say about a driver that the driver itself does not say."""

from dataclasses import dataclass

from ..motion.formats import ReadOptions
from ..options import FaceModelOptions, RotateOptions


@dataclass(frozen=True)
class DriverOptions(RotateOptions, FaceModelOptions, ReadOptions):
    """Options of a motion file, and of a video. `open_driver` refuses those that a kind of driver does not use.

    Raises:
        UserError: see `ReadOptions` and `RotateOptions`.
    """
