"""Configuration of network and training, and the presets that set it."""

import os.path
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path

import yaml

from .core.errors import UserError


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

    discriminator_widths: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512)
    """Channels of the discriminator at 1/2, 1/4, ... of `image_size`."""

    def __post_init__(self):
        if self.keep_hands and not self.warm_start:
            raise ValueError("keep_hands needs warm_start, which provides the detail to keep")
        if self.attention_distance_power < 0:
            raise ValueError(f"attention_distance_power is at least 0, not {self.attention_distance_power}")
        for name in ("attention_widths", "feature_widths"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name} must be two numbers, not {getattr(self, name)}")
        for name in ("unet_widths", "discriminator_widths"):
            widths = getattr(self, name)
            if len(widths) < 2:
                raise ValueError(f"{name} must be at least two numbers, not {widths}")
            if self.image_size % 2 ** len(widths):
                raise ValueError(
                    f"image_size {self.image_size} cannot be halved {len(widths)} times, as the "
                    f"{len(widths)} {name} ask for"
                )
        for field in fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(value, int | tuple) and not isinstance(value, bool) and number < 1:
                    raise ValueError(f"{field.name} is at least 1, not {number}")

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

    @classmethod
    def from_dict(cls, values: dict) -> "NetworkConfig":
        """Make a configuration from JSON or YAML, where tuples are lists.

        Raises:
            ValueError: an unknown field, or a value out of range.
            TypeError: a value of another type.
        """
        return _from_dict(cls, values)


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
    """Weight of the perceptual loss on crops of face and hands."""
    alpha_weight: float = 0.5
    """Weight of the cross-entropy between opacity and matte, which is only approximate."""
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

    def __post_init__(self):
        if self.steps < 1 or self.batch_size < 1:
            raise UserError(f"training needs at least one step of one frame, got {self.steps} of {self.batch_size}")
        for name in ("attention_start", "texture_frozen", "discriminator_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is a fraction of the steps between 0 and 1, got {getattr(self, name)}")

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        """Make a configuration from JSON or YAML; see `NetworkConfig.from_dict`."""
        return _from_dict(cls, values)


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

    def with_changes(self, network: dict | None = None, training: dict | None = None) -> "Preset":
        """Return this recipe with some fields changed, by name; for ablations.

        Raises:
            ValueError, TypeError: see `NetworkConfig.from_dict`.
            UserError: a value of `training` out of range.
        """
        return replace(
            self,
            network=NetworkConfig.from_dict(vars(self.network) | (network or {})),
            training=TrainingConfig.from_dict(vars(self.training) | (training or {})),
        )


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
    if not path.is_file():
        raise UserError(f"preset '{name}' is not known; choose one of {', '.join(preset_names())}, or a .yaml file")
    recipe = _read_recipe(path)
    try:
        return Preset(
            name=path.name.removesuffix(".yaml"),
            network=NetworkConfig.from_dict(recipe.pop("network")),
            training=TrainingConfig.from_dict(recipe.pop("training")),
            **recipe,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: not a preset ({error})") from None


def _recipe_path(name: str, folder: Path) -> Path:
    """Return the file of the shipped preset `name`; if there is none, the path `name` relative to a folder."""
    shipped = Path(str(files(__package__) / "presets" / f"{name}.yaml"))
    return shipped if shipped.is_file() else Path(os.path.normpath(folder / name))


def _read_recipe(path: Path, heirs: tuple[Path, ...] = ()) -> dict:
    """Read a recipe, completed by what it extends. `heirs` are the recipes that extend it, outermost first."""
    if path in heirs:
        raise UserError(f"{heirs[0]}: extends itself, by way of {' and '.join(str(p) for p in (*heirs[1:], path))}")
    try:
        recipe = yaml.safe_load(path.read_text())
        if "extends" not in recipe:
            return recipe
        name = recipe.pop("extends")
        base = _recipe_path(name, path.parent)
        if not base.is_file():
            raise UserError(f"{path}: extends '{name}', which is neither one of {', '.join(preset_names())} nor a file")
        return _completed(recipe, _read_recipe(base, (*heirs, path)))
    except (yaml.YAMLError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: not a preset ({error})") from None


def _completed(recipe: dict, base: dict) -> dict:
    """Return `base` updated by the recipe, sections value by value."""
    sections = {name: base[name] | recipe[name] for name in ("network", "training") if name in recipe and name in base}
    return base | recipe | sections


def _from_dict(kind: type, values: dict):
    """Make a configuration from plain YAML or JSON, where tuples are lists."""
    unknown = values.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"unknown field: {', '.join(sorted(unknown))}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
