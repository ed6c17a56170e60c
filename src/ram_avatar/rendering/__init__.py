"""A mesh to pixels: rasterizer, condition maps, surface texture, compositing, framing."""
