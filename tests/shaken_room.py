"""A synthetic hand-held video of a textured room, with known camera, light, person, captions and grain."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

_FINER = 2  # pixels of the room's texture per pixel of the video
_MARGIN = 0.25  # of the frame, on every side


def room(width: int, height: int, seed: int = 0) -> np.ndarray:
    """[H, W, 3] uint8: furniture, wallpaper and edges at all scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 30), (16, 25), (64, 18), (200, 12)):
        noise = rng.normal(0, strength, (cells, max(1, cells * width // height), 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = (total + 125).clip(15, 240).astype(np.uint8)
    for _ in range(40):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 60, width // 8), rng.integers(height // 60, height // 8)
        color = tuple(int(c) for c in rng.integers(20, 235, 3))
        cv2.rectangle(picture, (x, y), (x + w, y + h), color, int(rng.choice([-1, 3, 6])), cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 0.5 * _FINER)


def shake(frames: int, width: int, height: int, seed: int = 0, sway=0.03, turn=1.5, zoom=0.02, rate=25.0):
    """[N, 3, 3] frame to scene: a hand's sway up to 2.5 Hz.

    Args:
        sway, zoom: shares, of the larger side and of the size.
        turn: degrees.
        rate: frames per second.
    """
    rng, side = np.random.default_rng(seed), max(width, height)
    time = np.arange(frames) / rate
    waves = np.zeros((4, frames))
    for wave in waves:
        for hertz in (0.2, 0.5, 0.9, 1.5, 2.5):
            wave += rng.normal() / (1 + 2 * hertz) * np.sin(2 * np.pi * (hertz * time + rng.uniform()))
        wave /= np.abs(wave).max()
    matrices = np.tile(np.eye(3), (frames, 1, 1))
    for n, (x, y, angle, size) in enumerate(waves.T):
        matrices[n, :2] = cv2.getRotationMatrix2D((width / 2, height / 2), turn * angle, 1 + zoom * size)
        matrices[n, :2, 2] += np.array([x, y]) * sway * side / np.sqrt(2)
    return matrices


def pan(frames: int, width: int, height: int, degrees: float, focal: float = 1.6) -> np.ndarray:
    """[N, 3, 3] frame to scene: a camera that pans and tilts back and forth."""
    inner = np.array([[focal * height, 0, width / 2], [0, focal * height, height / 2], [0, 0, 1]])
    matrices = []
    for phase in np.linspace(0, 2 * np.pi, frames):
        yaw, pitch = np.radians(degrees) * np.array([np.sin(phase), 0.6 * np.sin(2 * phase)])
        turn = cv2.Rodrigues(np.array([pitch, yaw, 0.0]))[0]
        matrices.append(inner @ turn @ np.linalg.inv(inner))
    return np.stack(matrices)


@dataclass
class ShakenRoom:
    """Frames with person masks, and their ground truth."""

    to_scene: np.ndarray  # [N, 3, 3] centres at half integers
    width: int = 360
    height: int = 640
    grain: float = 2.0
    person: bool = True
    caption: bool = False
    gain: np.ndarray | None = None  # [N, 3]
    seed: int = 0
    texture: np.ndarray = field(init=False)

    def __post_init__(self):
        finer = [round(_FINER * n * (1 + 2 * _MARGIN)) for n in (self.width, self.height)]
        self.texture = room(*finer, self.seed)

    def scene(self, to_scene: np.ndarray | None = None) -> np.ndarray:
        """[H, W, 3] uint8: the empty room as a frame with that transform shows it; the scene itself for None."""
        matrix = np.eye(3) if to_scene is None else to_scene
        corner = np.array([[1, 0, self.width * _MARGIN], [0, 1, self.height * _MARGIN], [0, 0, 1]])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        to_texture = np.linalg.inv(half) @ np.diag([_FINER, _FINER, 1.0]) @ corner @ matrix @ half
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(self.texture, to_texture, (self.width, self.height), flags=flags)

    def __len__(self) -> int:
        return len(self.to_scene)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(self.seed + 1)
        for n, matrix in enumerate(self.to_scene):
            frame = self.scene(matrix).astype(np.float32)
            if self.gain is not None:
                frame *= self.gain[n]
            mask = np.zeros((self.height, self.width), np.uint8)
            if self.person:
                self._stand(frame, mask, n)
            if self.caption:
                left = int(self.width * (0.9 - 1.2 * n / len(self)))
                for k in range(5):
                    place = (left + k * 60, int(0.93 * self.height))
                    cv2.putText(frame, "ABXRK"[k], place, cv2.FONT_HERSHEY_DUPLEX, 1.6, (250, 40, 160), 4)
            frame += rng.normal(0, self.grain, frame.shape).astype(np.float32)
            yield frame.round().clip(0, 255).astype(np.uint8), cv2.resize(mask, (self.width // 2, self.height // 2))

    def _stand(self, frame: np.ndarray, mask: np.ndarray, n: int) -> None:
        """Draw a striped figure that sways at its own rhythm."""
        x = int(self.width * (0.5 + 0.16 * np.sin(2 * np.pi * n / 40)))
        y, w, h = int(0.55 * self.height), int(0.14 * self.width), int(0.33 * self.height)
        for picture, colors in ((frame, ((220, 40, 40), (40, 40, 90))), (mask, (255, 255))):
            cv2.ellipse(picture, (x, y), (w, h), 0, 0, 360, colors[0], -1)
            for k in range(-3, 4):
                cv2.ellipse(picture, (x, y + k * h // 5), (w * 3 // 5, h // 16), 8.0 * k, 0, 360, colors[1], -1)
