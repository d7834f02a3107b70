"""Compare the pipeline with its floors: what its models, filters and decoder take by themselves.

    python -m benchmarks floors
    python -m benchmarks.floors --quick      # one clip and some seconds of video, to see that it runs

One run of the pipeline is watched: the pictures that its face models get, and the arguments of OpenCV's
functions, of the flow and of the network. They are then replayed alone, in turns with the whole pipeline.
Of many calls of one size some are replayed, and their time is multiplied. So a floor says how long a stage
would take if nothing lay between these calls.
"""

import contextlib
import random
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import av
import cv2
import numpy as np
import torch

from benchmarks._clock import fresh, rounded, script, seconds
from mer_hf import MicroExpressionPipeline
from mer_hf.face import spotting, tracking
from mer_hf.inference.long_video import spot_long
from mer_hf.synthetic.clips import EXAMPLES, Motion, render_clip
from mer_hf.video.clip import write_clip
from mer_hf.video.container import open_video

CASES = {"360p_30fps": (640, 360, 30), "360p_200fps": (640, 360, 200), "480p_200fps": (640, 480, 200),
         "1080p_60fps": (1920, 1080, 60)}  # fmt: skip
"""Clip of two seconds -> width, height, frames per second."""
LONG, LONG_S = (1280, 720, 30), 600

PARTS = {
    "read": ("decode", "colours"),
    "track": ("detect", "mesh", "corners", "warp"),
    "spot": ("flow", "windows"),
    "answer": ("input_flow", "network"),
}
"""Stage -> its floors; `answer` is action units, class and relevance."""
ANSWER = ("action_units", "classify", "relevance")
MODELS = {"FaceDetector": "detect", "FaceLandmarker": "mesh"}
OPENCV = {"warpAffine": "warp", "goodFeaturesToTrack": "corners", "calcOpticalFlowPyrLK": "corners",
          "estimateAffinePartial2D": "corners"}  # fmt: skip
REPLAYED = 24
"""Calls of one kind and size that are kept."""


class Calls:
    """Calls of one kind and of about one size: how many there were, and some of them."""

    def __init__(self, replay: Callable[[list], float]) -> None:
        self.replay, self.count, self.kept, self.rng = replay, 0, [], random.Random(0)
        self.lock = threading.Lock()  # two threads run the face mesh

    def add(self, arguments: tuple, options: dict) -> None:
        """Count a call; each has the same chance to be kept."""
        with self.lock:
            place = self.count if self.count < REPLAYED else self.rng.randrange(self.count + 1)
            self.count += 1
            if place < REPLAYED:
                call = tuple(np.array(a) if isinstance(a, np.ndarray) else a for a in arguments), options
                self.kept[place : place + 1] = [call]

    def number(self) -> int:
        """Return how many calls there were."""
        return self.count

    def seconds(self) -> float:
        """Replay the calls that were kept, and return how long all of them take."""
        return self.replay(self.kept) * self.count / len(self.kept)


class Watched:
    """What was called while a run was watched: (floor, kind, size) -> calls."""

    def __init__(self) -> None:
        self.calls: dict[tuple, Calls] = {}

    def watch(self, floor: str, function: Callable, replay: Callable | None = None) -> Callable:
        """Return a function that notes its calls."""
        replay = replay or partial(_replay, function)

        def noted(*arguments, **options):
            shape = next((a.shape for a in (*arguments, *options.values()) if hasattr(a, "shape")), ())
            key = floor, getattr(function, "__name__", floor), len(shape), round(2 * np.log2(np.prod(shape)))
            self.calls.setdefault(key, Calls(replay)).add(arguments, options)
            return function(*arguments, **options)

        return noted

    def dis(self, create: Callable, *arguments) -> "_Solver":
        """Return a flow solver that notes its calls."""
        solver, spots = create(*arguments), arguments[:1] == (cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,)
        return _Solver(solver, self.watch("flow" if spots else "input_flow", solver.calc))

    @contextlib.contextmanager
    def started(self, start: Callable, task: str, file: str, **options) -> Iterator[Callable]:
        """Start a face model whose pictures are noted; it is started again when they are replayed."""

        def replay(kept: list) -> float:
            with start(task, file, **options) as again:
                again(*kept[0][0])
                return _replay(again, kept)

        with start(task, file, **options) as look:
            yield self.watch(MODELS[task], look, replay)

    def summed(self, of: Callable[[Calls], float]) -> dict[str, float]:
        """Return the sum of what is asked of the calls, by floor."""
        result: dict[str, float] = defaultdict(int)
        for (floor, *_), calls in self.calls.items():
            result[floor] += of(calls)
        return result


class _Solver:
    """A flow solver with another `calc`."""

    def __init__(self, solver, calc: Callable) -> None:
        self.solver, self.calc = solver, calc

    def __getattr__(self, name: str):
        return getattr(self.solver, name)


def _replay(function: Callable, kept: list) -> float:
    with torch.inference_mode():
        return seconds(lambda: [function(*arguments, **options) for arguments, options in kept])


@contextlib.contextmanager
def watching(pipeline: MicroExpressionPipeline) -> Iterator[Watched]:
    """Note what is called by whatever runs meanwhile."""
    watched, start = Watched(), tracking.started
    with contextlib.ExitStack() as stack:

        def replace(owner, name: str, new: Callable) -> None:
            stack.enter_context(patch.object(owner, name, new))

        for name, floor in OPENCV.items():
            replace(cv2, name, watched.watch(floor, getattr(cv2, name)))
        replace(cv2, "DISOpticalFlow_create", partial(watched.dis, cv2.DISOpticalFlow_create))
        if windows := getattr(spotting, "_Windows", None):
            replace(windows, "follow", watched.watch("windows", windows.follow))
        for name, module in list(sys.modules.items()):  # it is imported by name
            if name.startswith("mer_hf") and vars(module).get("started") is start:
                replace(module, "started", partial(watched.started, start))
        network = pipeline._network
        replace(network, "forward", watched.watch("network", network.forward))
        yield watched


def decoding_s(path: Path, colours: bool) -> float:
    """Return the seconds of decoding a file alone, with or without its conversion to RGB."""

    def decode() -> None:
        container, stream = open_video(path)
        with container:
            for frame in container.decode(stream):
                if colours:
                    frame.to_ndarray(format="rgb24")

    return seconds(decode)


def floors_of(watched: Watched, path: Path) -> dict[str, float]:
    """Return the seconds of every floor once."""
    plain_s = decoding_s(path, False)
    return watched.summed(Calls.seconds) | {
        "decode": plain_s,
        "colours": max(0.0, decoding_s(path, True) - plain_s),
    }


def write_example(path: Path, width: int, height: int, fps: int) -> None:
    """Write two seconds of a face that smiles."""
    size = {"width": width, "height": height, "interocular_px": height / 6}
    write_clip(path, render_clip(Motion(EXAMPLES["positive"]), fps=fps, **size).clip.frames, fps)


def repeat_packets(source: Path, target: Path, lasts_s: float) -> None:
    """Write a clip over and over without encoding it again."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as long:
        stream = clip.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe, packet.pts, packet.dts, packet.duration,
                    packet.time_base) for packet in clip.demux(stream) if packet.size]  # fmt: skip
        copy, step = long.add_stream_from_template(stream), packets[0][4]
        for i in range(round(lasts_s * Fraction(1) / (step * packets[0][5]))):
            data, is_keyframe, pts, dts, duration, time_base = packets[i % len(packets)]
            packet, shift = av.Packet(data), i // len(packets) * len(packets) * step
            packet.stream, packet.is_keyframe = copy, is_keyframe
            packet.pts, packet.dts, packet.duration = pts + shift, dts + shift, duration
            packet.time_base = time_base
            long.mux(packet)


def peak_mb(command: str, path: Path, model: str) -> float:
    """Return the most memory that `mer-hf predict` or `spot` takes, in a process of its own."""
    code = "import sys; from mer_hf.cli import main; main(sys.argv[1:]); "
    # Not getrusage: its peak is that of the process before it became this one, if that was larger.
    code += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    return int(fresh("-c", code, command, str(path), "--model", model, "--json").output.split()[-1]) / 1024


def compare(pipeline: MicroExpressionPipeline, path: Path, repeats: int) -> dict[str, float]:
    """Return the seconds of a clip's stages, and of all floors, in turns."""
    with watching(pipeline) as watched:
        pipeline(path)
    turns = []
    for _ in range(repeats):
        whole_s = seconds(lambda: turns.append(pipeline(path).timings_s))
        turns[-1]["answer"] = sum(turns[-1].get(stage, 0.0) for stage in ANSWER)
        turns[-1] |= {"whole": whole_s} | {f"{k}_floor": v for k, v in floors_of(watched, path).items()}
    found = {f"{name}_s": median(turn[name] for turn in turns) for name in turns[0]}
    return found | {f"{name}_calls": count for name, count in watched.summed(Calls.number).items()}


def compare_long(pipeline: MicroExpressionPipeline, path: Path) -> dict[str, float]:
    """Return the seconds of spotting in a long video, once, and of all floors."""
    with watching(pipeline) as watched:
        found = {"whole_s": seconds(lambda: spot_long(path, pipeline))}
    found |= {f"{name}_floor_s": value for name, value in floors_of(watched, path).items()}
    return found | {f"{name}_calls": count for name, count in watched.summed(Calls.number).items()}


def summed(found: dict[str, float], lasts_s: float) -> dict[str, float]:
    """Add the floor of each stage, the sum of them, and the ratios."""
    for stage, parts in PARTS.items():
        found[f"{stage}_floor_s"] = sum(found.get(f"{part}_floor_s", 0.0) for part in parts)
    found["floors_s"] = sum(found[f"{stage}_floor_s"] for stage in PARTS)
    found["whole_to_floors"] = found["whole_s"] / found["floors_s"]
    return found | {"s_per_s": found["whole_s"] / lasts_s}


def run(model: str = "htnet", repeats: int = 5, quick: bool = False) -> dict:
    """Return stages, floors, ratios and memory of every clip, and of a long video."""
    pipeline = MicroExpressionPipeline.from_pretrained(model)
    cases = {"360p_30fps": CASES["360p_30fps"]} if quick else CASES
    size, long_s = (CASES["360p_30fps"], 6) if quick else (LONG, LONG_S)
    result: dict = {"model": model, "repeats": repeats, "long_s": long_s}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in cases.items():
            write_example(path := Path(folder, f"{name}.mp4"), *case)
            found = summed(compare(pipeline, path, repeats), 2.0) | {"frames": 2 * case[2]}
            found["peak_mb"] = peak_mb("predict", path, model)
            result |= {f"{name}_{field}": value for field, value in found.items()}
        write_example(short := Path(folder, "short.mp4"), *size)
        repeat_packets(short, long := Path(folder, "long.mp4"), long_s)
        found = summed(compare_long(pipeline, long), long_s) | {"peak_mb": peak_mb("spot", long, model)}
        found["frames"] = long_s * size[2]
    return rounded(result | {f"long_{field}": value for field, value in found.items()})


if __name__ == "__main__":
    script(run)
