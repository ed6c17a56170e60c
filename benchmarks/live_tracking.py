"""Live tracking beside the offline fit: `python benchmarks/live_tracking.py VIDEO ...`.

Measures the time of each stage per frame, the distance of the solved body from the detector's landmarks, and how
smooth its motion is. There is no other ground truth, so the detector's own errors appear in none of the numbers.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from measures.results import describe_setup

from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.core.camera import Camera
from ram_avatar.core.errors import UserError
from ram_avatar.drivers.identity_learning import LOOKS, SPACING, IdentityLearner
from ram_avatar.motion.motion import PARTS, Frame, Motion
from ram_avatar.motion.retargeting.retarget import Person, Retargeter
from ram_avatar.tracking.correspondence import Correspondence
from ram_avatar.tracking.detection.expressions import ExpressionNet, find_model
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE, HolisticDetector
from ram_avatar.tracking.observations import Observations, observe
from ram_avatar.tracking.offline.fitting import fit
from ram_avatar.tracking.online.smoothing import MotionFilter
from ram_avatar.tracking.online.solver import LiveSolver, SolverSettings
from ram_avatar.video import VideoInfo, probe, read_frames

ENDS = ("hand.L", "hand.R", "foot.L", "foot.R", "head")  # where jitter shows most
STRENGTH = 0.5


@dataclass
class Arguments:
    videos: tyro.conf.Positional[tuple[Path, ...]]
    frames: int = 300
    """At most this many of each."""


@dataclass
class Clock:
    """Processor and wall time in milliseconds, by stage."""

    spent: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str):
        started = time.process_time(), time.perf_counter()
        yield
        ended = time.process_time(), time.perf_counter()
        self.spent.setdefault(stage, []).append(tuple(1e3 * (b - a) for a, b in zip(started, ended, strict=True)))

    def rows(self) -> list[str]:
        """Return a row per stage: processor time (median, 95 %, first) and wall time (median)."""
        rows = []
        for stage, spent in self.spent.items():
            processor, wall = np.array(spent).T
            times = (np.median(processor), np.quantile(processor, 0.95), processor[0], np.median(wall))
            rows.append(" | ".join([stage, *(f"{time:.1f}" for time in times)]))
        return rows


class MotionErrors:
    """Compares motions with the landmarks detected in one clip."""

    def __init__(self, template: BodyTemplate, seen: Observations, camera: Camera):
        self._template, self._seen, self._camera = template, seen, camera
        self._map = Correspondence.load(template, MEDIAPIPE)
        self._points = template.points(self._map.regressor)
        self._ends = [template.joint_of(role) for role in ENDS]

    @torch.no_grad()
    def __call__(self, motion: Motion, identity: torch.Tensor) -> list[str]:
        """Return errors by part in % of the height, and jitter: of hands, feet and head, of depth, of the face.

        Jitter is the median deviation from constant velocity in millimetres; hands, feet and head are relative to
        the root. Jitter of the face is the mean change of an action from frame to frame.
        """
        posed = self._points.body(identity).pose(*motion.parameters())
        joints, seen = posed.joints[..., :3, 3], self._seen
        hand = lambda side: self._map.hand(posed.vertices, joints, side)
        pairs = (
            (self._map.pose_joints(joints, posed.turns), seen.pose[:, self._map.joint_landmarks]),
            (hand("left"), seen.left_hand[..., :2]),
            (hand("right"), seen.right_hand[..., :2]),
            (posed.vertices[:, self._map.face_rows], seen.face[..., :2]),
        )
        values = []
        for part, (solved, detected) in zip(PARTS, pairs, strict=False):
            off = (self._camera.project(solved)[..., :2] - detected).norm(dim=-1).mean(1)[seen.seen[part]]
            values.append(f"{100 * float(off.mean()) / seen.person_height:.2f}")
        bent = (joints - joints[:, :1])[:, self._ends].diff(n=2, dim=0).norm(dim=-1)
        depth = motion.root_translation[:, 1].diff(n=2).abs()
        face = motion.facial_actions.diff(dim=0).abs()
        values += [f"{1e3 * float(bent.median()):.1f}", f"{1e3 * float(depth.median()):.2f}"]
        return [*values, f"{float(face.mean()):.4f}"]


def detect(
    video: Path, info: VideoInfo, count: int, net: ExpressionNet, clock: Clock
) -> tuple[list[Landmarks], np.ndarray]:
    """Detect landmarks and facial actions [N, A], timed; also times the detector with person masks."""
    found, actions = [], []
    plain, with_mask = HolisticDetector(masks=False), HolisticDetector()
    for _, frame in zip(range(min(count, info.frames)), read_frames(video), strict=False):
        with clock("detector with masks, for comparison"):
            with_mask.detect(frame)
        with clock("detector"):
            found.append(plain.detect(frame))
        with clock("blendshape net (every other frame)"):
            actions.append(net.detect(frame, found[-1]))
    plain.close()
    with_mask.close()
    return found, np.stack(actions)


def solve_live(
    template: BodyTemplate,
    identity: torch.Tensor,
    info: VideoInfo,
    clip: list[Landmarks],
    actions: np.ndarray,
    settings: SolverSettings,
    clock: Callable | None = None,
) -> Motion:
    """Solve every frame in order; the blendshape net runs on every other frame, as in live use."""
    solver = LiveSolver(template, identity, Camera.default(info.width, info.height), MEDIAPIPE, settings)
    clock = clock or Clock()
    frames: list[Frame] = []
    for index, landmarks in enumerate(clip):
        with clock("solver"):
            frames.append(solver.solve(landmarks, actions[index - index % 2]))
    return Motion.of_frames(template.name, float(info.fps), frames)


def smoothed(motion: Motion, clock: Clock) -> Motion:
    """Filter a motion as live use does."""
    smoother, frames = MotionFilter(STRENGTH), []
    for frame in motion.frames():
        with clock("smoothing"):
            frames.append(smoother.step(frame, 1 / motion.fps))
    return Motion.of_frames(motion.template, motion.fps, frames)


def learned(template: BodyTemplate, info: VideoInfo, clip: list[Landmarks]) -> tuple[torch.Tensor, float]:
    """Return the identity that live use learns in the first seconds, and the processor time it takes."""
    learner = IdentityLearner(template, (info.width, info.height), lambda person: person)
    started = time.process_time()
    for index, landmarks in enumerate(clip):
        learner.look(landmarks, index / float(info.fps))
    while learner.learned is None:
        time.sleep(0.01)
    return learner.learned.identity, time.process_time() - started


def main(arguments: Arguments) -> None:
    template = load_template()
    net = ExpressionNet(find_model(), template.action_names)
    print(describe_setup())
    for video in arguments.videos:
        info, clock = probe(video), Clock()
        clip, actions = detect(video, info, arguments.frames, net, clock)
        seen = observe(clip, info.width, info.height, float(info.fps))
        errors = MotionErrors(template, seen, Camera.default(info.width, info.height))
        fitted = fit(template, seen, torch.from_numpy(actions))
        own, took = learned(template, info, clip)
        live = solve_live(template, fitted.identity, info, clip, actions, SolverSettings(), clock)
        calm = smoothed(live, clock)
        person = Person.of(calm, template, fitted.identity)
        retargeter = Retargeter(template, person, person, float(info.fps))
        for frame in calm.frames():
            with clock("retargeting"):
                retargeter.step(frame)

        print(
            f"\n{video.stem}, {len(clip)} frames; learning the identity from {LOOKS} frames, {SPACING} s apart, "
            f"took {took:.1f} s\n"
        )
        print(
            "| stage | processor, ms per frame, median | 95 % | first | wall, median |\n| --- | --- | --- | --- | --- |"
        )
        print("\n".join(f"| {row} |" for row in clock.rows()))
        print("\n| | body | left hand | right hand | face | jitter, mm | of depth, mm | of the face |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        methods = {"offline": (fitted.motion, fitted.identity)}
        for iterations in (1, 2, 3):
            settings = SolverSettings(iterations=iterations)
            solved = live if iterations == 2 else solve_live(template, fitted.identity, info, clip, actions, settings)
            methods[f"live, {iterations} iteration{'s' * (iterations > 1)}"] = (solved, fitted.identity)
        methods["live, 2, smoothed by half"] = (calm, fitted.identity)
        for name, identity in (("learned from the first seconds", own), ("average", template.default_identity())):
            solved = solve_live(template, identity, info, clip, actions, SolverSettings())
            methods[f"live, 2, identity {name}"] = (solved, identity)
        for name, (motion, identity) in methods.items():
            print(f"| {name} | {' | '.join(errors(motion, identity))} |", flush=True)


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
