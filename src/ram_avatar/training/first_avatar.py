"""The first avatar: the person's colours on the template's surface, before any training."""

from pathlib import Path

import torch

from ..avatar import Avatar
from ..body.template import BodyTemplate
from ..capture.capture import Capture
from ..capture.cropper import CloseUpCropper
from ..config import NetworkConfig, Preset
from ..core.images import to_uint8
from ..core.progress import SILENT, Progress, follow
from ..motion.retargeting.retarget import Placement
from ..networks.avatar_network import AvatarNetwork
from ..rendering.filmed_poses import FilmedPoses
from ..rendering.loose_clothes import SIZE as SKIRT_SIZE
from ..rendering.loose_clothes import SkirtGauge
from ..rendering.texture.median import choose_frames
from ..rendering.texture.sharp import SharpPainter
from .clothing import measure_clothing

PAINTED_FROM = 64  # frames at most: the median hardly changes with more


def first_avatar(capture: Capture, template: BodyTemplate, preset: Preset, progress: Progress = SILENT) -> Avatar:
    """Make an avatar that needs no training: the textured template over the background plate.

    Its network is the preset's, untrained, which draws just that.
    """
    clothing = measure_clothing(capture, template, progress) if preset.training.clothing else None
    dressed = template if clothing is None else template.dressed(clothing)
    cropper = CloseUpCropper(capture, dressed)
    painter = SharpPainter(dressed, capture.identity, preset.texture_size)
    size = painter.frame_size(capture.camera, capture.shown_motion)
    naked = template.body(capture.identity)
    skirt = SkirtGauge(template, naked) if preset.network.novelty else None
    chosen = set(choose_frames(capture.train_frames, PAINTED_FROM))
    frames = enumerate(follow(capture.frames(), progress, "Painting the surface", len(capture)))
    for index, (frame, mask) in frames:
        if index in chosen:
            image, matte = (capture.footage.in_scene(index, each, size) for each in (frame, mask))
            painter.add(image, matte, capture.motion[[index]], capture.camera.scaled(*size))
            if skirt:
                at = cropper.camera(index, SKIRT_SIZE)
                skirt.add(cropper.cut(index, mask, SKIRT_SIZE), capture.motion[[index]], at)
    texture, origins = painter.texture()
    # Style codes are indexed by frame number.
    config: NetworkConfig = preset.network.for_capture(styles=capture.train_frames[-1] + 1)
    with torch.random.fork_rng():  # reproducible initialization
        torch.manual_seed(preset.training.seed)
        network = AvatarNetwork(config)
    return Avatar(
        name=Path(capture.source).stem,
        preset=preset.name,
        framing=capture.framing(dressed),
        identity=capture.identity,
        template=template,
        network=network,
        filmed=FilmedPoses.of(template, naked, capture.train_motion, not skirt.loose).directions if skirt else None,
        texture=to_uint8(texture) / 127.5 - 1,  # quantized as when saved, so training and loading see the same
        background=capture.background(),
        placement=Placement.of(capture.shown_motion, template, capture.identity),
        fps=capture.motion.fps,
        clothing=clothing,
        training={
            "step": 0,
            "steps": preset.training.steps,
            "seconds": 0.0,
            "source": capture.source,
            "frames": len(capture.train_frames),
            "surface": origins.rounded(),
        },
    )
