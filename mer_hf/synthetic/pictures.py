"""Draw gray faces of nobody, on the raster of the neutral face, for optical flow to hold on to."""

import cv2
import numpy as np

from .template import FACE_OUTLINE, FEATURE_LINES, face_template

SIDE = 176
LEFT, TOP, SPAN = -1.6, -1.2, 3.2
"""The raster: `SIDE` pixels over `SPAN` interocular distances, its corner at (`LEFT`, `TOP`)."""

NOSE_LINES = ((168, 6, 197, 195, 5), (129, 49, 48, 64), (358, 279, 278, 294))
LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
BROWS = ("image_left_brow", "image_right_brow")
LIDS = ("image_left_lids", "image_right_lids")
FOLDS = ("image_left_fold", "image_right_fold")


def to_raster(points_xy: np.ndarray) -> np.ndarray:
    """Map face coordinates to pixels of the raster."""
    return (np.asarray(points_xy) - (LEFT, TOP)) / SPAN * SIDE - 0.5


def _grain(rng: np.random.Generator, sigma_px: float) -> np.ndarray:
    """Draw noise of unit variance and a given grain; coarse grains are drawn small and enlarged."""
    shrink = max(1, int(sigma_px / 2))
    noise = rng.standard_normal((SIDE // shrink, SIDE // shrink), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma_px / shrink) if sigma_px > 0.3 else noise
    noise = cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) if shrink > 1 else noise
    return noise / noise.std()


def _points(
    vertices_xy: np.ndarray, line: tuple[int, ...], rng: np.random.Generator, wobble: float
) -> np.ndarray:
    """Return a line of vertices as OpenCV's fixed-point pixels (4 fractional bits), a little displaced."""
    points = vertices_xy[list(line)] + rng.normal(0, wobble, 2)
    return np.round(to_raster(points) * 16).astype(np.int32)


def _stroke(picture, points, value, width_px, blur_px):
    """Draw a soft line."""
    layer = np.zeros((SIDE, SIDE), np.float32)
    cv2.polylines(layer, [points], False, 1.0, max(1, round(width_px)), cv2.LINE_AA, 4)
    _blend(picture, cv2.GaussianBlur(layer, (0, 0), blur_px), value)


def _fill(picture, points, value, blur_px):
    """Draw a soft area."""
    layer = np.zeros((SIDE, SIDE), np.float32)
    cv2.fillPoly(layer, [points], 1.0, cv2.LINE_AA, 4)
    _blend(picture, cv2.GaussianBlur(layer, (0, 0), blur_px), value)


def _blend(picture, weight, value):
    picture += weight * (value - picture)


def draw_face(rng: np.random.Generator) -> np.ndarray:
    """Draw one face, float32 `(SIDE, SIDE)`, gray values of about 0 to 255.

    It has skin from dark to light, shading, pores and spots, brows, lids, irises, nostrils, lips and folds,
    often hair, now and then a beard.
    """
    vertices = face_template()[0][:, :2]
    skin = rng.uniform(60, 215)
    picture = np.full((SIDE, SIDE), rng.uniform(10, 245), np.float32)
    picture += _grain(rng, rng.uniform(4, 20)) * rng.uniform(0, 30)
    _fill(picture, _points(vertices, FACE_OUTLINE, rng, 0.02), skin, rng.uniform(1, 5))
    picture += _grain(rng, 25) * rng.uniform(4, 20) + _grain(rng, rng.uniform(2, 7)) * rng.uniform(0.5, 4)
    picture += _grain(rng, rng.uniform(0.6, 1.5)) * rng.uniform(0.5, 4)
    _spots(rng, picture)
    _features(rng, picture, vertices, skin)
    _hair(rng, picture)
    return picture


def _spots(rng, picture):
    for _ in range(rng.poisson(6)):
        centre = np.round(rng.uniform(0.15 * SIDE, 0.85 * SIDE, 2) * 16).astype(int)
        layer = np.zeros((SIDE, SIDE), np.float32)
        radius, tone = int(16 * rng.uniform(0.7, 2.5)), float(rng.normal(0, 30))
        cv2.circle(layer, centre.tolist(), radius, tone, -1, cv2.LINE_AA, 4)
        picture += cv2.GaussianBlur(layer, (0, 0), 1.0)


def _features(rng, picture, vertices, skin):
    px = SIDE / SPAN  # one interocular distance
    dark = skin * rng.uniform(0.15, 0.6)
    for line in NOSE_LINES:
        points = _points(vertices, line, rng, 0.01)
        _stroke(picture, points, skin * rng.uniform(0.7, 1.15), 0.06 * px, 0.03 * px)
    folds = skin * rng.uniform(0.75, 1.0)
    for name in FOLDS:
        _stroke(picture, _points(vertices, FEATURE_LINES[name], rng, 0.03), folds, 0.03 * px, 0.025 * px)
    brow, width = skin * rng.uniform(0.2, 0.85), rng.uniform(0.05, 0.13) * px
    lift = rng.normal(0, 0.03)
    for name in BROWS:
        points = _points(vertices + np.array([0, lift]), FEATURE_LINES[name], rng, 0.01)
        _stroke(picture, points, brow, width, rng.uniform(1.0, 2.5))
    white = min(255.0, max(skin, 90) * rng.uniform(1.0, 1.4))
    gaze = rng.normal(0, 0.04, 2) * (1, 0.4)
    lash, lash_blur, crease_tone = rng.uniform(1, 3.5), rng.uniform(0.6, 1.2), skin * rng.uniform(0.7, 1.0)
    for name in LIDS:
        lids = _points(vertices, FEATURE_LINES[name], rng, 0.005)
        _fill(picture, lids, white, 0.8)
        centre = np.round(lids.mean(axis=0) + gaze / SPAN * SIDE * 16).astype(int)
        layer, mask = np.zeros((2, SIDE, SIDE), np.float32)
        cv2.circle(layer, centre.tolist(), int(16 * 0.075 * px), 1.0, -1, cv2.LINE_AA, 4)
        cv2.fillPoly(mask, [lids], 1.0, cv2.LINE_AA, 4)
        _blend(picture, cv2.GaussianBlur(layer * mask, (0, 0), 0.8), dark)
        _stroke(picture, lids[:5], dark, lash, lash_blur)
        crease = lids[1:4] - np.array([0, 0.07 * px * 16], np.int32)
        _stroke(picture, crease.astype(np.int32), crease_tone, 2, 1.0)
    _stroke(picture, _points(vertices, FEATURE_LINES["nostrils"], rng, 0.01), dark, rng.uniform(1, 4), 1.2)
    lips = _points(vertices, LIPS_OUTER, rng, 0.01)
    _fill(picture, lips, skin * rng.uniform(0.55, 1.0), rng.uniform(0.8, 2))
    _stroke(picture, _points(vertices, FEATURE_LINES["lip_line"], rng, 0.01), dark, rng.uniform(1, 3), 0.9)


def _hair(rng, picture):
    rows = np.arange(SIDE, dtype=np.float32)[:, None]
    tone, strands = rng.uniform(5, 160), _grain(rng, 1.0) * rng.uniform(5, 25)
    line = to_raster([(0, rng.uniform(-1.2, -0.45))])[0, 1] + _grain(rng, 20)[:1] * rng.uniform(0, 8)
    _blend(picture, np.clip((line - rows) / 4 + 0.5, 0, 1), tone + strands)
    if rng.random() < 0.15:
        top = to_raster([(0, rng.uniform(0.6, 1.1))])[0, 1]
        beard = np.clip((rows - top) / 20, 0, 1) * rng.uniform(0.3, 0.9)
        _blend(picture, beard * np.ones((1, SIDE), np.float32), tone + strands)
