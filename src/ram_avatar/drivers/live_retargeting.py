"""A driver's frames on the avatar's body, following the live controls: mirrored, retargeted, aligned."""

from ..avatar import Avatar
from ..motion.alignment.aligner import Aligner
from ..motion.motion import Frame
from ..motion.retargeting.retarget import Person, Retargeter
from .mirroring import Mirror
from .settings import Settings


class LiveRetargeter:
    """Brings the frames of one driver to the avatar's scale and place.

    Mirroring comes first: the avatar has learned poses of its own left and right. Alignment comes before the feet are
    put on the floor.

    Args:
        source: the driver.
        fps: nominal frame rate.
    """

    def __init__(self, avatar: Avatar, source: Person, fps: float, settings: Settings):
        template = avatar.template.to("cpu")
        self._mirror = Mirror(template, source.placement.x)
        self._aligner = Aligner(avatar.alignment, template, fps) if avatar.alignment else None
        self._retargeter = Retargeter(template, source, avatar.person, fps, align=self._aligner)
        self.adjust(settings)

    def adjust(self, settings: Settings) -> None:
        """Apply the controls from the next frame on."""
        self._mirrored = settings.mirror
        if self._aligner is not None:
            self._aligner.strength = settings.alignment

    def step(self, frame: Frame, seconds: float) -> Frame:
        """Return the avatar's frame for the driver's, `seconds` after the last one."""
        return self._retargeter.step(self._mirror(frame) if self._mirrored else frame, seconds)
