"""From the camera to the avatar: detector, solver, smoothing, and on to the avatar's body and place."""

import time
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..avatar import Avatar
from ..camera import Camera
from ..motion.motion import Frame, Motion
from ..motion.retarget import Person, Placement
from ..tracking.landmarks import HolisticDetector, LandmarkDetector, Landmarks
from ..tracking.smoothing import MotionFilter
from ..tracking.solver import LiveSolver
from .builds import BuildFit, remember_build, remembered_build
from .carrying import Carrier
from .overlay import overlay
from .pipeline import Driven
from .protocol import Status
from .settings import Settings

_LEARN_FROM = 16  # moments that a build is learned from
_LEARN_EVERY = 0.2  # seconds between them
_PLACE_FROM = 8  # frames after which it is known where somebody stands
_FPS = 15.0  # about how many frames a second come


class LiveTracker:
    """Drives an avatar by a camera's pictures.

    Where the person stands, and where their floor is, is read off the first few frames. Their build is that of who
    was here last, or average; in the first seconds it is learned beside the session, and remembered. `calibrate`
    learns it anew.

    Args:
        detector: MediaPipe Holistic where it is None.
    """

    def __init__(self, avatar: Avatar, detector: LandmarkDetector | None = None):
        self._avatar, self._template = avatar, avatar.template.to("cpu")
        self._detector = detector or HolisticDetector(masks=False)
        self._settings = Settings()
        known = remembered_build(self._template)
        self._identity = self._template.default_identity() if known is None else known
        self._learning = _Learning() if known is None else None
        self._begin()

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        """See `pipeline.Driver`."""
        if rgb is None:
            return Driven(None, Status.WAITING)
        started = time.perf_counter()
        landmarks = self._detector.detect(rgb)
        detected = time.perf_counter()
        height, width = rgb.shape[:2]
        passed = 1 / _FPS if self._last is None else max(seconds - self._last, 1e-3)
        self._last = seconds
        self._learn(landmarks, width, height, seconds)
        frame = self._filter.step(self._solve(landmarks, width, height), passed)
        solved = time.perf_counter()
        driven = self._carry(frame, landmarks.found, passed)
        done = time.perf_counter()
        timings = {"detect": detected - started, "solve": solved - detected, "align": done - solved}
        return Driven(
            driven,
            self._status(landmarks.found),
            overlay(landmarks, width, height),
            {stage: 1e3 * spent for stage, spent in timings.items()},
        )

    def adjust(self, settings: Settings) -> None:
        """See `pipeline.Driver`."""
        self._settings = settings
        self._filter.strength = settings.smoothing
        if self._carrier is not None:
            self._carrier.adjust(settings)

    def calibrate(self) -> None:
        """Learn the person's build from the next seconds, and where they stand."""
        self._forget()
        self._learning = _Learning()

    def reset(self) -> None:
        """Somebody else comes: where they stand is found anew."""
        self._begin()

    def close(self) -> None:
        self._forget()
        self._detector.close()

    def _forget(self) -> None:
        """Give up what is being learned."""
        if self._learning is not None and self._learning.fit is not None:
            self._learning.fit.close()
        self._learning = None

    def _begin(self) -> None:
        """As before the first frame, with the build that is known."""
        self._solver: LiveSolver | None = None
        self._camera: Camera | None = None
        self._filter = MotionFilter(self._settings.smoothing)
        self._carrier: Carrier | None = None
        self._first: list[Frame] = []
        self._last: float | None = None
        self._anybody = False

    def _solve(self, landmarks: Landmarks, width: int, height: int) -> Frame:
        camera = Camera.default(width, height)
        if camera != self._camera:  # another camera, or the same one turned
            self._camera, self._carrier, self._first = camera, None, []
            self._solver = LiveSolver(self._template, self._identity, camera)
        return self._solver.solve(landmarks)

    def _carry(self, frame: Frame, found: bool, passed: float) -> Frame | None:
        """The avatar's frame; None while it is not known where the person stands."""
        self._anybody = self._anybody or found
        if self._carrier is None:
            if found:
                self._first.append(frame)
            if len(self._first) < _PLACE_FROM:
                return None
            motion = Motion.of_frames(self._template.name, _FPS, self._first)
            person = Person(self._identity, Placement.of(motion, self._template, self._identity))
            self._carrier = Carrier(self._avatar, person, _FPS, self._settings)
        return self._carrier.step(frame, passed) if found else None

    def _learn(self, landmarks: Landmarks, width: int, height: int, seconds: float) -> None:
        """Gather moments, fit the build to them, and go on with it."""
        learning = self._learning
        if learning is None:
            return
        if learning.fit is None:
            if landmarks.found and seconds - learning.last >= _LEARN_EVERY:
                learning.clip.append(landmarks)
                learning.last = seconds
            if len(learning.clip) >= _LEARN_FROM:
                learning.fit = BuildFit(self._template, learning.clip, width, height, 1 / _LEARN_EVERY)
        elif not learning.fit.running:
            if learning.fit.identity is not None:
                self._take(learning.fit.identity)
            self._learning = None

    def _take(self, identity: Tensor) -> None:
        self._identity = identity
        remember_build(self._template, identity)
        self._camera = None  # solver and place begin anew with it

    def _status(self, found: bool) -> Status:
        if not found:
            return Status.LOST if self._anybody else Status.WAITING
        return Status.CALIBRATING if self._carrier is None or self._learning is not None else Status.SEEN


@dataclass
class _Learning:
    """On the way to a build."""

    clip: list[Landmarks] = field(default_factory=list)
    last: float = -np.inf  # seconds, of the latest moment
    fit: BuildFit | None = None
