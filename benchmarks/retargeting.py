"""Accuracy and speed of retargeting: `python benchmarks/retargeting.py [DRIVER ...]`.

Drivers are capture folders and motion files (which are converted to the built-in performer's body); without any, the
performer's performances. Each is retargeted to a child, to a very tall person and to the performer.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from measures.results import describe_setup

from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.body.template import FINGERS, SIDES
from ram_avatar.capture.capture import Capture, is_capture
from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.retargeting.footing import heels_and_balls
from ram_avatar.motion.retargeting.proportions import bones
from ram_avatar.motion.retargeting.retarget import Person, Placement, Retargeter
from ram_avatar.synthetic.choreography import PERFORMANCES
from ram_avatar.synthetic.performances import performance, performer_identity

PLANTED = 0.005  # metres within which a planted foot of the driver stays
SHORTEST = 0.2  # seconds that it stays
LOW = 0.15  # of the leg: higher feet are not planted
TOUCHES = 0.015  # metres between a hand and what it touches
BODIES = {
    "child": {"age": 0.33},
    "tall": {"height": 0.55, "gender": 0.0, "proportions": 0.8},
    "performer": None,
}
HEADINGS = (
    "driver",
    "onto",
    "frames",
    "ms per frame",
    "uncorrected bones, 99 %, degrees",
    "all bones, median / 95 / 99 %",
    "worst slide, mm",
    "if only scaled",
    "deepest below the floor, mm",
    "longest step relative to the driver's, over the clip / at the time",
    "distance of touching points, mm",
    "in the driver / if only scaled",
)


@dataclass
class Arguments:
    drivers: tyro.conf.Positional[tuple[Path, ...]] = ()
    frames: int = 600
    """At most this many of each."""


def main(arguments: Arguments) -> None:
    template = load_template()
    print(f"{describe_setup()}\n\n| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}", flush=True)
    for name, motion, person in drivers(arguments, template):
        for body, chosen in BODIES.items():
            identity = performer_identity(template) if chosen is None else changed(template, chosen)
            place = Placement.of(performance("training", template, 1, 25.0), template, identity)
            row = measure(template, motion, person, Person(identity, place))
            print(f"| {name} | {body} | {len(motion)} | {' | '.join(row)} |", flush=True)


def drivers(arguments: Arguments, template: BodyTemplate) -> Iterator[tuple[str, Motion, Person]]:
    """Yield name, motion and person of each driver."""
    own = performer_identity(template)
    for name in () if arguments.drivers else PERFORMANCES:
        motion = performance(name, template, arguments.frames, 25.0)
        yield name, motion, Person.of(motion, template, own)
    for path in arguments.drivers:
        if is_capture(path):
            capture = Capture.load(path)
            motion, identity = capture.motion[: arguments.frames], capture.identity
        else:
            motion, identity = read_motion(path, template, own)[: arguments.frames], own
        yield path.stem, motion, Person.of(motion, template, identity)


def changed(template: BodyTemplate, chosen: dict[str, float]) -> torch.Tensor:
    """Return the default identity with some parameters changed."""
    identity = template.default_identity()
    for name, value in chosen.items():
        identity[template.identity_names.index(name)] = value
    return identity


def measure(template: BodyTemplate, motion: Motion, source: Person, target: Person) -> list[str]:
    """Retarget a motion and return the values of its row."""
    retargeter = Retargeter(template, source, target, motion.fps)
    frames, durations = [], []
    for frame in motion.frames():
        started = time.process_time_ns()
        frames.append(retargeter.step(frame))
        durations.append(time.process_time_ns() - started)
    driven = Motion.of_frames(motion.template, motion.fps, frames)
    before = Posed(template, motion, source)
    after = Posed(template, driven, target, before)
    scaled = Posed(template, scaled_only(motion, source, target), target, before)
    scale = target.placement.leg_length / source.placement.leg_length
    free, every = directions(template, motion, before, after, scaled)
    stands = planted(before, motion.fps)
    lost = unseen(motion) if with_fingers(motion) else np.zeros((len(motion), 2), bool)
    touched = (before.apart < TOUCHES) & ~np.stack([lost[:, 0], lost[:, 1], lost.any(1)], 1)
    return [
        f"{1e-6 * np.median(durations):.2f}",
        f"{np.quantile(free, 0.99):.1f}" if len(free) else "",
        " / ".join(f"{np.quantile(every, share):.1f}" for share in (0.5, 0.95, 0.99)),
        *(f"{1e3 * slide(posed.soles, stands):.1f}" if stands else "" for posed in (after, scaled)),
        f"{1e3 * max(0.0, float((target.placement.floor - after.lowest).max())):.1f}",
        jumps(before, after, scale),
        f"{1e3 * after.apart[touched].mean():.0f}" if touched.any() else "",
        " / ".join(f"{1e3 * posed.apart[touched].mean():.0f}" for posed in (before, scaled)) if touched.any() else "",
    ]


def scaled_only(motion: Motion, source: Person, target: Person) -> Motion:
    """Return the same joint angles, with the path of the root scaled by leg length."""
    here, there = target.placement, source.placement
    path = motion.root_translation - torch.tensor([there.x, there.y, there.floor])
    place = torch.tensor([here.x, here.y, here.floor])
    return Motion(**vars(motion) | {"root_translation": place + path * here.leg_length / there.leg_length})


class Posed:
    """A motion on a body, computed from the whole mesh in every frame.

    Args:
        spots: another body in the same motion, whose pairs of touching points are measured; None for its own
            nearest points.
    """

    @torch.no_grad()
    def __init__(self, template: BodyTemplate, motion: Motion, person: Person, spots: "Posed | None" = None):
        body, self.floor = template.body(person.identity), person.placement.floor
        self.leg = person.placement.leg_length
        feet, (left, right, head) = heels_and_balls(template), parts(template)
        joints, turns, soles, lowest, apart, self.spots = [], [], [], [], [], []
        for few in motion.batches(16):
            posed = body.pose(*few.parameters())
            joints.append(posed.joints[..., :3, 3])
            turns.append(posed.turns)
            soles.append(torch.stack([posed.vertices[:, group].mean(1) for group in feet], 1))
            lowest.append(posed.vertices[..., 2].amin(1))
            for vertices in posed.vertices:
                pairs = [nearest(vertices, *p) for p in ((left, head), (right, head), (left, right))]
                self.spots.append(torch.stack(pairs))  # [3, 2]
                watched = self.spots[-1] if spots is None else spots.spots[len(self.spots) - 1]
                apart.append((vertices[watched[:, 0]] - vertices[watched[:, 1]]).norm(dim=1))
        self.joints, self.turns, self.soles, self.lowest = (
            torch.cat(each).double().numpy() for each in (joints, turns, soles, lowest)
        )  # [N, J, 3], [N, J, 3, 3], [N, 4, 3], [N]
        self.apart = torch.stack(apart).numpy()  # [N, 3] left hand and head, right hand and head, the hands


def parts(template: BodyTemplate) -> list[torch.Tensor]:
    """Return every sixth vertex of the left hand, the right hand and the head."""
    hand = lambda side: [f"hand.{side}", *(f"{finger}{k}.{side}" for finger in FINGERS for k in (1, 2, 3))]
    groups = (hand("L"), hand("R"), ["head"])
    return [(template.role_weight(*roles) > 0.5).nonzero().flatten()[::6] for roles in groups]


def nearest(vertices: torch.Tensor, some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the nearest two vertices [2] of two groups."""
    one, other = divmod(int(torch.cdist(vertices[some], vertices[others]).argmin()), len(others))
    return torch.stack([some[one], others[other]])


def directions(
    template: BodyTemplate, motion: Motion, before: Posed, after: Posed, scaled: Posed
) -> tuple[np.ndarray, np.ndarray]:
    """Return the angles in degrees between the bones of the two bodies: uncorrected ones, and all.

    Uncorrected bones are those not adjusted for a foot or hand. Hands are excluded where they are not seen.
    """
    index, roles = template.joint_names.index, {joint: role for role, joint in template.roles.items()}
    lost = unseen(motion)
    free, every = [], []
    for carriers, end in bones(template):
        start, end = index(carriers[0]), index(end)
        units = [seen.joints[:, end] - seen.joints[:, start] for seen in (before, after)]
        units = [u / np.linalg.norm(u, axis=1, keepdims=True) for u in units]
        angle = np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(units[0] - units[1], axis=1) / 2, 0, 1)))
        # Without a correction, the rotation between the two is a constant of the two builds.
        change = np.einsum("nji,njk->nik", scaled.turns[:, start], after.turns[:, start])
        same = np.abs(change - np.median(change, 0)).max((1, 2)) < 2e-3
        shown = np.ones(len(motion), bool)
        role = roles[carriers[0]]
        if role.startswith(FINGERS):
            shown = ~lost[:, SIDES.index(role[-1])]
        free.append(angle[same & shown])
        every.append(angle[shown])
    return np.concatenate(free), np.concatenate(every)


def with_fingers(motion: Motion) -> bool:
    """Return whether the driver has fingers; without them, hands are at rest in both bodies."""
    return bool((motion.confidence[:, 1:3] > 0).any())


def unseen(motion: Motion) -> np.ndarray:
    """Return [N, 2]: whether the left and the right hand are not seen, or are still being blended back."""
    lost, lag = motion.confidence[:, 1:3].numpy() < 0.3, round(1.5 * motion.fps)
    return np.stack([lost[max(0, i - lag) : i + 1].any(0) for i in range(len(motion))])


def planted(driver: Posed, fps: float) -> list[tuple[int, int, int]]:
    """Return heel or ball, first frame and end frame of each interval in which it is planted."""
    found, count = [], len(driver.soles)
    for point in range(driver.soles.shape[1]):
        path, start = driver.soles[:, point], 0
        while start < count:
            end = start
            while (
                end < count
                and np.linalg.norm(path[end] - path[start]) <= PLANTED
                and path[end, 2] - driver.floor < LOW * driver.leg
            ):
                end += 1
            if end - start >= max(2, SHORTEST * fps):
                found.append((point, start, end))
            start = max(end, start + 1)
    return found


def slide(soles: np.ndarray, stands: list[tuple[int, int, int]]) -> float:
    """Return the largest horizontal distance in metres of a planted foot from where it landed."""
    paths = [soles[start:end, point, :2] - soles[start, point, :2] for point, start, end in stands]
    return max(float(np.linalg.norm(path, axis=1).max()) for path in paths)


def jumps(before: Posed, after: Posed, scale: float) -> str:
    """Return the longest step of any joint between frames, relative to the driver's: over the clip / at the time.

    At the time means within one frame; the driver's step counts as at least a centimetre.
    """
    steps = [np.linalg.norm(np.diff(seen.joints, axis=0), axis=-1).max(1) for seen in (before, after)]
    driver, avatar = steps[0], steps[1] / scale
    near = np.maximum(np.max([np.roll(driver, k) for k in (-1, 0, 1)], 0), 0.01)
    return f"{avatar.max() / driver.max():.2f} / {(avatar / near).max():.2f}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except UserError as error:
        raise SystemExit(str(error)) from None
