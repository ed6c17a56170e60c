"""Exports an avatar's network as one ONNX graph, from condition maps to a picture, for programs without torch."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..avatar import Avatar
from ..core.archives import write_arrays
from ..core.errors import UserError
from ..core.files import atomic_file, check_output
from ..motion.motion import Motion
from ..networks.opacity import CLEAR, OPAQUE, shown_alpha
from ..rendering.condition_maps import MeshMaps
from .engine import frame_mapper
from .folding import FoldedNetwork

OPSET = 20  # the first whose GridSample is that of torch
CARD_KEY = "ram_avatar"
MAPS = {
    "position": "canonical coordinates of the surface at each pixel in [-1, 1], then the coverage mask, 0 or 1; all 0 "
    "outside the body",
    "expanded": "the same for the mesh pushed out along its normals by 1 cm",
    "face": "camera-space normals of the head in [-1, 1]; eyeballs are +1, irises -1; 0 elsewhere",
    "hands": "finger bones as lines, 0 to 1: one channel per finger, thumb first, both hands together",
    "color": "colours of the surface texture in [-1, 1], spread beyond the outline of the body; 0 far from it",
    "novelty": "how far the limb at each pixel is from the poses that were filmed, 0 to 1; spread likewise",
}
PREVIOUS = "the position map of the previous frame, drawn with this frame's camera; for the first frame, its own"
OUTPUTS = {
    "rgba": "red, green, blue and straight alpha, 0 to 1, of the close-up: the square of the scene that its camera "
    "sees",
    "painting": "what to compose with the surface at any size, see docs/export.md: the surface colours that the "
    "network was given (3), what it adds to them (3), how much of the surface's own detail to show, 1 for all; then, "
    "if the avatar has alpha, what it adds to alpha's logit, how near finger bones are, and where alpha is 1 whatever "
    "it adds",
}
LARGER = 2
"""Size at which the surface is exported, in sizes of the network."""


class OnnxNetwork(nn.Module):
    """A folded network whose inputs and outputs are named tensors."""

    def __init__(self, network: FoldedNetwork):
        super().__init__()
        self.network = network

    def forward(
        self,
        position: Tensor,
        expanded: Tensor,
        face: Tensor,
        hands: Tensor,
        color: Tensor,
        novelty: Tensor,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute RGBA [1, 4, S, S] in [0, 1] and the stacked painting from the maps of one frame."""
        painting = self.network(MeshMaps(position, expanded, face, hands, color, novelty), previous)
        rendering = self.network.compose(painting, torch.cat([color, position[:, 3:]], 1))
        alpha = shown_alpha(rendering.alpha) if self.network.alpha else rendering.alpha
        return torch.cat([(rendering.color.clamp(-1, 1) + 1) / 2, alpha], 1), painting


def export(avatar: Avatar, out: str | Path, *, motion: Motion | None = None, overwrite: bool = False) -> None:
    """Write an avatar's network as an ONNX file, with a card of its inputs and outputs in the metadata.

    All shapes are fixed: one frame of the avatar's size.

    Args:
        out: must end in `.onnx`.
        motion: if given, its condition maps are written next to `out` as `.npz`: float32 arrays [N, C, S, S] named
            like the graph's inputs; `surface` [N, 4, 2 S, 2 S]: the surface's colours in [-1, 1], 0 without a warm
            start, and its coverage, 0 or 1, at twice the size; and `square` [N, 3]: left, top and side of each close-up
            in scene pixels.

    Raises:
        UserError: the packages of the extra `onnx` are missing; a file exists; the disk is full.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise UserError(f"{out}: the file name must end in .onnx")
    if not (find_spec("onnx") and find_spec("onnxscript")):
        raise UserError("export needs onnx and onnxscript: pip install 'ram-avatar[onnx]'")
    check_output(out, overwrite)
    if motion is not None:
        check_output(out.with_suffix(".npz"), overwrite)
        with atomic_file(out.with_suffix(".npz")) as path:
            _save_maps(path, avatar, motion)
    with atomic_file(out) as path:
        path.write_bytes(_graph(avatar))


def card(avatar: Avatar, inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> dict[str, Any]:
    """Describe the graph for programs that use it: shape and meaning of each input and output, and the scene."""
    meanings = MAPS | {"previous": PREVIOUS} | OUTPUTS
    alpha = avatar.network.alpha
    describe = lambda shapes: {name: {"shape": shape, "is": meanings[name]} for name, shape in shapes.items()}
    return {
        "avatar": avatar.name,
        "generated": "Images made with this file are generated, not recorded. Use it with the person's consent.",
        "template": avatar.template.name,
        "preset": avatar.preset,
        "fps": avatar.fps,
        "camera": avatar.camera.as_dict(),
        "framing": avatar.framing.as_dict(),
        "belief": None if alpha is None else alpha.belief.item(),
        "shown_alpha": [CLEAR, OPAQUE],
        "inputs": describe(inputs),
        "outputs": describe(outputs),
    }


@torch.no_grad()
def _graph(avatar: Avatar) -> bytes:
    """Build and serialize the model."""
    network = OnnxNetwork(FoldedNetwork(avatar.network).float().cpu()).eval()
    size = avatar.size
    channels = {"position": 4, "expanded": 4, "face": 3, "hands": 5, "color": 3, "novelty": 1}
    channels |= {"previous": 4} if network.network.attends_to_previous else {}
    given = {name: torch.zeros(1, count, size, size) for name, count in channels.items()}
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            tuple(given.values()),
            input_names=list(given),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:  # in torch's types only; the exporter raises
        raise RuntimeError("torch exported nothing")
    model = program.model_proto
    shapes = lambda values: {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    described = card(avatar, shapes(model.graph.input), shapes(model.graph.output))
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = (described["inputs"] | described["outputs"])[value.name]["is"]
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, json.dumps(described)
    return model.SerializeToString()


def _save_maps(path: Path, avatar: Avatar, motion: Motion) -> None:
    """Write the condition maps of a motion, see `export`."""
    mapper = frame_mapper(avatar)
    maps, before, surfaces, squares, last = [], [], [], [], None
    for frame in motion.map(lambda tensor: tensor.to(avatar.device)).batches(1):
        square = avatar.framing.square(frame.root_translation[0].cpu().numpy())
        camera = square.camera(avatar.camera, avatar.size)
        posed = mapper.pose(frame)
        maps.append(mapper.draw(posed, camera)[0])
        surfaces.append(mapper.surface(posed, square.camera(avatar.camera, LARGER * avatar.size)))
        before.append(mapper.positions(frame if last is None else last, camera))
        squares.append((square.left, square.top, square.side))
        last = frame
    arrays = vars(MeshMaps.cat(maps)) | {"previous": torch.cat(before), "surface": torch.cat(surfaces)}
    named = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    write_arrays(path, **named, square=np.array(squares, np.float32))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter, which reports packages that it could use but does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
