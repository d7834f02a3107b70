"""Run each input in a process of its own, forked from one that has imported everything, and judge it."""

import importlib
import json
import os
import pickle
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import REFUSED, TOLD, Case
from .seeds import COUNT, FPS, TRACKS, write_seeds

PATIENCE_S, MOST_MB = 30, 2000
BROKEN = ("traceback", "hang", "memory", "wrong answer")
FINE = ("refused", "answered")
ERROR = re.compile(r"(mer-hf|train\.py): error: \S.*")
BESIDE = re.compile(r"^mer-hf: note: |^\s*$|\d+%\|")
"""Lines that may stand beside an error: notes and bars of progress."""


@dataclass(frozen=True)
class Verdict:
    """What became of an input: one of `FINE` or `BROKEN`, and why."""

    case: Case
    kind: str
    why: str
    seconds: float
    peak_mb: float

    def __str__(self) -> str:
        line = f"{self.case.id} ({self.seconds:.1f} s, {self.peak_mb:.0f} MB): {self.why}"
        return line.encode("ascii", "backslashreplace").decode()


IMPORTED = (
    "datasets",
    "mediapipe",
    "openpyxl",
    "pandas",
    "pyarrow.parquet",
    "sklearn.model_selection",
    "PIL.ImageFile",
    "mer_hf.data.prepare",
    "mer_hf.data.readers",
    "mer_hf.evaluation.recording_scores",
    "mer_hf.hub.push",
    "mer_hf.hub.push_synthetic",
    "mer_hf.hub.reproduce",
    "mer_hf.inference.bulk",
    "mer_hf.inference.long_video",
    "mer_hf.training.folds",
    "mer_hf.training.loop",
    "mer_hf.visualization.report",
    "transformers.image_processing_utils",
)
"""Modules that the inputs reach, imported once for all processes."""


def forked(work: Callable[[], Any]) -> int:
    """Run something in a child that leads a group of its own, and return its number."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 70
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Judge:
    """Makes the seeds once, and runs inputs in processes of their own.

    Args:
        folder (`Path`): An empty folder.
        page (`bool`): Whether calls of the page are among the inputs.
    """

    def __init__(self, folder: Path, page: bool) -> None:
        self.folder, self.seeds, self.page = folder, folder / "seeds", None
        self.seeds.mkdir()
        for name in IMPORTED:
            importlib.import_module(name)
        child = forked(lambda: write_seeds(self.seeds))  # the detector's threads stay in that process
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise RuntimeError("the seeds could not be made")
        self.tracks = pickle.loads((self.seeds / TRACKS).read_bytes())
        if page:
            from .page import Page

            self.page = Page(self.seeds)

    def judge(self, cases: list[Case], jobs: int) -> Iterator[Verdict]:
        """Yield the verdicts as they come, from some processes at a time."""
        waiting, running = list(enumerate(cases))[::-1], {}
        while waiting or running:
            while waiting and len(running) < jobs:
                number, case = waiting.pop()
                folder = self.folder / f"case{number}"
                folder.mkdir()
                running[forked(lambda: self._run(case, folder))] = (case, folder, time.monotonic())  # noqa: B023
            time.sleep(0.005)
            for child, (case, folder, begun) in list(running.items()):
                if verdict := self._look(child, case, folder, time.monotonic() - begun):
                    del running[child]
                    shutil.rmtree(folder, ignore_errors=True)
                    yield verdict

    def _look(self, child: int, case: Case, folder: Path, seconds: float) -> Verdict | None:
        """Return the verdict on a child that has ended, or that has to."""
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            kind, why = ("memory", "") if usage.ru_maxrss > MOST_MB * 1000 else verdict_of(case, code, folder)
            return Verdict(case, kind, why, seconds, usage.ru_maxrss / 1000)
        over = "hang" if seconds > PATIENCE_S else "memory" if resident_mb(child) > 1.5 * MOST_MB else ""
        if not over:
            return None
        os.killpg(child, signal.SIGKILL)
        usage = os.wait4(child, 0)[2]
        return Verdict(case, over, "", seconds, usage.ru_maxrss / 1000)

    def _run(self, case: Case, folder: Path) -> None:
        """Make an input and run it, in the child."""
        home = folder / "case"
        home.mkdir()
        program, *arguments = case.make(self.seeds, home)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        os.chdir(home)
        if case.tracked:
            self._track_no_more()
        code = self._call(program, arguments, home)
        (folder / "code").write_text(str(code))

    def _call(self, program: str, arguments: list, home: Path) -> int:
        if program == "page":
            code, text = self.page.ask(home, *arguments)
            (home.parent / "answer").write_text(text)
            return code
        if program == "train.py":
            from mer_hf.training.cli import main
        else:
            from mer_hf.cli import main
        try:
            return main(list(map(str, arguments)))
        except SystemExit as stop:
            return stop.code or 0

    def _track_no_more(self) -> None:
        """Give the seeds' face in place of tracking it again."""
        from mer_hf.inference import pipeline

        track_face, tracks = pipeline.track_face, self.tracks
        pipeline.track_face = lambda clip, geometry, face: (
            tracks[geometry] if geometry in tracks and face is None else track_face(clip, geometry, face)
        )


def resident_mb(child: int) -> float:
    try:
        pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def verdict_of(case: Case, code: int, folder: Path) -> tuple[str, str]:
    """Judge what a child that has ended left: its exit code, what it printed, and how it ended."""
    out, err, answer = (_text(folder / name) for name in ("out", "err", "answer"))
    if code or not (folder / "code").exists():
        last = [line for line in err.splitlines() if line.strip()][-1:] or [f"exit code {code}"]
        return "traceback", last[0][:300]
    code = int(_text(folder / "code"))
    told = answer if case.door == "page" else err  # the log of the page is not for its visitors
    if "Traceback" in told:
        return "traceback", told.splitlines()[-1][:300]
    if code == 2:
        return _refusal(case, err, answer)
    if code not in (0, 1):
        return "traceback", f"exit code {code}"
    if case.due == REFUSED:
        return "wrong answer", (out or answer)[:200]
    return _answer(case, out, folder)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _refusal(case: Case, err: str, answer: str) -> tuple[str, str]:
    if case.door == "page":
        bad = re.search(r"^500 |Internal Server Error|unforeseen", answer)
        return ("traceback", answer[:300]) if bad else ("refused", answer[:300])
    lines = [line.rpartition("\r")[2] for line in err.split("\n") if not BESIDE.search(line)]
    if len(lines) == 1 and ERROR.fullmatch(lines[0]):
        return "refused", lines[0]
    return "traceback", f"{len(lines)} lines: {err[:300]}"


def _answer(case: Case, out: str, folder: Path) -> tuple[str, str]:
    """Judge an answer: its scores are probabilities, and a table that lies is told."""
    try:
        answer = json.loads(out, parse_constant=lambda name: 1 / 0) if out.startswith("{") else {}
    except ZeroDivisionError:
        return "wrong answer", "a number that is none"
    scores = answer.get("scores")
    if scores and not abs(sum(scores.values()) - 1) < 1e-3:
        return "wrong answer", f"scores {scores}"
    if case.due == TOLD and not answer["warnings"]:
        rows = (folder / "case" / "curve.csv").read_text().splitlines()[1:]
        first_s, last_s = (float(row.split(",")[1] or "nan") for row in (rows[0], rows[-1]))
        if len(rows) != COUNT or not abs(last_s - first_s - (COUNT - 1) / FPS) < 0.05:
            return "wrong answer", f"{len(rows)} frames in {last_s - first_s} s, and no warning"
    return "answered", ""
