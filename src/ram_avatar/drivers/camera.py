"""A person before a camera drives an avatar: detector, live solve, smoothing, and onto the avatar's body."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..avatar import Avatar
from ..core.camera import Camera
from ..core.progress import Progress
from ..motion.motion import Frame, Motion
from ..motion.resting import eased
from ..motion.retargeting.fallback import mixed, toward
from ..motion.retargeting.retarget import Person
from ..tracking.detection.detectors import open_detector
from ..tracking.detection.expressions import ExpressionNet, find_model_or_note
from ..tracking.detection.landmarks import LandmarkDetector, Landmarks
from ..tracking.online.smoothing import MotionFilter
from ..tracking.online.solver import LiveSolver
from .driver import Driven, Status, timed
from .identity_learning import BuildLearner
from .live_retargeting import Carrier
from .overlay import overlay
from .profiles import Profile
from .settings import Settings

_FPS = 25.0  # nominal: every step is told how long it took
_SHORTEST, _LONGEST = 1e-3, 0.5  # seconds between two frames, as motion counts them
_FADE = 0.25  # seconds of a lost person that motion is told of: so that coming back is not a jump
_HANDOVER = 0.6  # seconds from one build to another
_NET_EVERY = 2  # frames: lids, smile and pucker cost a quarter of what the detector does


class LiveTracker:
    """Drives an avatar by what a camera shows. See `driver.Driver` for the methods.

    The person's build is that of their profile, or else an average adult's for the first seconds, until it is learned
    in the background (`learning`). Their place is where they stand when they are first seen.

    Args:
        detector: closed by `close`.
        net: reads lids, smile and pucker better than landmarks do; closed by `close`.
        profile: a name under which the person's build is remembered; without, nothing is kept.
    """

    takes_long = True

    def __init__(
        self,
        avatar: Avatar,
        detector: LandmarkDetector,
        net: ExpressionNet | None = None,
        *,
        profile: str | None = None,
    ):
        self._template, self._avatar = avatar.template.to("cpu"), avatar
        self._detector, self._net = detector, net
        self._profile = profile
        self._known = Profile.load(profile, self._template) if profile else None
        self._settings = Settings()
        self._learner: BuildLearner | None = None
        self._forget()

    # Driver -----------------------------------------------------------------------------------------------------------

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        if rgb is None:
            return Driven(None, self._status)
        height, width = rgb.shape[:2]
        if (width, height) != self._size:
            self._begin(width, height)
        passed = min(max(seconds - self._last, _SHORTEST), _LONGEST) if self._last is not None else 1 / _FPS
        self._last = seconds
        timings: dict[str, float] = {}
        with timed(timings, "detect"):
            landmarks = self._detector.detect(rgb)
            actions = self._read_face(rgb, landmarks)
        with timed(timings, "solve"):
            solved = self._solve(landmarks, actions, seconds, passed)
        with timed(timings, "align"):
            frame = self._carry(solved, passed) if solved is not None else self._lose(passed)
        return Driven(frame, self._status, overlay(landmarks, width, height), timings)

    def adjust(self, settings: Settings) -> None:
        self._settings = settings
        self._filter.strength = settings.smoothing
        if self._carrier is not None:
            self._carrier.adjust(settings)

    def calibrate(self) -> None:
        self._calibrating = True
        if self._size is not None:
            self._learn()

    def reset(self) -> None:
        self._stop_learning()
        self._forget()

    def close(self) -> None:
        self._stop_learning()
        self._detector.close()
        if self._net is not None:
            self._net.close()

    # One frame --------------------------------------------------------------------------------------------------------

    def _solve(self, landmarks: Landmarks, actions: np.ndarray | None, seconds: float, passed: float) -> Frame | None:
        """The person's own frame, calmed; None where nobody is found."""
        if not landmarks.found:
            return None
        self._adopt()
        solved = self._solver.solve(landmarks, actions)
        if self._carrier is None:
            here = Motion.of_frames(self._template.name, _FPS, [solved])
            self._carrier = self._onto_avatar(self._place(here))
        if self._learner is not None:
            self._learner.look(landmarks, seconds)
        self._status, self._gone = Status.CALIBRATING if self._calibrating else Status.SEEN, 0.0
        self._smoothed = self._filter.step(solved, passed)
        return self._smoothed

    def _carry(self, frame: Frame, passed: float) -> Frame:
        return self._handover.step(self._carrier.step(frame, passed), passed)

    def _lose(self, passed: float) -> None:
        """Nobody is there: the avatar stands still; whoever comes back is gone to smoothly."""
        if self._carrier is None:
            return
        self._status = Status.LOST
        if self._gone < _FADE:
            self._gone += passed
            self._carrier.step(replace(self._smoothed, confidence=np.zeros_like(self._smoothed.confidence)), passed)

    def _read_face(self, rgb: np.ndarray, landmarks: Landmarks) -> np.ndarray | None:
        """[A] what the net says, now or in the frame before."""
        self._frames += 1
        if self._net is not None and (self._frames % _NET_EVERY == 0 or self._actions is None):
            self._actions = self._net.detect(rgb, landmarks)
        return self._actions

    # Who it is --------------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._size: tuple[int, int] | None = None
        self._last: float | None = None
        self._solver: LiveSolver | None = None
        self._carrier: Carrier | None = None
        self._filter, self._handover = MotionFilter(self._settings.smoothing), Handover()
        self._smoothed: Frame | None = None
        self._actions: np.ndarray | None = None
        self._frames, self._gone = 0, 0.0
        self._status, self._calibrating = Status.WAITING, False

    def _begin(self, width: int, height: int) -> None:
        """With pictures of this size."""
        calibrating = self._calibrating
        self.reset()
        self._size, self._calibrating = (width, height), calibrating
        self._identity = self._known.tensor() if self._known else self._template.default_identity()
        self._solver = LiveSolver(
            self._template, self._identity, Camera.default(width, height), self._detector.topology
        )
        if calibrating or self._known is None:
            self._learn()

    def _learn(self) -> None:
        """Get to know the person, from now on."""
        self._stop_learning()
        camera = Camera.default(*self._size)

        def prepare(person: Person) -> _Followed:
            solver = LiveSolver(self._template, person.identity, camera, self._detector.topology)
            return _Followed(person, solver, self._onto_avatar(person))

        self._learner = BuildLearner(self._template, self._size, prepare, calibrating=self._calibrating)

    def _adopt(self) -> None:
        """Go over to the build that was learned, once it is."""
        followed = self._learner.learned if self._learner is not None else None
        if followed is None:
            return
        self._learner, self._calibrating = None, False
        followed.solver.continue_from(self._solver)
        followed.carrier.adjust(self._settings)
        self._solver, self._carrier = followed.solver, followed.carrier
        self._identity = followed.person.identity
        self._handover.begin()
        if self._profile:
            face = followed.person.placement.neutral_face
            self._known = Profile.of(self._template, self._identity, face)
            self._known.save(self._profile)

    def _place(self, motion: Motion) -> Person:
        """Where the person stands, by a few frames."""
        person = Person.of(motion, self._template, self._identity)
        face = self._known.neutral_face if self._known else None
        return replace(person, placement=replace(person.placement, neutral_face=face))

    def _onto_avatar(self, person: Person) -> Carrier:
        return Carrier(self._avatar, person, _FPS, self._settings)

    def _stop_learning(self) -> None:
        if self._learner is not None:
            self._learner.close()
            self._learner = None


@dataclass(frozen=True)
class _Followed:
    """A person, and what follows them."""

    person: Person
    solver: LiveSolver
    carrier: Carrier


class Handover:
    """From how the avatar stood to how it shall stand, without a jump."""

    def __init__(self):
        self._shown: Frame | None = None
        self._share = 1.0  # how far it is with the new one

    def begin(self) -> None:
        """The next frame comes from elsewhere."""
        self._share = 0.0

    def step(self, frame: Frame, seconds: float) -> Frame:
        if self._share < 1.0 and self._shown is not None:
            left = 1.0 - eased(self._share)
            self._share = min(1.0, self._share + seconds / _HANDOVER)
            gain = 1.0 if left == 0.0 else 1.0 - (1.0 - eased(self._share)) / left
            last = self._shown
            frame = replace(
                frame,
                root_rotation=toward(last.root_rotation, frame.root_rotation, gain),
                root_translation=mixed(last.root_translation, frame.root_translation, gain),
                pose=toward(last.pose, frame.pose, gain),
                facial_actions=mixed(last.facial_actions, frame.facial_actions, gain),
            )
        self._shown = frame
        return frame


def tracker_maker(
    face_model: str | Path | None, profile: str | None, progress: Progress
) -> Callable[[Avatar], LiveTracker]:
    """What makes a tracker for an avatar: the net where its model is at hand or can be downloaded.

    Raises:
        UserError: `face_model` is not the model; `profile` is not a name.
    """
    model = find_model_or_note(face_model, progress)

    def make(avatar: Avatar) -> LiveTracker:
        net = ExpressionNet(model, avatar.template.action_names) if model else None
        return LiveTracker(avatar, open_detector(masks=False), net, profile=profile)

    return make
