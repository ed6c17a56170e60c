"""Configuration: dataclasses with a docstring per field. The presets are recipes over them."""

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
    """Height and width of the condition maps and of the picture, in pixels."""

    texture_channels: int = 16
    """Channels of each of the three planes of the neural texture; C3, of the body feature map, is their sum."""
    texture_resolution: int = 512
    """Height and width of a plane of the neural texture, in texels."""

    temporal_attention: bool = True
    """Whether frame n attends to frame n-1."""
    spatial_attention: bool = True
    """Whether frame n attends to its expanded mesh."""
    attention_channels: int = 24
    """C4: channels of the attention feature map."""
    attention_widths: tuple[int, int] = (32, 64)
    """Channels of an attention branch at a half and at a quarter of the picture's size."""
    attention_distance_power: float = 0.8
    """p of the distance function 1 / (M^p + 1) that weighs the attention energies (supplement, equation 1);
    0 leaves the energies as they are."""

    face: bool = True
    """Whether the face map is given to the network."""
    face_channels: int = 16
    """C1: channels of the face feature map."""
    hands: bool = True
    """Whether the hand map is given to the network."""
    hand_channels: int = 16
    """C2: channels of the hand feature map."""
    feature_widths: tuple[int, int] = (16, 32)
    """Channels of the face and hand networks at a half and at a quarter of the picture's size."""

    unet_widths: tuple[int, ...] = (64, 128, 192, 256, 384, 512)
    """Channels of the StyleUNet, from a half of the picture's size down, halving the size each time."""
    style_codes: bool = True
    """Whether each training frame has a style code of its own; if not, all frames share one."""
    style_dim: int = 64
    """Length of a style code."""
    styles: int = 1
    """Number of style codes: the number of training frames."""

    alpha: bool = True
    """Whether the network predicts an alpha, so that its picture lies over a background plate; if not, it
    paints the whole frame, as published."""
    warm_start: bool = True
    """Whether surface colours gathered from the video are given to the network, which then predicts what is
    to be added to them; if not, the picture comes from the neural texture alone, as published."""
    keep_hands: bool = False
    """Whether hands keep the surface texture's detail: what the network adds to their colours is smooth, and it takes
    nothing from their opacity (`networks.hand_detail`)."""

    discriminator_widths: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512)
    """Channels of the discriminator, from a half of the picture's size down, halving the size each time."""

    def __post_init__(self):
        if self.keep_hands and not self.warm_start:
            raise ValueError("keep_hands needs warm_start: without it there is no detail to keep")
        if self.attention_distance_power < 0:
            raise ValueError(f"attention_distance_power is at least 0, not {self.attention_distance_power}")
        for name in ("attention_widths", "feature_widths"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name} are two numbers, not {getattr(self, name)}")
        for name in ("unet_widths", "discriminator_widths"):
            widths = getattr(self, name)
            if len(widths) < 2:
                raise ValueError(f"{name} are at least two numbers, not {widths}")
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
        """Whether there is any branch of dual attention."""
        return self.temporal_attention or self.spatial_attention

    def for_capture(self, styles: int) -> "NetworkConfig":
        """Return this configuration for a capture of `styles` training frames."""
        return replace(self, styles=styles)

    @classmethod
    def from_dict(cls, values: dict) -> "NetworkConfig":
        """From what JSON or YAML gives, where tuples are lists.

        Raises:
            ValueError: a name that is no field, or a value out of range.
            TypeError: a value of another type.
        """
        return _from_dict(cls, values)


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained on a capture. Fractions are of `steps`; the seed's own numbers are 150,000 steps,
    dual attention off for the first 10,000 and the neural texture frozen for the last 20,000."""

    steps: int = 150_000
    """Optimizer steps in all."""
    batch_size: int = 1
    """Frames per step."""
    learning_rate: float = 1e-4
    """Of the network; decays to 0 by half a cosine."""
    texture_learning_rate: float = 1e-4
    """Of the neural texture's planes."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay rates."""
    weight_decay: float = 1e-4
    """Adam's L2 penalty, on the weights as the layers use them (`training.optimizers`)."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises from 0."""
    attention_start: float = 1 / 15
    """Share of the steps without dual attention, at the beginning."""
    texture_frozen: float = 2 / 15
    """Share of the steps with a frozen neural texture, at the end."""
    person_weight: float = 4.0
    """How much more a pixel of the person counts in the photometric loss than one of the background, less one."""
    photometric_weight: float = 5.0
    """Of the smooth L1 loss (beta 0.05)."""
    perceptual_weight: float = 0.03
    """Of the VGG-16 feature loss on the person."""
    perceptual_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Features compared."""
    detail_weight: float = 0.1
    """Of the perceptual loss on cut-outs of the face and the hands."""
    alpha_weight: float = 0.5
    """Of the cross-entropy between the opacity and the person mask, which is only about right."""
    adversarial_weight: float = 1e-3
    """Of the temporal discriminator at the first step; grows to twenty times that. 0 leaves it out."""
    discriminator_start: float = 0.0
    """Share of the steps before the discriminator comes in."""
    discriminator_learning_rate: float = 1e-4
    r1_weight: float = 10.0
    """Gradient penalty on real frames."""
    r1_every: int = 16
    """Steps between gradient penalties (lazy regularization)."""
    gradient_clip: float = 1.0
    """Largest norm of the network's gradient."""
    checkpoint_seconds: float = 60.0
    """A killed run loses no more than this."""
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1 or self.batch_size < 1:
            raise UserError(f"training needs at least one step of one frame, got {self.steps} of {self.batch_size}")
        for name in ("attention_start", "texture_frozen", "discriminator_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is a share of the steps between 0 and 1, got {getattr(self, name)}")

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        """See `NetworkConfig.from_dict`."""
        return _from_dict(cls, values)


@dataclass(frozen=True)
class Preset:
    """A recipe: the sizes of a network and how it is trained."""

    name: str
    network: NetworkConfig
    training: TrainingConfig
    texture_size: int = 512
    """Texels along the side of the surface texture (the warm start)."""
    precision: str = "auto"
    """Lightning Fabric's precision; "auto" is bf16-mixed on a GPU that multiplies bf16 matrices, else 32-true."""

    def with_changes(self, network: dict | None = None, training: dict | None = None) -> "Preset":
        """This recipe with other values for some fields, by name; an ablation, for one.

        Raises:
            ValueError, TypeError: as `NetworkConfig.from_dict`.
            UserError: a value of `training` out of range.
        """
        return replace(
            self,
            network=NetworkConfig.from_dict(vars(self.network) | (network or {})),
            training=TrainingConfig.from_dict(vars(self.training) | (training or {})),
        )


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in (files(__package__) / "presets").iterdir())


def load_preset(name: str) -> Preset:
    """A preset by its name, or the path of a YAML file of the same form; a preset is called as its file is.

    A recipe that says `extends: OTHER` gives only what differs from another one: a preset that ships with the
    package, or a file beside it.

    Raises:
        UserError: no such preset, an unknown key, an impossible value, or recipes that extend each other.
    """
    path = _recipe_path(name, Path())
    if not path.is_file():
        raise UserError(f"preset '{name}' is not known; there are: {', '.join(preset_names())}, or a .yaml file")
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
    """Where the preset of that name ships, or else the path `name`, relative to a folder."""
    shipped = files(__package__) / "presets" / f"{name}.yaml"
    return shipped if shipped.is_file() else Path(os.path.normpath(folder / name))


def _read_recipe(path: Path, heirs: tuple[Path, ...] = ()) -> dict:
    """A recipe, completed by what it extends. `heirs` are the recipes that extend it, the first one first."""
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
    """`base` with the recipe's values in place of its own; in the sections, value by value."""
    sections = {name: base[name] | recipe[name] for name in ("network", "training") if name in recipe and name in base}
    return base | recipe | sections


def _from_dict(kind: type, values: dict):
    """A configuration from plain YAML or JSON, where tuples are lists."""
    unknown = values.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
