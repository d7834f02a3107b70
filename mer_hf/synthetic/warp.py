"""Pixel grids, lookups and motion carried backwards: what every drawn picture needs to move."""

import cv2
import numpy as np


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Return the place (x, y) of every pixel, float32 `(height, width, 2)`."""
    return np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))


def look_up(values: np.ndarray, at_xy: np.ndarray, method: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Interpolate a picture at pixel places `(H, W, 2)`; its border is repeated."""
    return cv2.remap(values, at_xy[..., 0], at_xy[..., 1], method, borderMode=cv2.BORDER_REPLICATE)


def carried_back(displacement: np.ndarray, at_xy: np.ndarray, guess: np.ndarray | float) -> np.ndarray:
    """Return how far what is now at `at_xy` has come, for a field that says where each point goes."""
    moved = guess
    for _ in range(2):
        moved = look_up(displacement, (at_xy - moved).astype(np.float32))
    return moved


def rotation(angle: float) -> np.ndarray:
    """Return the `(2, 2)` matrix of a turn, in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
