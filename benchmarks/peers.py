"""Compare the pipeline with MediaPipe's FaceLandmarker alone on a given video, frames a second each.

    python -m benchmarks.peers --clip FILE       # also keeps the numbers and writes docs/speed.md

MediaPipe gets every frame as its guide shows it: OpenCV decodes, the task runs in its mode for video, and
only landmarks come out. The pipeline answers the whole question. Both take turns.
"""

import argparse
import tempfile
from pathlib import Path

import cv2

from benchmarks import speed_page
from benchmarks.__main__ import FOLDER, keep, show
from benchmarks._clock import in_turns, rounded
from mer_hf import MicroExpressionPipeline
from mer_hf.face import tracking
from mer_hf.utils.provenance import git_commit

SECONDS = 60.0


def landmarks_of(path: Path, bundle: Path) -> int:
    """Find the landmarks in every frame with MediaPipe; return the number of frames with a face."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(bundle)), running_mode=vision.RunningMode.VIDEO
    )
    video, seen, number = cv2.VideoCapture(str(path)), 0, 0
    fps = video.get(cv2.CAP_PROP_FPS) or 30.0
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        while (read := video.read())[0]:
            rgb = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
            seen += bool(landmarker.detect_for_video(image, round(1000 * number / fps)).face_landmarks)
            number += 1
    video.release()
    return seen


def run(clip: Path, model: str = "htnet", within_s: float = SECONDS) -> dict:
    """Return frames a second of both, on the frames of one video."""
    pipeline = MicroExpressionPipeline.from_pretrained(model)
    frames = len(pipeline(clip).phases.curve)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, tracking.BUNDLE)
        bundle.write_bytes(tracking._model_files()[tracking.BUNDLE])
        seen = landmarks_of(clip, bundle)
        calls = {"pipeline": lambda: pipeline(clip), "mediapipe": lambda: landmarks_of(clip, bundle)}
        spent = in_turns(calls, within_s)
    result = {"clip": clip.name, "frames": frames, "frames_with_a_face": seen}
    result |= {f"{name}_s": each_s for name, each_s in spent.items()}
    return rounded(result | {f"{name}_frames_per_s": frames / each_s for name, each_s in spent.items()})


def main(argv: list[str] | None = None) -> None:
    """Measure, keep the numbers, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, required=True, metavar="FILE", help="a video of a face")
    result = run(parser.parse_args(argv).clip)
    show("peers", result)
    keep("peers", result, FOLDER / "results", git_commit() or "unknown")
    speed_page.write()


if __name__ == "__main__":
    main()
