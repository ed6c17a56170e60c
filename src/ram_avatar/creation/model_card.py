"""The page that goes with an avatar."""

from ..avatar import Avatar
from ..evaluation.metric_catalog import tell

_COLUMNS = {"psnr": "psnr", "psnr_person": "psnr", "ssim": "ssim", "st_lpips_person": "st_lpips"}


def model_card(avatar: Avatar, figures: dict) -> str:
    """Markdown: what the avatar is, how to use it, how good it is, and what it must not be used for."""
    rows = [
        ("this avatar", figures),
        ("textured mesh, no network", figures["textured_mesh"]),
        ("nearest training frame", figures["nearest_frame"]),
    ]
    table = "\n".join(
        f"| {name} | " + " | ".join(tell(figure, f[key]) for key, figure in _COLUMNS.items()) + " |" for name, f in rows
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

```
ram-avatar animate THIS_FOLDER DRIVER.mp4 OUT.mp4
```

## On the {figures["frames"]} held-out frames

| | PSNR | PSNR, person | SSIM | ST-LPIPS, person |
| --- | --- | --- | --- | --- |
{table}

The last fifth of the frames that show the person, never trained on. `preview.mp4` shows it beside what the avatar makes
of it.

## Use

This folder lets anyone make pictures of a real person. Pass it on and use it only with that person's consent,
and say of what it renders that it is generated: the files' metadata does.
"""
