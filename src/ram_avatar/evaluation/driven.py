"""Evaluates an avatar that another person drives: there are no true frames, but the driver's video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..animation.animate import drive
from ..avatar import Avatar
from ..capture.capture import Capture
from ..core.camera import Camera
from ..core.progress import Progress, follow
from ..drivers.sources import DriverClip
from ..motion.retargeting.retarget import Person
from ..rendering.framing import Framing, Square
from ..tracking.detection.landmarks import Landmarks
from .baselines import textured_mesh
from .control import detect_frames, expected_landmarks, measure_control, scaled
from .document import FLOOR, RESIZED, Evaluation, method_label
from .following import MIN_FACE, Follower
from .frames import Frames, detect, render_frames, still_noise
from .protocol import describe_protocol
from .report import HEADS

_WIDER = 1.1  # side of the crop in which the driver is seen again, as a multiple
_HEAD = 1.8  # side of a picture of the head, as a multiple of the face
_LARGEST = 1024  # pixels of a crop of the driver's video, which the detector reduces further, except for the face


@dataclass(frozen=True)
class Driven:
    """An avatar that another person drove."""

    evaluation: Evaluation
    frames: Frames
    """Of the driver, the avatar and the textured mesh."""
    boxes: dict[str, np.ndarray]
    """The heads in the frames of the driver and of the avatar, see `write_report`."""


def evaluate_driven(avatar: Avatar, capture: Capture, progress: Progress, size: int) -> Driven:
    """Drive an avatar as `animate` does by default, and measure how closely it follows, in close-ups of one size."""
    template = avatar.template.to("cpu")
    clip = DriverClip(capture.motion, template, capture.identity, capture)
    motion, numbers = drive(avatar, clip, progress=progress), np.flatnonzero(capture.shown).tolist()
    rendered = follow(render_frames(avatar, motion, numbers, size), progress, "Rendering", len(numbers))
    frames = {
        "avatar": np.stack(list(rendered)),
        "textured_mesh": np.stack(list(textured_mesh(avatar, motion[numbers], size))),
    }
    film = _Film(capture, clip.person, capture.framing(template))
    squares = [avatar.framing.square(root) for root in motion[numbers].root_translation.numpy()]
    driver = film.seen(film.size, 1.0, "driver", progress)
    found = {name: detect(images, method_label(name).lower(), progress) for name, images in frames.items()}
    follower = Follower(driver, numbers)
    results = {name: _in_scene(seen, squares, size) for name, seen in found.items()}
    followings = {name: follower(seen) for name, seen in results.items()}
    figures = {name: following.figures for name, following in followings.items()}
    drawn = size / _median_side(squares) * _leg(avatar.person, avatar.camera)
    for method, pixels in ((RESIZED, film.size_for(drawn)), (FLOOR, film.size)):
        figures[method] = follower(film.seen(pixels, _WIDER, method_label(method).lower(), progress)).figures
    cameras = [square.camera(avatar.camera, size) for square in squares]
    expected = expected_landmarks(template, avatar.identity.cpu(), cameras, motion[numbers])
    methods = {
        name: {"following": followings[name].series, "control": measure_control(seen, expected)}
        for name, seen in found.items()
    }
    methods["avatar"]["time"] = {"own_noise": still_noise(avatar, motion[numbers], size)}
    facts = {
        "range": "all frames that show the driver",
        "motion": "as animate draws it by default: retargeted and aligned",
        "following": "compared with the driver's video, as MediaPipe sees both",
        "gestures": f"compared where the driver's face is at least {MIN_FACE:g} pixels high, and a finger moves",
        "control": "compared with the template's landmarks in the motion that drives the avatar",
    }
    evaluation = Evaluation(
        avatar=avatar.name,
        driver=capture.source,
        own=False,
        first_frame=numbers[0],
        fps=motion.fps,
        size=size,
        protocol=describe_protocol(avatar, size, figures, facts),
        methods=methods,
        left_out=sorted(set(range(numbers[0], numbers[-1])) - set(numbers)),
        figures=figures,
    )
    frames = {"driver": np.stack(list(film.crops(size))), **frames}
    boxes = {
        HEADS + "driver": _heads(driver, film.squares, size),
        HEADS + "avatar": _heads(results["avatar"], squares, size),
    }
    return Driven(evaluation, frames, boxes)


@dataclass(frozen=True)
class _Film:
    """The driver's video, cropped about the driver."""

    capture: Capture
    driver: Person
    framing: Framing

    @cached_property
    def numbers(self) -> list[int]:
        """Numbers of the frames that show the driver."""
        return np.flatnonzero(self.capture.shown).tolist()

    @cached_property
    def squares(self) -> list[Square]:
        """The close-up in each of them."""
        roots = self.capture.motion[self.numbers].root_translation.cpu().numpy()
        return [self.framing.square(root) for root in roots]

    @cached_property
    def size(self) -> int:
        """Side of a crop in pixels, as many as the video has, within reason."""
        return min(_LARGEST, max(1, round(_median_side(self.squares))))

    def size_for(self, leg: float) -> int:
        """Return the side of the crop in which the driver's leg is at most so many pixels long."""
        return min(self.size, max(1, round(_median_side(self.squares) * leg / _leg(self.driver, self.capture.camera))))

    def crops(self, size: int, wider: float = 1.0) -> Iterator[np.ndarray]:
        """Yield crops [S, S, 3] uint8 of the video about the driver; beyond its borders they are black.

        Args:
            size: side in pixels that the close-up gets; a wider crop has more.
        """
        squares, footage = dict(zip(self.numbers, self.squares, strict=True)), self.capture.footage
        for number, (frame, _) in enumerate(self.capture.frames()):
            if number in squares:
                yield _widened(squares[number], wider).cut(frame, round(wider * size), footage.matrix(number))

    def seen(self, size: int, wider: float, what: str, progress: Progress) -> list[Landmarks]:
        """Detect the driver in such crops; landmarks are in pixels of the scene."""
        crops = follow(self.crops(size, wider), progress, f"Detecting: {what}", len(self.numbers))
        return _in_scene(
            detect_frames(crops), [_widened(square, wider) for square in self.squares], round(wider * size)
        )


def _in_scene(seen: Sequence[Landmarks], squares: Sequence[Square], size: int) -> list[Landmarks]:
    """Return landmarks in crops of `size` pixels in pixels of the scene."""
    found = []
    for landmarks, square in zip(seen, squares, strict=True):
        large = scaled(landmarks, square.side / size)
        corner = np.array([square.left, square.top, 0.0])
        parts = {part: getattr(large, part) + corner for part in ("left_hand", "right_hand", "face")}
        found.append(replace(large, pose=large.pose + corner[:2], **parts))
    return found


def _heads(seen: Sequence[Landmarks], squares: Sequence[Square], size: int) -> np.ndarray:
    """Return square boxes [N, 3] about the heads in crops of `size` pixels: left, top and side; NaN without a face.

    Args:
        seen: in pixels of the scene.
    """
    corners = np.array([[square.left, square.top] for square in squares])
    zoom = size / np.array([square.side for square in squares])
    faces = np.stack([landmarks.face[:, :2] for landmarks in seen])
    low, high = faces.min(1), faces.max(1)
    sides = _HEAD * (high - low).max(1, keepdims=True)
    return np.hstack([(low + high - sides) / 2 - corners, sides]) * zoom[:, None]


def _median_side(squares: Sequence[Square]) -> float:
    return float(np.median([square.side for square in squares]))


def _widened(square: Square, by: float) -> Square:
    """Return a square `by` times as large about the same middle."""
    margin = (by - 1) / 2 * square.side
    return Square(square.left - margin, square.top - margin, by * square.side)


def _leg(person: Person, camera: Camera) -> float:
    """Return how long a person's leg is in the scene, pixels."""
    return person.placement.leg_length * camera.focal / person.placement.y
