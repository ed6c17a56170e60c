"""The model card: the page that goes with an avatar."""

from pathlib import Path

from ..avatar import Avatar
from ..core.files import disk_errors
from ..evaluation.metric_catalog import format_value

_COLUMNS = {"psnr": "psnr", "psnr_person": "psnr", "ssim": "ssim", "st_lpips_person": "st_lpips"}


def write_model_card(avatar: Avatar, metrics: dict, folder: Path) -> None:
    """Write the card as README.md. `metrics` is the content of metrics.json."""
    with disk_errors(folder):
        (folder / "README.md").write_text(model_card(avatar, metrics))


def model_card(avatar: Avatar, metrics: dict) -> str:
    """Return Markdown: what the avatar is, how to use it, how good it is, and what it must not be used for."""
    rows = [
        ("this avatar", metrics),
        ("textured mesh, no network", metrics["textured_mesh"]),
        ("nearest training frame", metrics["nearest_frame"]),
    ]
    table = "\n".join(
        f"| {name} | " + " | ".join(format_value(figure, f[key]) for key, figure in _COLUMNS.items()) + " |"
        for name, f in rows
    )
    facts = avatar.training
    return f"""---
library_name: ram-avatar
tags: [avatar, neural-rendering]
---

# {avatar.name}

An avatar of one person, learned by RAM-Avatar from {facts["frames"]} frames of `{facts["source"]}`:
{avatar.camera.width} x {avatar.camera.height} pixels, the person painted at {avatar.size}; preset `{avatar.preset}`,
template `{avatar.template.name}`,
{facts["step"]} steps in {facts["seconds"] / 60:.1f} minutes.
{_surface(facts)}
```
ram-avatar animate THIS_FOLDER DRIVER.mp4 OUT.mp4
```

## On the {metrics["frames"]} held-out frames

| | PSNR | PSNR, person | SSIM | ST-LPIPS, person |
| --- | --- | --- | --- | --- |
{table}

The held-out frames are the last fifth of those that show the person, never trained on. `preview.mp4` shows them beside
the avatar's.

## Use

This folder lets anyone make images of a real person. Share it and use it only with that person's consent, and label
what it renders as generated, as the metadata of its videos does.
"""


def _surface(facts: dict) -> str:
    """Return a paragraph on how much of the surface the frames show; nothing for a first avatar of earlier versions."""
    shares = facts.get("surface")
    if not shares:
        return ""
    return f"""
The frames show {shares["seen"]:.0%} of the body's surface well. The rest starts with colours from elsewhere:
{shares["twin"]:.0%} from its mirror twin on the other half of the body, {shares["other_side"]:.0%} from the other side
(a back from its front), {shares["neighbours"]:.0%} from its neighbours.
"""
