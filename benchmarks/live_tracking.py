"""Live tracking beside the offline fit: `python benchmarks/live_tracking.py VIDEO ...`.

How long each stage takes for a frame, how far the solved body is from the detector's landmarks, and how smooth it is.
There is no other truth: what both ways have in common, the detector's own errors, is in neither figure.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from machine import describe

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

ENDS = ("hand.L", "hand.R", "foot.L", "foot.R", "head")  # where unrest shows most
STRENGTH = 0.5


@dataclass
class Arguments:
    videos: tyro.conf.Positional[tuple[Path, ...]]
    frames: int = 300
    """At most so many of each."""


@dataclass
class Clock:
    """Milliseconds of this process, and of the wall, by stage."""

    spent: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str):
        started = time.process_time(), time.perf_counter()
        yield
        ended = time.process_time(), time.perf_counter()
        self.spent.setdefault(stage, []).append(tuple(1e3 * (b - a) for a, b in zip(started, ended, strict=True)))

    def rows(self) -> list[str]:
        rows = []
        for stage, spent in self.spent.items():
            processor, wall = np.array(spent).T
            figures = (np.median(processor), np.quantile(processor, 0.95), processor[0], np.median(wall))
            rows.append(" | ".join([stage, *(f"{figure:.1f}" for figure in figures)]))
        return rows


class Judge:
    """Compares motions with what the detector saw in one clip."""

    def __init__(self, template: BodyTemplate, seen: Observations, camera: Camera):
        self._template, self._seen, self._camera = template, seen, camera
        self._map = Correspondence.load(template, MEDIAPIPE)
        self._points = template.points(self._map.regressor)
        self._ends = [template.joint_of(role) for role in ENDS]

    @torch.no_grad()
    def __call__(self, motion: Motion, identity: torch.Tensor) -> list[str]:
        """Errors by part in % of the height; unrest of hands, feet and head about the root, of depth, of the face."""
        posed = self._points.body(identity).pose(*motion.parameters())
        joints, seen = posed.joints[..., :3, 3], self._seen
        hand = lambda side: self._map.hand(posed.vertices, joints, side)
        pairs = (
            (self._map.pose_joints(joints, posed.turns), seen.pose[:, self._map.joint_landmarks]),
            (hand("left"), seen.left_hand[..., :2]),
            (hand("right"), seen.right_hand[..., :2]),
            (posed.vertices[:, self._map.face_rows], seen.face[..., :2]),
        )
        figures = []
        for part, (made, wanted) in zip(PARTS, pairs, strict=False):
            off = (self._camera.project(made)[..., :2] - wanted).norm(dim=-1).mean(1)[seen.seen[part]]
            figures.append(f"{100 * float(off.mean()) / seen.person_height:.2f}")
        bent = (joints - joints[:, :1])[:, self._ends].diff(n=2, dim=0).norm(dim=-1)
        depth = motion.root_translation[:, 1].diff(n=2).abs()
        face = motion.facial_actions.diff(dim=0).abs()
        figures += [f"{1e3 * float(bent.median()):.1f}", f"{1e3 * float(depth.median()):.2f}"]
        return [*figures, f"{float(face.mean()):.4f}"]


def detect(
    video: Path, info: VideoInfo, count: int, net: ExpressionNet, clock: Clock
) -> tuple[list[Landmarks], np.ndarray]:
    """Landmarks and what the net says [N, A], timed; with a person mask, too, which live has no use for."""
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


def followed(
    template: BodyTemplate,
    identity: torch.Tensor,
    info: VideoInfo,
    clip: list[Landmarks],
    actions: np.ndarray,
    settings: SolverSettings,
    clock: Callable | None = None,
) -> Motion:
    solver = LiveSolver(template, identity, Camera.default(info.width, info.height), MEDIAPIPE, settings)
    clock = clock or Clock()
    frames: list[Frame] = []
    for index, landmarks in enumerate(clip):
        with clock("solver"):
            frames.append(solver.solve(landmarks, actions[index - index % 2]))
    return Motion.of_frames(template.name, float(info.fps), frames)


def smoothed(motion: Motion, clock: Clock) -> Motion:
    smoother, frames = MotionFilter(STRENGTH), []
    for frame in motion.frames():
        with clock("smoothing"):
            frames.append(smoother.step(frame, 1 / motion.fps))
    return Motion.of_frames(motion.template, motion.fps, frames)


def learned(template: BodyTemplate, info: VideoInfo, clip: list[Landmarks]) -> tuple[torch.Tensor, float]:
    """The build that live use finds in the first seconds, and how long it takes to."""
    learner = IdentityLearner(template, (info.width, info.height), lambda person: person)
    started = time.process_time()
    for index, landmarks in enumerate(clip):
        learner.look(landmarks, index / float(info.fps))
    while learner.learned is None:
        time.sleep(0.01)
    return learner.learned.identity, time.process_time() - started


def main(wanted: Arguments) -> None:
    template = load_template()
    net = ExpressionNet(find_model(), template.action_names)
    print(describe())
    for video in wanted.videos:
        info, clock = probe(video), Clock()
        clip, actions = detect(video, info, wanted.frames, net, clock)
        seen = observe(clip, info.width, info.height, float(info.fps))
        judge = Judge(template, seen, Camera.default(info.width, info.height))
        fitted = fit(template, seen, torch.from_numpy(actions))
        own, took = learned(template, info, clip)
        live = followed(template, fitted.identity, info, clip, actions, SolverSettings(), clock)
        calm = smoothed(live, clock)
        person = Person.of(calm, template, fitted.identity)
        retargeter = Retargeter(template, person, person, float(info.fps))
        for frame in calm.frames():
            with clock("retargeting"):
                retargeter.step(frame)

        print(
            f"\n{video.stem}, {len(clip)} frames; the build from {LOOKS} looks, {SPACING} s apart, took {took:.1f} s\n"
        )
        print(
            "| stage | processor, ms a frame, median | 95 % | first | wall, median |\n| --- | --- | --- | --- | --- |"
        )
        print("\n".join(f"| {row} |" for row in clock.rows()))
        print("\n| | body | left hand | right hand | face | unrest, mm | of depth, mm | of the face |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        ways = {"offline": (fitted.motion, fitted.identity)}
        for iterations in (1, 2, 3):
            settings = SolverSettings(iterations=iterations)
            made = live if iterations == 2 else followed(template, fitted.identity, info, clip, actions, settings)
            ways[f"live, {iterations} iteration{'s' * (iterations > 1)}"] = (made, fitted.identity)
        ways["live, 2, smoothed by half"] = (calm, fitted.identity)
        for name, identity in (("learned from the first seconds", own), ("average", template.default_identity())):
            made = followed(template, identity, info, clip, actions, SolverSettings())
            ways[f"live, 2, build {name}"] = (made, identity)
        for name, (motion, identity) in ways.items():
            print(f"| {name} | {' | '.join(judge(motion, identity))} |", flush=True)


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
