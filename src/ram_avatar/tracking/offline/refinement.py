"""Refinement of the fit by the video's own pixels.

Landmarks locate joints to about a percent of a person's height; the video shows where every patch of cloth is. The
template is painted with the video's colours and drawn in every frame; the optical flow from the drawing to the frame
says how far each point of the surface is off. The fit continues with these points besides the landmarks
(`fitting.refit`). A better fit gives a sharper painting, so this is repeated.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...body.sampling import farthest_points
from ...body.template import BodyTemplate
from ...core.progress import SILENT, Progress
from ...rendering.optical_flow import trusted_flow
from ...rendering.rasterizer import rasterize, visible
from ...rendering.texture.median import SurfacePainter, choose_frames
from ...rendering.texture.sampling import draw_over
from ...rendering.texture.texels import VISIBLE_WITHIN
from ..correspondence import Correspondence
from ..observations import Observations
from .clip_energy import FitSettings, SurfaceTargets
from .close_ups import CloseUps
from .fitting import Fit, refit

POINTS = 700  # of the surface, evenly spread
PAINTED_FROM = 32  # frames
FARTHEST = 0.06  # of the image: a larger offset is a wrong match, not an error of the fit


class Sighting(NamedTuple):
    """Where K points of the surface are in one frame, in pixels of the close-up."""

    frame: int
    places: Tensor  # [K, 2]
    seen: Tensor  # [K] bool
    offset: float  # mean distance from where the fit has them; NaN if none is seen


def refine(
    template: BodyTemplate,
    observations: Observations,
    net_actions: Tensor | None,
    fitted: Fit,
    close_ups: CloseUps,
    settings: FitSettings,
    progress: Progress = SILENT,
) -> tuple[Fit, list[float | None]]:
    """Improve a fit by the pixels of its capture.

    Args:
        observations, net_actions: those of the `fit`.

    Returns:
        The fit, and the mean offset of the visible points at the start of each round, in shares of the person's
        height; None if none is visible.
    """
    points = spread_points(template, POINTS)
    regressor = torch.zeros(len(points), len(template.skin_weights))
    regressor[torch.arange(len(points)), points] = 1.0
    landmarks = Correspondence.load(template, observations.topology).regressor
    skinned = template.points(torch.cat([landmarks, regressor]))
    rounds: list[float | None] = []
    done, total = 0, settings.refinements * int(close_ups.shown.sum())
    for _ in range(settings.refinements):
        texture = paint_surface(template, fitted, close_ups)
        place, weight, offsets = (
            torch.zeros(len(close_ups), len(points), 2),
            torch.zeros(len(close_ups), len(points)),
            [],
        )
        for sighting in find_points(template, fitted, close_ups, texture, points):
            square = close_ups.squares[sighting.frame]
            scale = square.side / close_ups.size
            place[sighting.frame] = sighting.places * scale + torch.tensor([square.left, square.top])
            weight[sighting.frame] = sighting.seen.float()
            offsets.append(sighting.offset * scale / observations.person_height)
            done += 1
            progress.step("Refining", done, total)
        fitted = refit(template, observations, net_actions, fitted, SurfaceTargets(skinned, place, weight), settings)
        known = [offset for offset in offsets if np.isfinite(offset)]
        rounds.append(float(np.mean(known)) if known else None)
    return fitted, rounds


def paint_surface(template: BodyTemplate, fitted: Fit, close_ups: CloseUps) -> Tensor:
    """Return the surface texture [3, T, T] of a fit, from training frames only."""
    painter = SurfacePainter(template, fitted.identity)
    for index in choose_frames(close_ups.painted, PAINTED_FROM):
        painter.add(close_ups.frames[index], close_ups.masks[index], fitted.motion[[index]], close_ups.camera(index))
    return painter.texture()[0]


@torch.no_grad()
def find_points(
    template: BodyTemplate, fitted: Fit, close_ups: CloseUps, texture: Tensor, points: Tensor
) -> Iterator[Sighting]:
    """Yield where the points [K] of the surface are, for each frame that shows the person."""
    body, size = template.body(fitted.identity), close_ups.size
    for index in np.flatnonzero(close_ups.shown).tolist():
        frame, mask = close_ups.frames[index], close_ups.masks[index]
        projected = close_ups.camera(index).project(body.pose(*fitted.motion[[index]].parameters()).vertices)
        drawn = rasterize(projected, template.faces, size, size)
        covered = drawn.mask[0].numpy()
        drawing = draw_over(close_ups.behind(index), texture, drawn, template)
        flow, trusted = np.zeros((size, size, 2), np.float32), np.zeros((size, size), bool)
        window = _window(covered)
        flow[window], trusted[window] = trusted_flow(
            *(np.ascontiguousarray(image[window]) for image in (drawing, frame, mask))
        )
        here = projected[0, points]
        in_view = visible(here[None], drawn, VISIBLE_WITHIN)[0]
        x, y = (here[:, i].where(in_view, 0).long() for i in (0, 1))
        shift = torch.from_numpy(flow)[y, x]
        seen = in_view & torch.from_numpy(trusted & covered)[y, x] & (shift.norm(dim=-1) < FARTHEST * size)
        yield Sighting(index, here[:, :2] + shift, seen, float(shift[seen].norm(dim=-1).mean()))


def _window(covered: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what is covered [S, S], with a margin; the whole image if nothing is."""
    if not covered.any():
        return slice(None), slice(None)
    margin = round(FARTHEST * len(covered))
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    return slice(max(0, rows[0] - margin), rows[-1] + margin), slice(max(0, columns[0] - margin), columns[-1] + margin)


def spread_points(template: BodyTemplate, count: int) -> Tensor:
    """Return `count` vertices far apart; eyeballs, which turn on their own, are left out."""
    candidates = (template.role_weight("eye") < 0.1).nonzero().flatten()
    surface = template.body(template.default_identity()).reference_vertices()[candidates]
    return candidates[farthest_points(surface, count)]
