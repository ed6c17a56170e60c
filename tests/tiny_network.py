"""A network that trains in seconds, with every part."""

from ram_avatar.config import NetworkConfig

TINY_NETWORK = NetworkConfig(
    image_size=64,
    texture_channels=2,
    texture_resolution=32,
    attention_channels=4,
    attention_widths=(8, 8),
    face_channels=2,
    hand_channels=2,
    feature_widths=(4, 8),
    unet_widths=(8, 12, 16),
    style_dim=8,
    keep_hands=True,
    sharpness=True,
    novelty=True,
    discriminator_widths=(8, 12, 16),
)
