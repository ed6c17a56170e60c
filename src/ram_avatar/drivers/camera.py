"""A person in front of a camera drives an avatar: detect, solve, smooth, retarget."""

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
from .frame_clock import FrameClock
from .identity_learning import IdentityLearner
from .landmark_overlay import overlay
from .live_retargeting import LiveRetargeter
from .profiles import Profile
from .settings import Settings

_FPS = 25.0  # nominal
_FADE = 0.25  # seconds of a lost person passed to the retargeter, so that the return is no jump
_HANDOVER = 0.6  # seconds to blend from one identity to another
_EXPRESSION_INTERVAL = 2  # frames: the expression net costs a quarter of the detector's time


class CameraDriver:
    """Drives an avatar by the person in camera images. See `driver.Driver` for the methods.

    The person's identity comes from their profile. Without one, it is an average adult's for the first seconds, until
    the person's own is learned in the background (`identity_learning`). Their place is where they stand when they are
    first seen.

    Args:
        detector: closed by `close`.
        net: reads lids, smile and pucker better than landmarks do; closed by `close`.
        profile: the name under which the identity is remembered once the settings say so; None to keep nothing.
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
        self._known = self._saved = Profile.load(profile, self._template) if profile else None
        self._settings = Settings()
        self._learner: IdentityLearner[_Tracked] | None = None
        self._calibrating = False
        self._stream: _Stream | None = None

    # Driver -----------------------------------------------------------------------------------------------------------

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        if rgb is None:
            return Driven(None, self._stream.status if self._stream else Status.WAITING)
        height, width = rgb.shape[:2]
        if self._stream is None or (width, height) != self._stream.size:
            self._stream = self._begin(width, height)
        stream = self._stream
        passed = stream.clock.step(seconds)
        timings: dict[str, float] = {}
        with timed(timings, "detect"):
            landmarks = self._detector.detect(rgb)
            actions = self._read_face(stream, rgb, landmarks)
        with timed(timings, "solve"):
            solved = self._solve(stream, landmarks, actions, seconds, passed)
        with timed(timings, "align"):
            frame = self._retarget(stream, solved, passed)
        return Driven(frame, stream.status, overlay(landmarks, width, height), timings)

    def adjust(self, settings: Settings) -> None:
        self._settings = settings
        self._remember()
        if self._stream is not None:
            self._stream.filter.strength = settings.smoothing
            if self._stream.retargeter is not None:
                self._stream.retargeter.adjust(settings)

    def calibrate(self) -> None:
        self._calibrating = True
        if self._stream is not None:
            self._learn(self._stream.size)

    def reset(self) -> None:
        self._stop_learning()
        self._calibrating, self._stream = False, None

    def close(self) -> None:
        self._stop_learning()
        self._detector.close()
        if self._net is not None:
            self._net.close()

    # One frame --------------------------------------------------------------------------------------------------------

    def _solve(
        self, stream: "_Stream", landmarks: Landmarks, actions: np.ndarray | None, seconds: float, passed: float
    ) -> Frame | None:
        """Return the person's smoothed frame; None if nobody is found."""
        if not landmarks.found:
            return None
        self._adopt(stream)
        solved = stream.solver.solve(landmarks, actions)
        if stream.retargeter is None:
            stream.retargeter = self._retargeter(self._place(solved))
        if self._learner is not None:
            self._learner.look(landmarks, seconds)
        stream.status, stream.gone = Status.CALIBRATING if self._calibrating else Status.SEEN, 0.0
        stream.smoothed = stream.filter.step(solved, passed)
        return stream.smoothed

    def _retarget(self, stream: "_Stream", solved: Frame | None, passed: float) -> Frame | None:
        """Return the avatar's frame; None while nobody is found, so that the avatar stands still."""
        if stream.retargeter is None:
            return None
        if solved is not None:
            return stream.handover.step(stream.retargeter.step(solved, passed), passed)
        stream.status = Status.LOST
        if stream.smoothed is not None and stream.gone < _FADE:
            stream.gone += passed
            unseen = np.zeros_like(stream.smoothed.confidence)
            stream.retargeter.step(replace(stream.smoothed, confidence=unseen), passed)
        return None

    def _read_face(self, stream: "_Stream", rgb: np.ndarray, landmarks: Landmarks) -> np.ndarray | None:
        """Return the facial actions [A] that the net read in this frame or the last; None without a net."""
        stream.frames += 1
        if self._net is not None and (stream.frames % _EXPRESSION_INTERVAL == 0 or stream.actions is None):
            stream.actions = self._net.detect(rgb, landmarks)
        return stream.actions

    # Identity ---------------------------------------------------------------------------------------------------------

    def _begin(self, width: int, height: int) -> "_Stream":
        """Start over with images of this size."""
        self._stop_learning()
        self._identity = self._known.tensor() if self._known else self._template.default_identity()
        camera = Camera.default(width, height)
        solver = LiveSolver(self._template, self._identity, camera, self._detector.topology)
        if self._calibrating or self._known is None:
            self._learn((width, height))
        return _Stream((width, height), solver, FrameClock(_FPS), MotionFilter(self._settings.smoothing), Handover())

    def _learn(self, size: tuple[int, int]) -> None:
        """Start learning the person's identity."""
        self._stop_learning()
        camera = Camera.default(*size)

        def prepare(person: Person) -> _Tracked:
            solver = LiveSolver(self._template, person.identity, camera, self._detector.topology)
            return _Tracked(person, solver, self._retargeter(person))

        self._learner = IdentityLearner(self._template, size, prepare, calibrating=self._calibrating)

    def _adopt(self, stream: "_Stream") -> None:
        """Switch to the learned identity once it is there."""
        tracked = self._learner.learned if self._learner is not None else None
        if tracked is None:
            return
        self._learner, self._calibrating = None, False
        tracked.solver.continue_from(stream.solver)
        tracked.retargeter.adjust(self._settings)
        stream.solver, stream.retargeter = tracked.solver, tracked.retargeter
        self._identity = tracked.person.identity
        stream.handover.begin()
        if self._profile:
            face = tracked.person.placement.neutral_face
            self._known = Profile.of(self._template, self._identity, face)
            self._remember()

    def _remember(self) -> None:
        """Save what is known of the person if they want that, and it is new."""
        if self._profile and self._settings.remember and self._known is not None and self._known != self._saved:
            self._known.save(self._profile)
            self._saved = self._known

    def _place(self, frame: Frame) -> Person:
        """Return the person, placed by one frame."""
        motion = Motion.of_frames(self._template.name, _FPS, [frame])
        person = Person.of(motion, self._template, self._identity)
        face = self._known.neutral_face if self._known else None
        return replace(person, placement=replace(person.placement, neutral_face=face))

    def _retargeter(self, person: Person) -> LiveRetargeter:
        return LiveRetargeter(self._avatar, person, _FPS, self._settings)

    def _stop_learning(self) -> None:
        if self._learner is not None:
            self._learner.close()
            self._learner = None


@dataclass
class _Stream:
    """State while images of one size come."""

    size: tuple[int, int]  # width and height, pixels
    solver: LiveSolver
    clock: FrameClock
    filter: MotionFilter
    handover: "Handover"
    retargeter: LiveRetargeter | None = None  # None until somebody is seen
    smoothed: Frame | None = None
    actions: np.ndarray | None = None
    frames: int = 0
    gone: float = 0.0  # seconds since the person was lost, up to `_FADE`
    status: Status = Status.WAITING


@dataclass(frozen=True)
class _Tracked:
    """A person, and what tracks them."""

    person: Person
    solver: LiveSolver
    retargeter: LiveRetargeter


class Handover:
    """Blends from the frame shown to frames of another origin."""

    def __init__(self) -> None:
        self._shown: Frame | None = None
        self._share = 1.0  # progress of the blend, 0 to 1

    def begin(self) -> None:
        """Start a blend with the next frame."""
        self._share = 0.0

    def step(self, frame: Frame, seconds: float) -> Frame:
        """Return the frame to show, `seconds` after the last one."""
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
) -> Callable[[Avatar], CameraDriver]:
    """Return a function that makes a tracker for an avatar, with the expression net if its model is available.

    Raises:
        UserError: `face_model` is not the model; `profile` is not a name.
    """
    model = find_model_or_note(face_model, progress)

    def make(avatar: Avatar) -> CameraDriver:
        net = ExpressionNet(model, avatar.template.action_names) if model else None
        return CameraDriver(avatar, open_detector(masks=False), net, profile=profile)

    return make
