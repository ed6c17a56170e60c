"""Configuration of network and training, and the presets that set it."""

import os.path
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from .core.choices import PRECISIONS
from .core.errors import UserError
from .core.ranges import check_range, check_ranges
from .core.untrusted.documents import read_yaml
from .core.untrusted.records import Description, as_record, as_type

MAX_TEXTURE = 2048
"""Largest side of a surface texture, in texels: while it is painted, each frame takes 20 MB."""
_MAX_VALUES = 1 << 27  # of a feature map or table: 512 MB; the largest of `paper` has 50 million
_MAX_IMAGE = 2048
_CHANNELS = (1, 256)
_WIDTHS = (1, 1024)
_LEVELS = (2, 10)
_WEIGHT, _RATE, _FRACTION = (0, 1e6), (0, 1), (0, 1)
_NO_PRESET = "not a preset"
_MAX_HEIRS = 8  # of recipes that extend each other


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and parts of the network. The defaults are those of the paper (supplement, Table 1)."""

    image_size: int = 1024
    """Height and width of the condition maps and of the output, in pixels."""

    texture_channels: int = 16
    """Channels of each of the neural texture's three planes; their sum is C3, the channels of the body feature map."""
    texture_resolution: int = 512
    """Height and width of each plane of the neural texture, in texels."""

    temporal_attention: bool = True
    """Whether frame n attends to frame n-1."""
    spatial_attention: bool = True
    """Whether frame n attends to its expanded mesh."""
    attention_channels: int = 24
    """C4: channels of the attention feature map."""
    attention_widths: tuple[int, int] = (32, 64)
    """Channels of an attention branch at 1/2 and 1/4 of `image_size`."""
    attention_distance_power: float = 0.8
    """p of the distance function 1 / (M^p + 1) that weighs the attention energies (supplement, equation 1); 0 leaves
    them unweighted."""

    face: bool = True
    """Whether the network gets the face map."""
    face_channels: int = 16
    """C1: channels of the face feature map."""
    hands: bool = True
    """Whether the network gets the hand map."""
    hand_channels: int = 16
    """C2: channels of the hand feature map."""
    feature_widths: tuple[int, int] = (16, 32)
    """Channels of the face and hand networks at 1/2 and 1/4 of `image_size`."""

    unet_widths: tuple[int, ...] = (64, 128, 192, 256, 384, 512)
    """Channels of the StyleUNet at 1/2, 1/4, ... of `image_size`."""
    style_codes: bool = True
    """Whether each training frame has its own style code; if not, all share one."""
    style_dim: int = 64
    """Length of a style code."""
    styles: int = 1
    """Number of style codes; a capture's last training frame sets it (`for_capture`)."""

    alpha: bool = True
    """Whether the network predicts opacity, to composite the person over a background plate; if not, it paints the
    whole frame, as published."""
    warm_start: bool = True
    """Whether the network gets surface colours gathered from the video, and predicts a residual; if not, colour comes
    from the neural texture alone, as published."""
    keep_hands: bool = False
    """Whether hands keep the surface texture's detail: the network's residual is smoothed there, and does not reduce
    their opacity (`networks.hand_detail`)."""

    sharpness: bool = False
    """Whether the network decides, pixel by pixel, how much of the surface's own detail an enlarged picture shows; if
    not, all of it. Not part of the paper; needs the warm start."""
    novelty: bool = False
    """Whether the network is told which limbs are in poses that the video never showed (`rendering.filmed_poses`)."""

    discriminator_widths: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512)
    """Channels of the discriminator at 1/2, 1/4, ... of `image_size`."""

    def __post_init__(self) -> None:
        check_ranges(self, _NETWORK_RANGES)
        if self.keep_hands and not self.warm_start:
            raise ValueError("keep_hands needs warm_start, which provides the detail to keep")
        if self.sharpness and not self.warm_start:
            raise ValueError("sharpness needs warm_start, which provides the detail")
        if self.novelty and not self.warm_start:
            raise ValueError("novelty needs warm_start, which provides the colours of limbs in novel poses")
        for name in ("unet_widths", "discriminator_widths"):
            widths = getattr(self, name)
            if not _LEVELS[0] <= len(widths) <= _LEVELS[1]:
                raise ValueError(f"{name}: expected {_LEVELS[0]} to {_LEVELS[1]} numbers, found {len(widths)}")
            if self.image_size % 2 ** len(widths):
                raise ValueError(
                    f"image_size {self.image_size} cannot be halved {len(widths)} times, as the "
                    f"{len(widths)} {name} ask for"
                )
        self._check_memory()

    def _check_memory(self) -> None:
        """Raise a ValueError if a feature map of one image, or a table of parameters, has too many values."""
        check_range("styles x style_dim", self.styles * self.style_dim, 1, _MAX_VALUES)
        planes = self.body_channels * self.texture_resolution**2
        check_range("body_channels x texture_resolution squared", planes, 1, _MAX_VALUES)
        for name in ("body_channels", "attention_channels", "face_channels", "hand_channels"):
            check_range(f"{name} x image_size squared", getattr(self, name) * self.image_size**2, 1, _MAX_VALUES)
        for name in ("attention_widths", "feature_widths", "unet_widths", "discriminator_widths"):
            for level, width in enumerate(getattr(self, name), 1):
                check_range(f"{name} x pixels", width * (self.image_size >> level) ** 2, 1, _MAX_VALUES)

    @property
    def body_channels(self) -> int:
        """C3: channels of the body feature map."""
        return 3 * self.texture_channels

    @property
    def attends(self) -> bool:
        """Whether there is any attention branch."""
        return self.temporal_attention or self.spatial_attention

    def for_capture(self, styles: int) -> "NetworkConfig":
        """Return this configuration with `styles` style codes."""
        return replace(self, styles=styles)


@dataclass(frozen=True)
class TrainingConfig:
    """How to train a network on a capture.

    Fractions are of `steps`. The defaults are the paper's (supplement): 150,000 steps, dual attention off for the first
    10,000, the neural texture frozen for the last 20,000.
    """

    steps: int = 150_000
    """Optimizer steps."""
    batch_size: int = 1
    """Frames per step."""
    learning_rate: float = 1e-4
    """Learning rate of the network; decays to 0 by half a cosine."""
    texture_learning_rate: float = 1e-4
    """Learning rate of the neural texture's planes."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay rates."""
    weight_decay: float = 1e-4
    """Adam's L2 penalty, on the scaled weights that the layers use (`training.optimizers`)."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises from 0."""
    attention_start: float = 1 / 15
    """Fraction of the steps, at the start, without dual attention."""
    texture_frozen: float = 2 / 15
    """Fraction of the steps, at the end, with a frozen neural texture."""
    person_weight: float = 4.0
    """Extra weight of the person in the photometric loss: a pixel counts 1 + this, one of the background 1."""
    photometric_weight: float = 5.0
    """Weight of the smooth L1 loss (beta 0.05)."""
    perceptual_weight: float = 0.03
    """Weight of the VGG-16 feature loss on the person."""
    perceptual_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """VGG-16 features to compare."""
    detail_weight: float = 0.1
    """Weight of the perceptual loss on crops of face and hands, and of random places with `large_size`."""
    large_size: int = 0
    """Side of the close-ups whose windows that loss sees, if the video is that large: what is shown is larger than what
    the network paints. 0 for the network's own size."""
    alpha_weight: float = 0.5
    """Weight of the cross-entropy between opacity and matte, which is only approximate."""
    clothing: bool = False
    """Whether the surface that is drawn stands off from the template as far as the mattes show the person's clothes and
    hair (`training.clothing`); if not, it is the naked template."""
    pose_augmentation: float = 0.0
    """Share of the steps in which limbs take poses that the video never showed (`training.pose_augmentation`); needs
    the network's `novelty`."""
    adversarial_weight: float = 1e-3
    """Weight of the temporal discriminator at the first step; grows to 20 times that. 0 leaves it out."""
    discriminator_start: float = 0.0
    """Fraction of the steps before the discriminator starts."""
    discriminator_learning_rate: float = 1e-4
    """Learning rate of the discriminator."""
    r1_weight: float = 10.0
    """Weight of the gradient penalty on real frames."""
    r1_every: int = 16
    """Steps between gradient penalties (lazy regularization)."""
    gradient_clip: float = 1.0
    """Maximum norm of the network's gradient."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints: what a killed run loses at most."""
    seed: int = 0
    """Seed of initialization and of the order of frames."""

    def __post_init__(self) -> None:
        check_ranges(self, _TRAINING_RANGES)
        if not self.perceptual_layers:
            raise ValueError("perceptual_layers: expected at least one layer")


@dataclass(frozen=True)
class Preset:
    """A recipe: a network's configuration, and how to train it."""

    name: str
    network: NetworkConfig
    training: TrainingConfig
    texture_size: int = 512
    """Side of the surface texture (the warm start), in texels."""
    precision: str = "auto"
    """Lightning Fabric's precision; "auto" is bf16-mixed on a GPU that supports it, else 32-true."""

    def __post_init__(self) -> None:
        check_range("texture_size", self.texture_size, 16, MAX_TEXTURE)
        if self.training.pose_augmentation and not self.network.novelty:
            raise ValueError("pose_augmentation needs the network's novelty, which tells moved limbs from filmed ones")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, found {self.precision!r}")

    def with_changes(self, network: dict | None = None, training: dict | None = None) -> "Preset":
        """Return this recipe with some fields changed, by name; for ablations.

        Raises:
            ValueError: an unknown field, or a value of another type or out of range.
        """
        return replace(
            self,
            network=as_record(NetworkConfig, vars(self.network) | (network or {})),
            training=as_record(TrainingConfig, vars(self.training) | (training or {})),
        )


_NETWORK_RANGES = {
    "image_size": (4, _MAX_IMAGE),
    "texture_channels": _CHANNELS,
    "texture_resolution": (1, 4096),
    "attention_channels": _CHANNELS,
    "attention_widths": _WIDTHS,
    "attention_distance_power": (0, 100),
    "face_channels": _CHANNELS,
    "hand_channels": _CHANNELS,
    "feature_widths": _WIDTHS,
    "unet_widths": _WIDTHS,
    "style_dim": _WIDTHS,
    "styles": (1, 10_000_000),
    "discriminator_widths": _WIDTHS,
}
_TRAINING_RANGES = {
    "steps": (1, 100_000_000),
    "batch_size": (1, 1024),
    "learning_rate": _RATE,
    "texture_learning_rate": _RATE,
    "betas": (0, 0.999999),
    "weight_decay": _RATE,
    "warmup_steps": (0, 100_000_000),
    "attention_start": _FRACTION,
    "texture_frozen": _FRACTION,
    "person_weight": _WEIGHT,
    "photometric_weight": _WEIGHT,
    "perceptual_weight": _WEIGHT,
    "detail_weight": _WEIGHT,
    "large_size": (0, _MAX_IMAGE),
    "alpha_weight": _WEIGHT,
    "pose_augmentation": _FRACTION,
    "adversarial_weight": _WEIGHT,
    "discriminator_start": _FRACTION,
    "discriminator_learning_rate": _RATE,
    "r1_weight": _WEIGHT,
    "r1_every": (1, 1_000_000),
    "gradient_clip": (0, 1e6),
    "checkpoint_seconds": (0, 1e9),
    "seed": (0, 1e9),
}


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in (files(__package__) / "presets").iterdir())


def load_preset(name: str) -> Preset:
    """Load a preset that ships with the package, or a YAML file of the same form; it is named after its file.

    A recipe with `extends: OTHER` states only what differs from OTHER: a preset that ships, or the path of a file,
    relative to its own.

    Raises:
        UserError: no such preset, an unknown key, a value out of range, or recipes that extend each other.
    """
    path = _recipe_path(name, Path())
    if not os.path.isfile(path):
        raise UserError(f"preset '{name}' is not known; choose one of {', '.join(preset_names())}, or a .yaml file")
    recipe = _read_recipe(path)
    with Description(recipe, path, _NO_PRESET).checked():
        return as_record(Preset, recipe, name=as_type(str, path.name.removesuffix(".yaml")))


def _recipe_path(name: str, folder: Path) -> Path:
    """Return the file of the shipped preset `name`; if there is none, the path `name` relative to a folder."""
    if name in preset_names():
        return Path(str(files(__package__) / "presets" / f"{name}.yaml"))
    return Path(os.path.normpath(folder / name))


def _read_recipe(path: Path, heirs: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe, completed by what it extends. `heirs` are the recipes that extend it, outermost first."""
    if path in heirs:
        raise UserError(f"{heirs[0]}: extends itself, by way of {' and '.join(str(p) for p in (*heirs[1:], path))}")
    if len(heirs) > _MAX_HEIRS:
        raise UserError(f"{heirs[0]}: extends more than {_MAX_HEIRS} recipes in a row")
    recipe = read_yaml(path, "a preset")
    described = Description(recipe, path, _NO_PRESET)
    for section in ("network", "training"):
        described.take(section, dict, None)
    if "extends" not in recipe:
        return recipe
    name = described.take("extends", str)
    base = _recipe_path(name, path.parent)
    if not os.path.isfile(base):
        raise UserError(f"{path}: extends '{name}', which is neither one of {', '.join(preset_names())} nor a file")
    del recipe["extends"]
    return _completed(recipe, _read_recipe(base, (*heirs, path)))


def _completed(recipe: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return `base` updated by the recipe, sections value by value."""
    sections = {name: base[name] | recipe[name] for name in ("network", "training") if name in recipe and name in base}
    return base | recipe | sections
