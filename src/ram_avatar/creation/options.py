"""Options of `train` and `create`."""

from dataclasses import dataclass

from ..core.choices import PRECISIONS, check_choice
from ..core.errors import UserError
from ..options import DeviceOptions, PresetOptions, SmplxOptions
from ..tracking.offline.options import TrackOptions


@dataclass(frozen=True)
class TrainOptions(SmplxOptions, DeviceOptions, PresetOptions):
    """How to train an avatar.

    Raises:
        UserError: an unknown accelerator or precision, or no devices.
    """

    instant: bool = False
    """stop at the textured template, before training"""
    precision: str = "auto"
    """auto, 32-true or bf16-mixed"""
    devices: int = 1
    """GPUs (on a CPU: processes) that share every batch"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("precision", self.precision, PRECISIONS)
        if self.devices < 1:
            raise UserError(f"devices is at least 1, not {self.devices}")


@dataclass(frozen=True)
class CreateOptions(TrainOptions, TrackOptions):
    """How to track a video and train an avatar."""
