"""Many visitors at once: what the page answers and refuses, how long it takes and how much memory.

Starts `space/app.py` in a process with its own temporary folder. After the first answer, 32 clients at once
ask for 8 clips each: three expressions, a still face, a blink, a talking face, two faces and no face at all.
No two clients send the same bytes, so that nothing is answered from a cache. Every answer is compared with
that of the pipeline for the same clip; refusals in words (a full queue) are counted. At the end the page's
files must be deleted: first those of the stated age, then all of them with the process.

    python -c "from benchmarks.load import run; print(run(clients=4, clips_each=2))"
"""

import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.synthetic.clips import EXAMPLE_KINDS, Motion, example_clip, render_clip
from mer_hf.video.clip import write_clip

APP = Path(__file__).resolve().parents[1] / "space" / "app.py"
KEEP_S = 120
"""Lifetime of the page's files during the measurement: longer than anybody waits in the queue."""
MOST_MB = 2500
"""Memory that the page's process may take."""
REFUSALS = ("queue is full", "too many")


@dataclass
class Outcome:
    """Outcome of one request: `right`, `refused`, `wrong` or `failed`, and why."""

    kind: str
    took_s: float
    why: str = ""


def frames_by_kind() -> dict[str, np.ndarray]:
    """Render eight clips of two seconds, 640 x 360."""
    frames = {kind: example_clip(kind).clip.frames for kind in EXAMPLE_KINDS}
    smile = example_clip("positive").motion
    other = render_clip(smile, name="person-1", seed=1).clip.frames
    frames["talking"] = render_clip(Motion(talk_px=4.0), name="person-2", seed=2).clip.frames
    # The second person smaller, in the upper corner.
    frames["two faces"] = np.array(frames["positive"])
    frames["two faces"][:, :180, :320] = other[:, ::2, ::2]
    frames["no face"] = np.random.default_rng(0).integers(0, 255, (60, 360, 640, 3), dtype=np.uint8)
    return frames


def write_clips(folder: Path) -> dict[str, Path]:
    """Write the clips to files, by kind."""
    paths = {}
    for kind, frames in frames_by_kind().items():
        paths[kind] = folder / f"{kind}.mp4"
        write_clip(paths[kind], frames, 30, crf=28)
    return paths


def own_copy(path: Path, client: int, folder: Path) -> Path:
    """Copy a video with other bytes: an empty box at the end of the file."""
    copy = folder / f"{client}" / path.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(path.read_bytes() + b"\0\0\0\x0cfree" + client.to_bytes(4, "big"))
    return copy


def alone(paths: dict[str, Path], model: str) -> dict[str, dict]:
    """Return the pipeline's answer for each clip; `error` where it refuses."""
    pipeline = MicroExpressionPipeline.from_pretrained(model)
    answers = {}
    for kind, path in paths.items():
        try:
            answers[kind] = pipeline(path).to_dict()
        except ValueError as error:
            answers[kind] = {"error": str(error)}
    return answers


def whole_answer(answer: dict | tuple) -> dict:
    """Pick the dict with the whole answer, or with the reason for a refusal, from the endpoint's outputs."""
    if isinstance(answer, dict):
        return answer
    return next(each for each in answer if isinstance(each, dict) and {"outcome", "error"} & set(each))


def agree(one: dict, other: dict) -> bool:
    """Return whether two answers are the same, or refuse in the same words."""
    if "error" in one or "error" in other:
        return one.get("error") == other.get("error")
    same = all(one[name] == other[name] for name in ("outcome", "label"))
    phases = all(one["phases"][name] == other["phases"][name] for name in ("onset", "apex", "offset"))
    scores = all(abs(one["scores"][name] - value) < 1e-3 for name, value in other["scores"].items())
    return same and phases and scores


def ask(client, path: Path, model: str, expected: dict) -> Outcome:
    """Send one request and compare the answer."""
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    start = time.perf_counter()
    try:
        answer = whole_answer(client.predict(handle_file(path), model, api_name="/analyse"))
    except AppError as error:  # what the page says in its own words, or that there is no room
        answer = {"error": error.message}
    except Exception as error:  # whatever else a client may meet is counted
        answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    if any(word in answer.get("error", "").lower() for word in REFUSALS):
        return Outcome("refused", time.perf_counter() - start, answer["error"])
    if answer.keys() == {"error"} and "error" not in expected:
        return Outcome("failed", time.perf_counter() - start, answer["error"][:300])
    kind = "right" if agree(answer, expected) else "wrong"
    return Outcome(kind, time.perf_counter() - start, "" if kind == "right" else str(answer)[:300])


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Serve the page from a process whose temporary folder is `folder`, and terminate it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PORT": str(port),
        "TMPDIR": str(folder),
        "MER_HF_KEEP_S": str(KEEP_S),
        "PYTHONPATH": os.pathsep.join([str(APP.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("GRADIO_TEMP_DIR", None)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, str(APP)], env=environment, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(url, process, output)
            yield process, url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(url: str, process: subprocess.Popen, output) -> None:
    """Wait until the page answers; raise RuntimeError with its output if it ends or takes five minutes."""
    for _ in range(3000):
        if process.poll() is None:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        else:
            break
    output.seek(0)
    raise RuntimeError(f"the page did not start: {output.read()[-2000:]}")


def peak_mb(process: subprocess.Popen) -> float:
    """Return the peak memory of a process."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        kilobytes = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes.split()[1]) * 1024 / 1e6
    import psutil

    memory = psutil.Process(process.pid).memory_info()
    return getattr(memory, "peak_wset", memory.rss) / 1e6


def files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def ask_all(
    url: str, clients: int, clips_each: int, paths: dict[str, Path], expected: dict[str, dict], model: str
) -> list[Outcome]:
    """Let all clients ask at once, each for one clip after another, beginning with different kinds."""
    from gradio_client import Client

    kinds = list(paths)
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(clients) as pool:
        downloads = Path(folder) / "downloads"
        opened = list(
            pool.map(lambda _: Client(url, verbose=False, download_files=downloads), range(clients))
        )
        together = threading.Barrier(clients)

        def visit(number: int) -> None:
            together.wait()
            for at in range(clips_each):
                kind = kinds[(number + at) % len(kinds)]
                copy = own_copy(paths[kind], number, Path(folder))
                outcomes.put(ask(opened[number], copy, model, expected[kind]))

        list(pool.map(visit, range(clients)))
        for client in opened:
            client.close()
    return [outcomes.get() for _ in range(outcomes.qsize())]


def run(
    clients: int = 32,
    clips_each: int = 8,
    model: str = "htnet-synthetic",
    beside: Callable[[str], AbstractContextManager] = nullcontext,
) -> dict:
    """Measure; `beside(url)` is a visitor who is there all the time."""
    from gradio_client import Client

    with tempfile.TemporaryDirectory() as clips, tempfile.TemporaryDirectory() as pages:
        folder = Path(pages)
        paths = write_clips(Path(clips))
        expected = alone(paths, model)
        result: dict = {"model": model, "clients": clients, "clips_each": clips_each}
        start = time.perf_counter()
        with served(folder) as (process, url):
            result["start_s"] = time.perf_counter() - start
            at_start = files_in(folder)
            visitor = Client(url, verbose=False)
            first = ask(visitor, paths["positive"], model, expected["positive"])
            result |= {"first_answer_s": first.took_s, "first_answer": first.kind}
            visitor.close()
            start = time.perf_counter()
            with beside(url):
                outcomes = ask_all(url, clients, clips_each, paths, expected, model)
            result["wall_s"] = time.perf_counter() - start
            result |= summary(outcomes) | {"peak_rss_mb": peak_mb(process), "bound_mb": MOST_MB}
            result["files_under_load"] = files_in(folder) - at_start
            result["files_after_their_age"] = wait_until_gone(folder, at_start)
        result["files_after_exit"] = files_in(folder)
    kept = result["peak_rss_mb"] <= MOST_MB and not result["files_after_their_age"]
    result["all_promises_kept"] = "yes" if kept and not result["wrong"] + result["failed"] else "no"
    return result


def wait_until_gone(folder: Path, at_start: int) -> int:
    """Return the files more than at the start once their age has passed."""
    end = time.monotonic() + 1.5 * KEEP_S
    while (left := files_in(folder) - at_start) > 0 and time.monotonic() < end:
        time.sleep(1)
    return max(left, 0)


def summary(outcomes: list[Outcome]) -> dict:
    """Return counts, times of the answers, and the first reason of each kind that is not right."""
    result: dict = {
        kind: sum(each.kind == kind for each in outcomes) for kind in ("right", "refused", "wrong", "failed")
    }
    took = sorted(each.took_s for each in outcomes if each.kind == "right")
    if took:
        result |= {"median_answer_s": statistics.median(took), "slowest_answer_s": took[-1]}
    for kind in ("refused", "wrong", "failed"):
        why = next((each.why for each in outcomes if each.kind == kind), None)
        result |= {f"first_{kind}": why} if why else {}
    return result
