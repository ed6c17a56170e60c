"""A surface texture as sharp as the video.

The median of many frames is robust but soft, as a fit has each point of the surface some pixels off, in every frame
elsewhere. So each frame is aligned with the median first, by optical flow. Then each place takes its detail from the
one frame that shows it best (`sources`), and its tone from the median of all.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.camera import Camera
from ...motion.motion import Motion
from ..optical_flow import LEAST_SIZE, trusted_flow
from ..rasterizer import rasterize, vertex_normals
from .drift import common_drift, projected, tangents
from .fields import SurfaceFields
from .filling import Origins
from .median import complete, masked_quantiles
from .sampling import draw_over
from .sources import Looks, choose_sources
from .texels import Texels, sample_frame, towards_camera

Array = np.ndarray

_ALIGNED_OVER = 0.02  # metres: reach of the smoothing of the flow
_FARTHEST = 0.05  # metres: a larger offset is a wrong match, not an error of the fit
_TONE = 0.015  # metres: what changes more slowly is tone
_BLEND = 0.006  # metres: reach of the transition from one frame to the next
_INNER = 0.01  # metres: reach of the smoothing of what is seen
_CLEAR = (0.7, 0.95)  # share of the surroundings seen, from which a place begins to count, and counts fully
_USUAL = 0.2  # of the frames on either side: colours beyond those of the rest are unusual
_BEYOND = 6.0  # of 255: how far detail may go beyond usual colours
_WEAK = 0.05  # of detail's weight: below, the median prevails
_AGAINST = 1.5  # how fast a face's worth falls with its actions
_LOUD = {"eyeBlink": 1.0, "jaw": 1.0, "eyeLook": 0.3, "mouth": 0.3}  # actions unwanted in a texture
_FRONT = 0.25  # cosine: normals of the face
_BLURRED = 2.0  # pixels: over which sharpness is measured
_FINEST = 1.25  # pixels per texel: frames are shrunk to that
_COARSEST = 200.0  # pixels per metre, which alignment needs
_MARGIN = 12  # pixels about the person


@dataclass
class _Picture:
    """The part of a frame that shows the person."""

    frame: Array  # [h, w, 3] uint8
    mask: Array  # [h, w] uint8
    camera: Camera
    points: Tensor  # [V, 3] the vertices in it: x, y, depth
    facing: Array  # [V] cosine towards the camera
    calm: float
    scale: float  # pixels per metre
    place: Array  # [m, 2] pixels, of the texels seen
    moves: Array  # [V, 2, 2] pixels by which steps along the surface move the vertices (`drift`)
    offset: Array  # [V, 2] pixels by which the vertices are off


class SharpPainter:
    """Gathers the sharpest colours that frames show of a body's surface.

    Each frame takes 5 MB at 1024 texels, and its own pixels of the person.
    """

    def __init__(self, template: BodyTemplate, identity: Tensor, size: int):
        self.texels = Texels(template, identity, size)
        self.fields = SurfaceFields(self.texels)
        self._aligned = self.fields.smoother(_ALIGNED_OVER)
        self._pictures: list[_Picture] = []
        self._samples: list[Array] = []  # [M, 3] uint8 per frame
        self._seen: list[Array] = []  # [M] bool per frame
        self._facing = np.zeros(len(self.texels), np.float32)  # cosine at which a texel was seen best

    def frame_size(self, camera: Camera, motion: Motion) -> tuple[int, int]:
        """Return the width and height at which frames of a motion show what the texture can hold, at most their own."""
        density = float(np.sqrt(len(self.texels) / self.fields.area.sum()))  # texels per metre
        wanted = max(_FINEST * density, _COARSEST)
        pixels = camera.focal / max(0.05, float(motion.root_translation[:, 1].median()))  # per metre
        zoom = min(1.0, wanted / pixels)
        return max(1, round(camera.width * zoom)), max(1, round(camera.height * zoom))

    @torch.no_grad()
    def add(self, frame: Array, mask: Array, motion: Motion, camera: Camera) -> None:
        """Add an RGB frame [H, W, 3] uint8 with its person mask [H, W] uint8, one-frame motion and camera."""
        posed = self.texels.body.pose(*motion.parameters())
        points = camera.project(posed.vertices)[0]
        low, high = points[:, :2].floor().amin(0).int() - _MARGIN, points[:, :2].ceil().amax(0).int() + _MARGIN
        left, top = (max(0, int(value)) for value in low)
        right, bottom = min(int(high[0]), camera.width), min(int(high[1]), camera.height)
        if right <= left or bottom <= top:
            return  # the person is out of sight
        frame, mask = (np.ascontiguousarray(image[top:bottom, left:right]) for image in (frame, mask))
        camera = camera.part(left, top, right - left, bottom - top)
        view = self.texels.view(mask, posed.vertices, float(motion.root_translation[0, 1]), camera)
        faces = self.texels.template.faces
        self._pictures.append(
            _Picture(
                frame=frame,
                mask=mask,
                camera=camera,
                points=camera.project(posed.vertices)[0],
                facing=towards_camera(posed.vertices, faces).numpy(),
                calm=self._calm(motion),
                scale=view.scale,
                place=view.place[view.seen],
                moves=projected(tangents(posed.vertices[0], faces), camera, points[:, 2].numpy()),
                offset=np.zeros((len(points), 2)),
            )
        )
        self._facing = np.maximum(self._facing, view.facing * view.seen)
        self._seen.append(view.seen)
        self._samples.append(np.zeros((len(self.texels), 3), np.uint8))
        self._sample(len(self._samples) - 1)

    def texture(self) -> tuple[Tensor, Origins]:
        """Return the texture [3, T, T] in [-1, 1], and where its colours are from.

        Unseen texels, and badly seen ones near well seen ones, are filled (`filling`). Without any seen, all
        are gray.
        """
        count = len(self._seen)
        views = np.sum(self._seen, axis=0) if count else np.zeros(len(self.texels), int)
        if not views.any():
            return complete(self.texels, np.zeros((len(views), 3), np.float32), views, self._facing, count)
        self._align(range(count), masked_quantiles(self._samples, self._seen)[0])
        self._return()
        low, median, high = masked_quantiles(self._samples, self._seen, (_USUAL, 0.5, 1 - _USUAL))
        colors = (median + self._detail(median)).clip(low - _BEYOND, high + _BEYOND).clip(0, 255)
        return complete(self.texels, colors, views, self._facing, count)

    def _calm(self, motion: Motion) -> float:
        """Return how much the eyes are open and the mouth is shut in a one-frame motion, 0 to 1."""
        actions = zip(self.texels.template.action_names, motion.facial_actions[0].tolist(), strict=True)
        loud = sum(value * _LOUD[kind] for name, value in actions for kind in _LOUD if name.startswith(kind))
        return float(np.exp(-_AGAINST * loud))

    def _sample(self, index: int) -> None:
        """Sample the colours of a frame, where they are by its offset."""
        picture, seen = self._pictures[index], self._seen[index]
        place = picture.place
        if picture.offset.any():
            place = place + self.fields.at_texels(picture.offset)[seen]
        self._samples[index][seen] = sample_frame(picture.frame, place)

    def _align(self, frames, colors: Array) -> None:
        """Align frames with colours [M, 3] of the surface, and sample them again."""
        texture = self.texels.to_picture(colors)
        for index in frames:
            self._pictures[index].offset = self._offset(self._pictures[index], texture, self._seen[index])
            self._sample(index)

    def _return(self) -> None:
        """Return all frames, aligned with each other, to where the fit has them on average."""
        pictures, template = self._pictures, self.texels.template
        weights = [
            self.fields.at_vertices(seen[:, None], np.ones(len(seen), np.float32))[0][:, 0] * each.facing.clip(0) ** 2
            for each, seen in zip(pictures, self._seen, strict=True)
        ]
        along = tangents(self.texels.body.reference_vertices(), template.faces)
        offsets, moves = [each.offset for each in pictures], [each.moves for each in pictures]
        drift = common_drift(offsets, moves, weights, along, self._aligned)
        for index, picture in enumerate(pictures):
            picture.offset = picture.offset - (picture.moves @ drift[..., None])[..., 0]
            self._sample(index)

    @torch.no_grad()
    def _offset(self, picture: _Picture, texture: Tensor, seen: Array) -> Array:
        """Return how far the vertices [V, 2] are in a frame from where the fit has them, pixels."""
        template, camera = self.texels.template, picture.camera
        if min(camera.width, camera.height) < LEAST_SIZE:
            return picture.offset
        drawn = rasterize(picture.points[None], template.faces, camera.height, camera.width)
        drawing = draw_over(picture.frame, texture, drawn, template)
        flow, trusted = trusted_flow(drawing, picture.frame, picture.mask)
        x, y = picture.place.astype(int).T
        shift, sure = np.zeros((len(seen), 2), np.float32), np.zeros(len(seen), np.float32)
        shift[seen] = flow[y, x]
        sure[seen] = trusted[y, x] & (np.linalg.norm(shift[seen], axis=1) < _FARTHEST * picture.scale)
        return self._aligned(*self.fields.at_vertices(shift, sure))

    def _detail(self, median: Array) -> Array:
        """Return what the best frames show [M, 3] besides the median's colours."""
        fields = self.fields
        inside = self._inside()
        scores = self._looks(median, inside).scores(fields, self._face())
        sources, label = choose_sources(scores, fields)
        self._align(sources, median)
        tone, blend = fields.smoother(_TONE), fields.smoother(_BLEND)
        shares = blend((label[:, None] == np.arange(len(sources))).astype(np.float64), np.ones(len(label)))
        detail, total = np.zeros_like(median), np.full((len(median), 1), _WEAK, np.float32)
        for index, share in zip(sources, shares.T, strict=True):
            seen = self._seen[index].astype(np.float32)
            own = self._samples[index] - median
            own -= fields.at_texels(tone(*fields.at_vertices(own, seen)))
            weight = (fields.at_texels(share * inside[index]).clip(0, 1) ** 2 * seen)[:, None]
            detail += weight * own
            total += weight
        return detail / total

    def _inside(self) -> Array:
        """Return the confidence that frames see vertices, and clear of outlines, [N, V] from 0 to 1."""
        smooth, ones = self.fields.smoother(_INNER), np.ones(len(self.texels), np.float32)
        shares = np.stack([self.fields.at_vertices(seen[:, None], ones)[0][:, 0] for seen in self._seen], 1)
        low, high = _CLEAR
        return ((smooth(shares, np.ones(len(shares))).T - low) / (high - low)).clip(0, 1)

    def _looks(self, median: Array, inside: Array) -> Looks:
        """Return how the frames show the vertices, given the median colours [M, 3]."""
        pictures, errors, sharpness = self._pictures, [], []
        for picture, own, seen in zip(pictures, self._samples, self._seen, strict=True):
            error = np.abs(own - median).mean(1, keepdims=True)
            errors.append(self.fields.at_vertices(error, seen.astype(np.float32))[0][:, 0])
            gray = cv2.cvtColor(picture.frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
            energy = cv2.GaussianBlur(np.abs(cv2.Laplacian(gray, cv2.CV_32F)), (0, 0), _BLURRED)
            x, y = (picture.points[:, :2].numpy() + picture.offset).astype(int).T
            sharpness.append(energy[y.clip(0, len(gray) - 1), x.clip(0, gray.shape[1] - 1)])
        facing, scale, calm = (
            np.array([getattr(each, name) for each in pictures]) for name in ("facing", "scale", "calm")
        )
        return Looks(facing, scale, np.stack(sharpness), np.stack(errors), inside, calm)

    def _face(self) -> Array:
        """Return the vertices [V] of the face and the eyes, bool."""
        template = self.texels.template
        normals = vertex_normals(self.texels.body.reference_vertices()[None], template.faces)[0]
        eye, head = (template.role_weight(*roles) > 0.5 for roles in (("eye",), ("head", "eye")))
        return (head & (eye | (normals[:, 1] < -_FRONT))).numpy()
