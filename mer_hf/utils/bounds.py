"""The least and the most of the numbers that users may ask for."""

FPS = (1, 10_000)
FACE = (1, 1000)
WINDOW_S = (0.5, 600)
WORKERS = (1, 1024)
MANY = (1, 10_000)
"""Of people, clips or rounds."""
SEED = (0, 2**31 - 1)
"""Higher seeds belong to held-out data."""
