"""Measure how much of a head's motion registration leaves, on a photograph moved in a known way.

The numbers are residuals in pixels of the clip: `python -m benchmarks registration`.
"""

import json

import cv2
import numpy as np

from mer_hf.face.registration import apply, compose, invert
from mer_hf.face.tracking import track_face
from mer_hf.video.clip import Clip

FPS, COUNT = 30.0, 60
FACE_XY = np.array([225.0, 125.0])
POINTS_XY = {
    "nose": [[225.0, 125.0]],
    "eyes": [[204.0, 102.0], [246.0, 104.5]],
    "brows": [[192.0, 90.0], [205.0, 92.0], [244.0, 93.0], [257.0, 94.0]],
    "mouth": [[205.0, 147.0], [249.0, 147.0]],
}
"""On the face of `skimage.data.astronaut()`, whose eyes are 42 pixels apart."""


def moving_photograph(interocular_px: float, noise: float, seed: int = 0) -> tuple[Clip, np.ndarray]:
    """Render two seconds of the photograph under slow shifts (5 px), turns (1.5°), zoom (1 %) and noise.

    Also return the maps `(T, 2, 3)` from photograph to clip.
    """
    from skimage import data

    photo, scale = data.astronaut(), interocular_px / 42.0
    if scale < 1:
        photo = cv2.GaussianBlur(photo, (0, 0), 0.4 / scale)
    rng = np.random.default_rng(seed)
    frequency_hz, phase = rng.uniform(0.2, 0.6, 4), rng.uniform(0, 2 * np.pi, 4)
    wave = np.sin(2 * np.pi * frequency_hz * np.arange(COUNT)[:, None] / FPS + phase)
    frames, maps = [], []
    for turn, zoom, dx, dy in wave:
        matrix = cv2.getRotationMatrix2D((0, 0), 1.5 * turn, scale * (1 + 0.01 * zoom))
        matrix[:, 2] = (320, 170) - matrix[:, :2] @ FACE_XY + 5.0 * np.array([dx, dy])
        frame = cv2.warpAffine(photo, matrix, (640, 360), flags=cv2.INTER_CUBIC).astype(np.float32)
        frame += noise * rng.standard_normal(frame.shape, dtype=np.float32)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
        maps.append(matrix)
    return Clip(np.stack(frames), np.arange(COUNT) / FPS), np.stack(maps)


def residual_px(to_clip: np.ndarray, photo_to_clip: np.ndarray, points_xy: np.ndarray) -> float:
    """Return the RMS over time of the motion left at points of the photograph, in pixels of the clip."""
    crops = [compose(invert(p), c.astype(np.float64)) for p, c in zip(photo_to_clip, to_clip, strict=True)]
    in_crop = apply(invert(np.mean(crops, axis=0)), points_xy)
    left = np.stack([apply(crop, in_crop) for crop in crops]) * np.hypot(*photo_to_clip[0, :, 0])
    return float(np.sqrt(((left - left.mean(0)) ** 2).sum(-1).mean()))


def run() -> dict:
    """Measure residuals by interocular distance and noise, and those of a crop that does not follow the head.

    Returns:
        `dict`: `<part>_eyes_<distance>_noise_<grey levels>_px`: RMS over 60 frames, in pixels of the clip.
    """
    result = {}
    for interocular_px in (34, 60, 105):
        for noise in (0, 2, 4):
            clip, photo_to_clip = moving_photograph(interocular_px, noise)
            to_clip = track_face(clip).to_clip
            case = f"eyes_{interocular_px}_noise_{noise}_px"
            for part, points in POINTS_XY.items():
                result[f"{part}_{case}"] = residual_px(to_clip, photo_to_clip, np.array(points))
        fixed = np.repeat(to_clip[:1], COUNT, axis=0)
        result[f"unregistered_eyes_{interocular_px}_px"] = residual_px(fixed, photo_to_clip, FACE_XY[None])
    return result


def main() -> None:
    """Print the result as JSON."""
    print(json.dumps(run(), indent=1))


if __name__ == "__main__":
    main()
