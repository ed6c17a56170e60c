"""From a driver's body to the avatar's, as the page's controls have it: mirrored, retargeted, aligned."""

from ..avatar import Avatar
from ..motion.alignment.aligner import Aligner
from ..motion.motion import Frame
from ..motion.retargeting.retarget import Person, Retargeter
from .mirroring import Mirror
from .settings import Settings


class Carrier:
    """Frames of one driver on an avatar's scale and place.

    A mirror comes before everything else: what an avatar has learned of poses is of its own left and right. Alignment
    comes before the feet are put on the floor.

    Args:
        source: the driver.
        fps: about how many frames a second come.
    """

    def __init__(self, avatar: Avatar, source: Person, fps: float, settings: Settings):
        template = avatar.template.to("cpu")
        self._mirror = Mirror(template, source.placement.x)
        self._aligner = Aligner(avatar.alignment, template, fps) if avatar.alignment else None
        self._retargeter = Retargeter(template, source, avatar.person, fps, align=self._aligner)
        self.adjust(settings)

    def adjust(self, settings: Settings) -> None:
        """Do as the controls say from the next frame on."""
        self._mirrored = settings.mirror
        if self._aligner is not None:
            self._aligner.strength = settings.alignment

    def step(self, frame: Frame, seconds: float) -> Frame:
        """The avatar's frame for the driver's, `seconds` after the last."""
        return self._retargeter.step(self._mirror(frame) if self._mirrored else frame, seconds)
