"""A person's identity, learned while they move: a small offline fit in the background."""

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
SPACING = 0.2  # seconds between them, so that the views differ
_CALIBRATION_SPACING = 0.1
_VISIBLE = 0.7  # of both shoulders; of a person at a desk, no more may ever be visible
_SETTINGS = FitSettings(body_iterations=60, full_iterations=90, steadiness=0.0)
_CALIBRATION = FitSettings(body_iterations=60, full_iterations=90)  # the person stands still

Prepared = TypeVar("Prepared")


class IdentityLearner(Generic[Prepared]):
    """Collects landmarks of a person, then fits the template to all of them at once.

    Args:
        size: width and height of the images, pixels.
        prepare: makes what tracks the person; slow, so it is called in the background too.
        calibrating: the person stands still, with a neutral face.
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
        self._cancelled = threading.Event()

    def look(self, landmarks: Landmarks, seconds: float) -> None:
        """Consider a frame in which the person was found at time `seconds`."""
        spacing = _CALIBRATION_SPACING if self.calibrating else SPACING
        if self._thread is not None or seconds - self._last < spacing:
            return
        shoulders = landmarks.topology.indices(SHOULDERS)
        if landmarks.visibility[shoulders].min() < _VISIBLE or np.isnan(landmarks.face[0, 0]):
            return
        self._looks.append(landmarks)
        self._last = seconds
        if len(self._looks) == LOOKS:
            self._thread = threading.Thread(target=self._learn, name="identity-learner", daemon=True)
            self._thread.start()

    @property
    def learned(self) -> Prepared | None:
        """What `prepare` returned; None until it is there.

        Raises:
            Exception: the error that the fit failed with.
        """
        if self._error is not None:
            raise self._error
        return self._learned

    def close(self) -> None:
        """Cancel the fit if it is running, and wait for it."""
        self._cancelled.set()
        if self._thread is not None:
            self._thread.join()

    def _learn(self) -> None:
        torch.set_num_threads(1)  # in this thread only; the others drive and render
        try:
            seen = observe(self._looks, *self._size, fps=1 / SPACING)
            settings = _CALIBRATION if self.calibrating else _SETTINGS
            fitted = fit(self._template, seen, settings=settings, progress=_Interruption(self._cancelled))
            person = Person.of(fitted.motion, self._template, fitted.identity)
            if self.calibrating:
                placement = replace(person.placement, neutral_face=at_rest(fitted.motion.facial_actions))
                person = replace(person, placement=placement)
            self._learned = self._prepare(person)
        except _Cancelled:
            pass
        except Exception as error:  # raised in the thread that asks for the result
            self._error = error


class _Interruption(Silent):
    """Progress that stops the work once an event is set."""

    def __init__(self, cancelled: threading.Event):
        self._cancelled = cancelled

    def step(self, label: str, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise _Cancelled


class _Cancelled(Exception):
    """The fit was cancelled."""
