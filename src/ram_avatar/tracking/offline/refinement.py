"""Refinement of the fit by the video's own pixels.

Landmarks say where joints are, to about a percent of a person's height; the video shows where every patch of
cloth is. The template is painted with the video's colours and drawn in every frame; the optical flow from the
drawing to the video says by how much each point of the surface is off. With these points beside the landmarks
the fit goes on (`fitting.refit`), and with the better fit the painting gets sharper: it is repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.camera import Camera
from ...core.progress import SILENT, Progress
from ...rendering.framing import Square
from ...rendering.rasterizer import rasterize, visible
from ...rendering.surface_texture import (
    VISIBLE_WITHIN,
    SurfacePainter,
    choose_frames,
    sample_texture,
)
from ..correspondence import Correspondence
from ..observations import Observations
from .fitting import (
    Fit,
    FitSettings,
    SurfaceTargets,
    refit,
)

FILM_SIZE = 384  # pixels of the pictures that are compared, at most
POINTS = 700  # of the surface, evenly spread
PAINTED_FROM = 32  # frames
INCONSISTENT = 1.0  # pixels: flow there and back that does not end where it began
FARTHEST = 0.06  # of the picture: more than this is another match, not an error of the fit
PERSON = 100  # of 255, in the mask


@dataclass
class Film:
    """The close-ups of a clip, small, to compare drawings with."""

    scene: Camera
    size: int
    squares: list[Square]  # [N]
    frames: list[np.ndarray]  # [N] of [S, S, 3] uint8 RGB
    masks: list[np.ndarray]  # [N] of [S, S] uint8 person
    background: np.ndarray | None  # [H, W, 3] uint8 of the scene; None where it is not known
    shown: np.ndarray  # [N] bool: whether the frame shows the person
    painted: Sequence[int]  # numbers of the frames that the surface is painted from

    def __len__(self) -> int:
        return len(self.frames)

    def camera(self, index: int) -> Camera:
        """The camera that sees a close-up."""
        return self.squares[index].camera(self.scene, self.size)

    def plate(self, index: int) -> np.ndarray | None:
        """[S, S, 3] what is behind the person in a close-up."""
        return None if self.background is None else self.squares[index].cut(self.background, self.size)


def refine(
    template: BodyTemplate,
    observations: Observations,
    net_actions: Tensor | None,
    fitted: Fit,
    film: Film,
    settings: FitSettings,
    progress: Progress = SILENT,
) -> tuple[Fit, list[float | None]]:
    """Improve a fit by the pixels of its capture.

    Args:
        observations, net_actions: as `fit` was given them.
        film: the close-ups of the clip, of `FILM_SIZE` or less.

    Returns:
        The fit, and for every round how far the surface was off at its start: mean over the points that are
        seen, in shares of the person's height; None where none is.
    """
    points = _spread_points(template, POINTS)
    regressor = torch.zeros(len(points), len(template.skin_weights))
    regressor[torch.arange(len(points)), points] = 1.0
    skinned = template.points(torch.cat([Correspondence.load(template, observations.topology).regressor, regressor]))
    rounds, done = [], 0
    for _ in range(settings.refinements):
        texture = _paint(template, fitted, film)
        place, weight, offsets = torch.zeros(len(film), len(points), 2), torch.zeros(len(film), len(points)), []
        for index, there, seen, off in _seen_points(template, fitted, film, texture, points):
            square = film.squares[index]
            scale = square.side / film.size
            place[index] = there * scale + torch.tensor([square.left, square.top])
            weight[index] = seen.float()
            offsets.append(off * scale / observations.person_height)
            done += 1
            progress.step("Refining", done, settings.refinements * int(film.shown.sum()))
        fitted = refit(template, observations, net_actions, fitted, SurfaceTargets(skinned, place, weight), settings)
        known = [offset for offset in offsets if np.isfinite(offset)]
        rounds.append(float(np.mean(known)) if known else None)
    return fitted, rounds


def _paint(template: BodyTemplate, fitted: Fit, film: Film) -> Tensor:
    """The surface texture [3, T, T] of a fit. Held-out frames take no part, here as everywhere."""
    painter = SurfacePainter(template, fitted.identity)
    for index in choose_frames(film.painted, PAINTED_FROM):
        painter.add(film.frames[index], film.masks[index], fitted.motion[[index]], film.camera(index))
    return painter.texture()[0]


@torch.no_grad()
def _seen_points(
    template: BodyTemplate,
    fitted: Fit,
    film: Film,
    texture: Tensor,
    points: Tensor,
) -> Iterator[tuple[int, Tensor, Tensor, float]]:
    """For each frame that shows the person, its number, where the points [K] of the surface are seen [K, 2], whether
    [K], and their mean offset (NaN where none is).

    In pixels of the close-up.
    """
    body, size = template.body(fitted.identity), film.size
    for index in np.flatnonzero(film.shown).tolist():
        frame, mask, plate, camera = film.frames[index], film.masks[index], film.plate(index), film.camera(index)
        projected = camera.project(body.pose(*fitted.motion[[index]].parameters()).vertices)
        drawn = rasterize(projected, template.faces, size, size)
        colors = sample_texture(texture, drawn, template.uv, template.uv_faces)[0].movedim(0, -1)
        picture = ((colors + 1) * 127.5).round().clamp(0, 255).byte().numpy()
        covered = drawn.mask[0].numpy()
        picture = np.where(covered[..., None], picture, frame if plate is None else plate)
        flow, trusted = np.zeros((size, size, 2), np.float32), np.zeros((size, size), bool)
        window = _window(covered)
        flow[window], trusted[window] = _flow(*(np.ascontiguousarray(x[window]) for x in (picture, frame, mask)))
        here = projected[0, points]
        in_view = visible(here[None], drawn, VISIBLE_WITHIN)[0]
        x, y = (here[:, i].where(in_view, 0).long() for i in (0, 1))
        shift = torch.from_numpy(flow)[y, x]
        seen = in_view & torch.from_numpy(trusted & covered)[y, x] & (shift.norm(dim=-1) < FARTHEST * size)
        yield index, here[:, :2] + shift, seen, float(shift[seen].norm(dim=-1).mean())


def _flow(drawn: np.ndarray, frame: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Optical flow [S, S, 2] from a drawing to a frame, and where to trust it [S, S] bool."""
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    before, after = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (drawn, frame))
    flow, back = method.calc(before, after, None), method.calc(after, before, None)
    y, x = np.mgrid[: len(flow), : flow.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    gap = np.linalg.norm(flow + cv2.remap(back, x, y, cv2.INTER_LINEAR), axis=-1)
    on_person = cv2.remap(mask, x, y, cv2.INTER_LINEAR) > PERSON
    return flow, (gap < INCONSISTENT) & on_person


def _window(covered: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what is covered [S, S], with room to move; the whole picture where that is nothing."""
    if not covered.any():
        return slice(None), slice(None)
    room = round(FARTHEST * len(covered))
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    return tuple(slice(max(0, along[0] - room), along[-1] + room) for along in (rows, columns))


def _spread_points(template: BodyTemplate, count: int) -> Tensor:
    """`count` vertices, each the farthest from those before it; eyeballs turn on their own and are left out."""
    candidates = (template.role_weight("eye") < 0.1).nonzero().flatten()
    surface = template.body(template.default_identity()).reference_vertices()[candidates]
    chosen = [0]
    distance = (surface - surface[0]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = distance.minimum((surface - surface[chosen[-1]]).norm(dim=1))
    return candidates[chosen]
