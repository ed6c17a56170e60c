"""Getting to know a person's build while they are there: a small offline fit, in the background."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import torch

from ..body.template import BodyTemplate
from ..core.progress import Silent
from ..motion.retargeting.neutral_face import at_rest
from ..motion.retargeting.retarget import Person
from ..tracking.detection.landmarks import Landmarks
from ..tracking.detection.topology import SHOULDERS
from ..tracking.observations import observe
from ..tracking.offline.fitting import FitSettings, fit

LOOKS = 12  # frames
SPACING = 0.2  # seconds between them: what a person shows changes
_CALIBRATION_SPACING = 0.1
_VISIBLE = 0.7  # of both shoulders: of somebody at a desk, more may never be seen
_SETTINGS = FitSettings(body_iterations=60, full_iterations=90, steadiness=0.0)
_CALIBRATION = FitSettings(body_iterations=60, full_iterations=90)  # they stand still


Prepared = TypeVar("Prepared")


class BuildLearner(Generic[Prepared]):
    """Collects looks at a person, and then fits the template to all of them at once.

    Args:
        size: width and height of the pictures.
        prepare: makes of the person what is to follow them; it takes its time, and is called in the background.
        calibrating: they stand still for it, with a calm face.
    """

    def __init__(
        self,
        template: BodyTemplate,
        size: tuple[int, int],
        prepare: Callable[[Person], Prepared],
        *,
        calibrating: bool = False,
    ):
        self.calibrating = calibrating
        self._template, self._size, self._prepare = template, size, prepare
        self._looks: list[Landmarks] = []
        self._last = -np.inf
        self._learned: Prepared | None = None
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def look(self, landmarks: Landmarks, seconds: float) -> None:
        """A frame in which the person was found, at a time."""
        spacing = _CALIBRATION_SPACING if self.calibrating else SPACING
        if self._thread is not None or seconds - self._last < spacing:
            return
        shoulders = landmarks.topology.indices(SHOULDERS)
        if landmarks.visibility[shoulders].min() < _VISIBLE or np.isnan(landmarks.face[0, 0]):
            return
        self._looks.append(landmarks)
        self._last = seconds
        if len(self._looks) == LOOKS:
            self._thread = threading.Thread(target=self._learn, name="build", daemon=True)
            self._thread.start()

    @property
    def learned(self) -> Prepared | None:
        """What was prepared for the person, once it is there.

        Raises:
            Exception: what the fit failed with.
        """
        if self._error is not None:
            raise self._error
        return self._learned

    def close(self) -> None:
        """Give up what is under way."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _learn(self) -> None:
        torch.set_num_threads(1)  # of this thread alone: the others have an avatar to move
        try:
            seen = observe(self._looks, *self._size, fps=1 / SPACING)
            settings = _CALIBRATION if self.calibrating else _SETTINGS
            fitted = fit(self._template, seen, settings=settings, progress=_Interruption(self._ended))
            person = Person.of(fitted.motion, self._template, fitted.identity)
            if self.calibrating:
                placement = replace(person.placement, neutral_face=at_rest(fitted.motion.facial_actions))
                person = replace(person, placement=placement)
            self._learned = self._prepare(person)
        except _Ended:
            pass
        except Exception as error:  # told in the thread that asks
            self._error = error


class _Interruption(Silent):
    """Progress that stops the work once an event is set."""

    def __init__(self, ended: threading.Event):
        self._ended = ended

    def step(self, label: str, done: int, total: int) -> None:
        if self._ended.is_set():
            raise _Ended


class _Ended(Exception):
    """Nobody wants the answer any more."""
