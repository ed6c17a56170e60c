"""The avatar: one person's network, identity and scene, saved as a folder."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from .body import BodyTemplate, load_template
from .config import MAX_TEXTURE, NetworkConfig
from .core.camera import Camera
from .core.errors import UserError
from .core.files import atomic_file, disk_errors
from .core.images import (
    fill,
    to_tensor,
    to_uint8,
    write_picture,
)
from .core.progress import SILENT, Progress
from .core.untrusted.pictures import read_picture
from .core.untrusted.records import Description, read_description
from .core.untrusted.tensors import TensorFile
from .motion.alignment.aligner import ALIGNMENT_FILE, Alignment
from .motion.retargeting.retarget import Person, Placement
from .networks.avatar_network import AvatarNetwork
from .rendering.filmed_poses import MOST_POSES
from .rendering.filmed_poses import SHAPE as FILMED_SHAPE
from .rendering.framing import Framing

FORMAT_VERSION = 4  # may hold the poses that were filmed, and clothing
EARLIER_VERSIONS = (2, 3)  # still load; 2: scene and close-up are the same square
AVATAR_FILE = "avatar.json"
WEIGHTS_FILE = "weights.safetensors"
_MAX_WEIGHTS = 2 << 30
_FPS = (0.01, 10_000.0)
_TRAINING = {"step": 0, "steps": 0, "seconds": 0.0, "source": "", "frames": 0}


@dataclass
class Avatar:
    """One person's network, identity and scene.

    `inference.render.render` renders it in a motion. The network may be untrained (`training["step"]` is 0): it then
    draws the textured template.
    """

    name: str
    preset: str
    framing: Framing  # the scene's camera, and how the close-up follows the person
    identity: Tensor  # [I]
    template: BodyTemplate
    network: AvatarNetwork
    texture: Tensor  # [3, T, T] surface colours in [-1, 1]
    background: np.ndarray  # [H, W, 3] uint8 RGB, the scene without the person
    placement: Placement
    fps: float
    filmed: Tensor | None = None  # [K, 4, 2, 3] poses of the limbs in the video (`rendering.filmed_poses`)
    training: dict = field(default_factory=dict)  # step, steps, seconds, source, frames, ...
    alignment: Alignment | None = None  # fitted at the end of training
    clothing: Tensor | None = None  # [V, 3] metres; see `BodyTemplate.dressed`
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def camera(self) -> Camera:
        """The scene's camera, at the size of the video."""
        return self.framing.camera

    @property
    def size(self) -> int:
        """Side of the close-up that the network paints, in pixels."""
        return self.network.config.image_size

    @property
    def dressed(self) -> BodyTemplate:
        """The template with what the person wears: for all that draws them, and for nothing else."""
        return self.template if self.clothing is None else self.template.dressed(self.clothing)

    @property
    def person(self) -> Person:
        """The person to retarget to (`motion.retargeting`); on the CPU."""
        return Person(self.identity.cpu(), self.placement)

    def to(self, device: torch.device | str) -> "Avatar":
        """Move network, template, identity, texture and clothing to a device; return the avatar itself."""
        self.device = torch.device(device)
        self.network.to(self.device)
        self.template = self.template.to(self.device)
        self.identity, self.texture = self.identity.to(self.device), self.texture.to(self.device)
        self.filmed = None if self.filmed is None else self.filmed.to(self.device)
        self.clothing = None if self.clothing is None else self.clothing.to(self.device)
        return self

    # Files --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write avatar.json, weights.safetensors, background.png and any alignment to an existing folder.

        Each file is replaced atomically, so that a killed run leaves an avatar that loads.

        Raises:
            UserError: the folder is not writable, or the disk is full.
        """
        folder = Path(folder)
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {"texture": to_uint8(self.texture), "identity": self.identity}
        tensors |= {} if self.filmed is None else {"filmed": self.filmed}
        tensors |= {} if self.clothing is None else {"clothing": self.clothing}
        described = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "template": self.template.name,
            "preset": self.preset,
            "network": asdict(self.network.config),
            "camera": self.camera.as_dict(),
            "framing": self.framing.as_dict(),
            "placement": asdict(self.placement),
            "fps": self.fps,
            "training": self.training,
        }
        with disk_errors(folder):
            packed = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
            with atomic_file(folder / WEIGHTS_FILE) as path:
                path.write_bytes(save(packed))
            with atomic_file(folder / "background.png") as path:
                write_picture(path, self.background)
            if self.alignment:
                self.alignment.save(folder / ALIGNMENT_FILE, self.template)
            with atomic_file(folder / AVATAR_FILE) as path:
                path.write_text(json.dumps(described, indent=2) + "\n")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        smplx_model: str | Path | None = None,
        progress: Progress = SILENT,
    ) -> "Avatar":
        """Load an avatar from its folder.

        Args:
            device: where to put what renders.
            smplx_model: SMPL-X's model file, for an avatar of that template; see `body.load_template`.

        Raises:
            UserError: not an avatar, of an unknown format version or template, or damaged.
        """
        folder = Path(folder)
        described = read_description(folder / AVATAR_FILE, "avatar", FORMAT_VERSION, *EARLIER_VERSIONS)
        name, preset, fps = described.take("name", str), described.take("preset", str), described.number("fps", *_FPS)
        config, camera = described.record("network", NetworkConfig), described.record("camera", Camera)
        framing = described.record("framing", Framing, camera=camera)
        placement, training = described.record("placement", Placement), _training(described)
        template_name = described.take("template", str)
        template = load_template(template_name, smplx_model=smplx_model, progress=progress)
        network, surface = _read_weights(folder / WEIGHTS_FILE, config, template)
        with described.checked():
            template.check_face(placement.neutral_face)
        try:
            template.check_identity(surface["identity"])
            template.check_clothing(surface.get("clothing"))
        except ValueError as error:
            raise UserError(f"{folder / WEIGHTS_FILE}: damaged ({error})") from None
        avatar = cls(
            name=name,
            preset=preset,
            framing=framing,
            identity=surface["identity"],
            template=template,
            network=network.eval(),
            texture=to_tensor(surface["texture"].movedim(0, -1)),
            background=fill(read_picture(folder / "background.png"), camera.width, camera.height),
            placement=placement,
            fps=fps,
            filmed=surface.get("filmed"),
            training=training,
            alignment=Alignment.load(known, template) if (known := folder / ALIGNMENT_FILE).exists() else None,
            clothing=surface.get("clothing"),
        )
        return avatar.to(device)


def generated_by(avatar: Avatar) -> dict[str, str]:
    """Return the metadata that marks a video of an avatar as generated."""
    return {"title": avatar.name, "comment": f"Generated by RAM-Avatar: not a recording. Avatar: {avatar.name}"}


def is_avatar(path: str | Path) -> bool:
    """Return whether a folder holds an avatar."""
    return (Path(path) / AVATAR_FILE).is_file()


def _training(described: Description) -> dict[str, Any]:
    """Return how an avatar was trained, with what an untrained one lacks."""
    training = described.take("training", dict)
    known = Description(training, described.path)
    return training | {name: known.take(name, type(default), default) for name, default in _TRAINING.items()}


def _read_weights(path: Path, config: NetworkConfig, template: BodyTemplate) -> tuple[AvatarNetwork, dict[str, Tensor]]:
    """Return an avatar's network, and by name its texture, identity and, if any, filmed poses and clothing."""
    if not path.exists():
        raise UserError(f"{path}: missing; the avatar is incomplete")
    file = TensorFile(path, _MAX_WEIGHTS, "an avatar's weights")
    shape = file.shapes.get("texture", ())
    if len(shape) != 3 or not (shape[0] == 3 and 1 <= shape[1] == shape[2] <= MAX_TEXTURE):
        raise file.damaged(f"texture must be [3, T, T], T up to {MAX_TEXTURE}, got {list(shape)}")
    with torch.device("meta"):  # takes no memory: the file may not fit its configuration
        wanted = {f"network.{name}": tensor for name, tensor in AvatarNetwork(config).state_dict().items()}
        wanted |= {
            "identity": torch.empty(len(template.identity_names)),
            "texture": torch.empty(shape, dtype=torch.uint8),
        }
        if config.novelty:
            wanted["filmed"] = torch.empty(_pose_count(file), *FILMED_SHAPE)
        optional = {"clothing": torch.empty(len(template.skin_weights), 3)}
    file.check(wanted, optional)
    tensors = file.read()
    others: dict[str, Tensor] = {}
    for name in {"texture", "identity", "filmed", *optional} & tensors.keys():
        others[name] = tensors.pop(name)
    network = AvatarNetwork(config)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in tensors.items()})
    return network, others


def _pose_count(file: TensorFile) -> int:
    """Return how many filmed poses a file holds."""
    shape = file.shapes.get("filmed", ())
    if not (shape and 1 <= shape[0] <= MOST_POSES):
        raise file.damaged(f"filmed must hold 1 to {MOST_POSES} poses, got {list(shape)}")
    return shape[0]
