"""The room behind the performer: a wall with a picture, a plant, a lamp and a skirting board; a wooden floor."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.camera import Camera
from .performances import FLOOR
from .wardrobe import Array, linear, smoothstep

WALL = 5.3  # metres from the camera
SKIRTING = 0.11  # metres high
BOARD = 0.17  # metres wide


def paint_room(camera: Camera, samples: int = 2) -> NDArray[np.float32]:
    """Render the room as linear RGB [H, W, 3], with `samples` x `samples` rays per pixel."""
    height, width = camera.height * samples, camera.width * samples
    y, x = np.mgrid[:height, :width] / samples + 0.5 / samples
    across, up = (x - camera.center_x) / camera.focal, (camera.center_y - y) / camera.focal
    wall = _Canvas(across * WALL, up * WALL)
    _paint_wall(wall)
    on_floor = up * WALL < FLOOR
    distance = FLOOR / np.minimum(up, FLOOR / WALL)
    picture = np.where(on_floor[..., None], _floor(across * distance, distance), wall.color)
    picture = picture * _vignette(x / camera.width, y / camera.height)[..., None]
    return cv2.resize(picture.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_AREA)


class _Canvas:
    """A wall seen from the front, in metres: x right in the image, z up."""

    def __init__(self, x: Array, z: Array) -> None:
        self.x, self.z = x, z
        self.color = np.zeros((*x.shape, 3))
        self.pixel = abs(float(x[0, 1] - x[0, 0]))  # width of antialiased edges

    def fill(self, color: Array, distance: Array) -> None:
        """Paint where the signed distance in metres is negative."""
        self.blend(color, smoothstep(self.pixel, -self.pixel, distance))

    def blend(self, color: Array, alpha: Array) -> None:
        """Blend a colour over the wall."""
        self.color += (color - self.color) * np.clip(alpha, 0, 1)[..., None]

    def box(self, x: float, z: float, half_width: float, half_height: float) -> Array:
        """Return the signed distance to a rectangle."""
        return np.maximum(np.abs(self.x - x) - half_width, np.abs(self.z - z) - half_height)

    def ellipse(self, x: float, z: float, radius_x: float, radius_z: float, angle: float = 0.0) -> Array:
        """Return the approximate signed distance to an ellipse rotated by `angle` radians."""
        c, s = np.cos(angle), np.sin(angle)
        right, up = self.x - x, self.z - z
        along, aside = (c * right + s * up) / radius_x, (c * up - s * right) / radius_z
        return (np.hypot(along, aside) - 1) * min(radius_x, radius_z)

    def shade(self, amount: float, distance: Array, softness: float) -> None:
        """Paint a soft shadow of a shape."""
        self.color *= 1 - (amount * smoothstep(softness, -softness, distance))[..., None]


def _paint_wall(wall: _Canvas) -> None:
    glow = np.exp(-((wall.x + 0.9) ** 2 + (wall.z - 0.5) ** 2) / 2.2)
    top = smoothstep(FLOOR, 1.8, wall.z)
    wall.color[:] = linear("#9fb4ae") * (0.80 + 0.16 * top + 0.22 * glow)[..., None]
    wall.color *= 0.985 + 0.03 * _grain(wall.x, wall.z, 0.01, 0.01)[..., None]
    _picture(wall, x=1.08, z=0.62)
    _skirting(wall)
    _lamp(wall, x=-1.22)
    _plant(wall, x=1.22)


def _picture(wall: _Canvas, x: float, z: float) -> None:
    wall.shade(0.35, wall.box(x + 0.02, z - 0.03, 0.27, 0.35), 0.05)
    wall.fill(linear("#7a5236"), wall.box(x, z, 0.27, 0.35))
    wall.fill(linear("#f2ede2"), wall.box(x, z, 0.245, 0.325))
    inside = wall.box(x, z, 0.175, 0.255)
    wall.fill(linear("#e9c9a0"), inside)
    for color, shape in (
        ("#d9694f", wall.ellipse(x + 0.05, z + 0.09, 0.085, 0.085)),
        ("#2f5d62", wall.ellipse(x - 0.10, z - 0.25, 0.22, 0.22)),
        ("#5e8b7e", wall.ellipse(x + 0.14, z - 0.30, 0.24, 0.20)),
    ):
        wall.fill(linear(color), np.maximum(shape, inside))


def _skirting(wall: _Canvas) -> None:
    top = FLOOR + SKIRTING
    wall.fill(linear("#e8e4da") * 0.85, wall.z - top)
    wall.shade(0.3, np.abs(wall.z - top + 0.018) - 0.002, 0.006)
    wall.shade(0.5, wall.z - FLOOR, 0.02)


def _lamp(wall: _Canvas, x: float) -> None:
    wall.fill(linear("#3b3632"), wall.box(x, FLOOR / 2 + 0.15, 0.011, -FLOOR / 2 + 0.15))
    wall.fill(linear("#3b3632"), wall.ellipse(x, FLOOR + 0.015, 0.13, 0.025))
    up = (wall.z - 0.33) / 0.30  # 0 to 1 over the height of the shade
    shade = np.maximum(np.abs(wall.x - x) - (0.20 - 0.08 * up), np.abs(wall.z - 0.48) - 0.15)
    wall.blend(linear("#ffdfae"), 0.28 * np.exp(-np.maximum(shade, 0) / 0.22))
    wall.fill(linear("#fff0d0") * 1.15, shade)
    wall.shade(0.12, np.maximum(shade, 0.06 - np.abs(wall.x - x)), 0.06)


def _plant(wall: _Canvas, x: float) -> None:
    random = np.random.default_rng(3)
    base = FLOOR + 0.32
    for angle in np.linspace(-1.25, 1.25, 13)[random.permutation(13)]:
        length = random.uniform(0.24, 0.36) * (1.15 - 0.25 * abs(angle))
        tone = random.uniform(0.65, 1.15)
        lean = np.pi / 2 - angle
        middle = x + np.cos(lean) * length, base + np.sin(lean) * length
        leaf = wall.ellipse(*middle, length, 0.036, lean)
        wall.shade(0.2, leaf, 0.02)
        wall.fill(linear("#4d7f52") * tone, leaf)
        wall.fill(linear("#86ad78") * tone, wall.ellipse(*middle, length * 0.95, 0.003, lean))
    taper = 0.13 + 0.10 * (wall.z - FLOOR)
    pot = np.maximum(np.abs(wall.x - x) - taper, np.abs(wall.z - FLOOR - 0.16) - 0.16)
    round_shade = 1.05 - 0.45 * smoothstep(-0.1, 0.16, wall.x - x)
    wall.fill(linear("#e6ddd0") * round_shade[..., None], pot)
    wall.fill(linear("#c96f4a") * round_shade[..., None], np.maximum(pot, np.abs(wall.z - FLOOR - 0.2) - 0.03))


def _floor(x: Array, distance: Array) -> Array:
    board = np.floor(x / BOARD)
    tints = np.random.default_rng(11).uniform(-1, 1, (2, 512))
    number = board.astype(int) % 512
    end = (distance + 2.0 * tints[0, number]) / 1.3  # boards have a finite length
    tint = tints[1, (number * 7 + np.floor(end).astype(int)) % 512]
    grain = _grain(x, distance + 3 * tint, 0.012, 0.35) - 0.5
    color = linear("#b98a5e") * (0.85 + 0.13 * tint + 0.16 * grain)[..., None]
    width = 0.0025 + 0.0012 * (distance - 2)  # of a gap; wider far away, where it would be thinner than a ray
    gap = smoothstep(width, 0.3 * width, np.abs(x / BOARD - np.round(x / BOARD)) * BOARD)
    gap = np.maximum(gap, smoothstep(0.008, 0.002, np.abs(end - np.round(end)) * 1.3))
    color *= (1 - 0.4 * gap)[..., None]
    sheen = np.exp(-((x + 0.8) ** 2) / 0.8) * smoothstep(3.2, WALL, distance)
    color += 0.10 * sheen[..., None] * linear("#ffe8c8")
    return color * (1 - 0.45 * smoothstep(WALL - 0.25, WALL, distance))[..., None]


def _grain(x: Array, y: Array, cell_x: float, cell_y: float) -> Array:
    """Return smooth noise in [0, 1] with cells of the given size."""
    noise = np.random.default_rng(5).uniform(0, 1, (256, 256)).astype(np.float32)
    at_x, at_y = (x / cell_x % 255).astype(np.float32), (y / cell_y % 255).astype(np.float32)
    return np.asarray(cv2.remap(noise, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def _vignette(x: Array, y: Array) -> Array:
    return 1 - 0.35 * ((x - 0.48) ** 2 + (y - 0.45) ** 2)
