"""The avatar: one person's network, identity and scene, saved as a folder."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .body import BodyTemplate, load_template
from .config import NetworkConfig
from .core.camera import Camera
from .core.errors import UserError
from .core.files import atomic_file, disk_errors, read_description
from .core.images import (
    fill,
    to_tensor,
    to_uint8,
    write_picture,
)
from .core.progress import SILENT, Progress
from .core.untrusted.pictures import read_picture
from .motion.alignment.aligner import ALIGNMENT_FILE, Alignment
from .motion.retargeting.retarget import Person, Placement
from .networks.avatar_network import AvatarNetwork
from .rendering.framing import Framing

FORMAT_VERSION = 3  # the image is the whole scene, and the network paints a close-up that follows the person
EARLIER_VERSIONS = (2,)  # scene and close-up are the same square; still loads
AVATAR_FILE = "avatar.json"
WEIGHTS_FILE = "weights.safetensors"
_MAX_WEIGHTS = 2 << 30


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
    training: dict = field(default_factory=dict)  # step, steps, seconds, source, frames, ...
    alignment: Alignment | None = None  # fitted at the end of training
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
    def person(self) -> Person:
        """The person to retarget to (`motion.retargeting`); on the CPU."""
        return Person(self.identity.cpu(), self.placement)

    def to(self, device: torch.device | str) -> "Avatar":
        """Move network, template, identity and texture to a device; return the avatar itself."""
        self.device = torch.device(device)
        self.network.to(self.device)
        self.template = self.template.to(self.device)
        self.identity, self.texture = self.identity.to(self.device), self.texture.to(self.device)
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
        try:
            config = NetworkConfig.from_dict(described["network"])
            template_name, camera = described["template"], Camera(**described["camera"])
            framing = Framing(camera, **described.get("framing", {}))
            placement = Placement(**described["placement"])
            name, preset, fps = str(described["name"]), str(described["preset"]), float(described["fps"])
            training = dict(described["training"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder / AVATAR_FILE}: damaged ({error!r})") from None
        template = load_template(template_name, smplx_model=smplx_model, progress=progress)
        tensors = _read_weights(folder / WEIGHTS_FILE)
        network = AvatarNetwork(config)
        try:
            texture, identity = tensors.pop("texture"), tensors.pop("identity")
            network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items()})
            if identity.shape != (len(template.identity_names),) or texture.dtype != torch.uint8:
                raise KeyError("identity or texture has another shape")
        except (KeyError, RuntimeError) as error:
            cause = str(error).splitlines()[0]
            raise UserError(f"{folder / WEIGHTS_FILE}: does not fit its {AVATAR_FILE} ({cause})") from None
        avatar = cls(
            name=name,
            preset=preset,
            framing=framing,
            identity=identity,
            template=template,
            network=network.eval(),
            texture=to_tensor(texture.movedim(0, -1)),
            background=fill(read_picture(folder / "background.png"), camera.width, camera.height),
            placement=placement,
            fps=fps,
            training=training,
            alignment=Alignment.load(known, template) if (known := folder / ALIGNMENT_FILE).is_file() else None,
        )
        return avatar.to(device)


def generated_by(avatar: Avatar) -> dict[str, str]:
    """Return the metadata that marks a video of an avatar as generated."""
    return {"title": avatar.name, "comment": f"Generated by RAM-Avatar: not a recording. Avatar: {avatar.name}"}


def is_avatar(path: str | Path) -> bool:
    """Return whether a folder holds an avatar."""
    return (Path(path) / AVATAR_FILE).is_file()


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: missing; the avatar is incomplete")
    if path.stat().st_size > _MAX_WEIGHTS:
        raise UserError(f"{path}: larger than {_MAX_WEIGHTS >> 30} GB, not an avatar of this version")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
