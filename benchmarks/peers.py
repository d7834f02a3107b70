"""Compare the pipeline with others on a given video, frames a second each.

    python -m benchmarks.peers --clip FILE       # also keeps the numbers and writes docs/speed.md
    python -m benchmarks.peers --clip FILE --py-feat PYTHON

MediaPipe gets every frame as its guide shows it: OpenCV decodes, the task runs in its mode for video, and
only landmarks come out. Of py-feat 2, in an environment of its own, the networks alone run, on pictures of
the video's size. The pipeline answers the whole question. All take turns.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2

from benchmarks import speed_page
from benchmarks.__main__ import FOLDER, keep, show
from benchmarks._clock import in_turns, rounded
from mer_hf import MicroExpressionPipeline
from mer_hf.face import tracking
from mer_hf.utils.provenance import git_commit

SECONDS = 60.0
NETWORKS = Path(__file__).with_name("py_feat_networks.py")
PICTURES = 16
"""So many pictures py-feat's networks get at a time."""


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


@contextmanager
def py_feat_networks(python: str, clip: Path) -> Iterator[Callable[[], None]]:
    """Yield a call that runs py-feat's networks on `PICTURES` pictures of the clip's size."""
    video = cv2.VideoCapture(str(clip))
    size = (str(int(video.get(key))) for key in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    command = [python, NETWORKS, *size, str(PICTURES)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:

        def call() -> None:
            print(file=process.stdin, flush=True)
            if process.stdout.readline() != "done\n":
                raise RuntimeError(f"py-feat's networks do not run in {python}; what it says is above.")

        yield call


def run(clip: Path, model: str = "htnet", within_s: float = SECONDS, py_feat: str = "") -> dict:
    """Return frames a second of each, on the frames of one video."""
    pipeline = MicroExpressionPipeline.from_pretrained(model)
    frames = len(pipeline(clip).phases.curve)
    with ExitStack() as stack:
        bundle = Path(stack.enter_context(tempfile.TemporaryDirectory()), tracking.BUNDLE)
        bundle.write_bytes(tracking._model_files()[tracking.BUNDLE])
        seen = landmarks_of(clip, bundle)
        calls = {"pipeline": lambda: pipeline(clip), "mediapipe": lambda: landmarks_of(clip, bundle)}
        if py_feat:
            calls["py_feat_networks"] = stack.enter_context(py_feat_networks(py_feat, clip))
        spent = in_turns(calls, within_s)
    if py_feat:
        spent["py_feat_networks"] *= frames / PICTURES
    result = {"clip": clip.name, "frames": frames, "frames_with_a_face": seen}
    result |= {f"{name}_s": each_s for name, each_s in spent.items()}
    return rounded(result | {f"{name}_frames_per_s": frames / each_s for name, each_s in spent.items()})


def main(argv: list[str] | None = None) -> None:
    """Measure, keep the numbers, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, required=True, metavar="FILE", help="a video of a face")
    parser.add_argument("--py-feat", default="", metavar="PYTHON", help="an interpreter that has py-feat 2")
    result = run(**vars(parser.parse_args(argv)))
    show("peers", result)
    keep("peers", result, FOLDER / "results", git_commit() or "unknown")
    speed_page.write()


if __name__ == "__main__":
    main()
