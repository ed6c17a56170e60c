"""From mesh to pixels: rasterizer, condition maps, surface texture, background plate, framing."""
