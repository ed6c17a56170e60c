"""The texture of a body's surface: its colours, gathered from a video's frames, and how they are drawn."""
