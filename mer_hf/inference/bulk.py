"""Predictions of many clips into one table, by any number of processes on machines that share a folder.

    OUT.parts/plan.json        the model, the options and the clips, as they were when the run began
    OUT.parts/queue/           which clips are done
    OUT.parts/begun/<clip>     a process is at this clip, or was when it died
    OUT.parts/results/<clip>   the row of a clip, as JSON
    OUT.parts/merge/           whether the rows have been joined

Processes claim clips through the queue and exchange nothing while they work; whoever does the last clip
joins the rows to OUT and removes OUT.parts. A run that was killed goes on when the same command is given.
"""

import glob
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.distributed

from mer_hf import __version__
from mer_hf.face.action_units import given_action_units
from mer_hf.loading import weights_sha256
from mer_hf.utils.work_queue import WorkQueue
from mer_hf.video.container import PICTURE_SUFFIXES, VIDEO_SUFFIXES

from .bulk_table import failed_row, find_clips, predict_row, printable, summarize, table_columns, write_table
from .pipeline import ESTIMATED, MicroExpressionPipeline

TABLE_SUFFIXES = (".parquet", ".csv")
_BETWEEN_LOOKS_S = 1.0


class FirstProcessFailed(RuntimeError):
    """The first process of a launch could not begin, and says why; the others have nothing to add."""


@dataclass
class BulkRun:
    """Bulk prediction as one process sees it.

    Args:
        root (`Path`): Where the clips are.
        out (`Path`): The table to write, `.parquet` or `.csv`.
        model (`str`, *optional*, defaults to `"htnet"`): Name or folder of the checkpoint.
        options (`dict`, *optional*): Further arguments of the pipeline, for every clip: `fps`,
            `action_units`.
        overwrite (`bool`, *optional*, defaults to `False`): Whether a finished table may be replaced.
        trust_remote_code (`bool`, *optional*, defaults to `False`): Whether code that comes with the
            checkpoint may be run, where its architecture is not one of this package's.
    """

    root: Path
    out: Path
    model: str = "htnet"
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    trust_remote_code: bool = False
    plan: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.root, self.out = Path(self.root), Path(self.out)
        self.parts = self.out.with_name(f"{self.out.name}.parts")
        self._pipeline: MicroExpressionPipeline | None = None

    @property
    def pipeline(self) -> MicroExpressionPipeline:
        """Loaded when it is first needed."""
        if self._pipeline is None:
            self._pipeline = MicroExpressionPipeline.from_pretrained(
                self.model, trust_remote_code=self.trust_remote_code
            )
        return self._pipeline

    def begin(self) -> dict[str, Any]:
        """Make the folder of parts, or check that the one there was begun by the same command.

        Returns:
            `dict`: The plan of the run.

        Raises:
            ValueError: If there are no clips or no model, the table is there already, or the model, an option
                or a clip has changed since the parts were begun.
            ImportError: If parquet is asked for and pyarrow is missing.
        """
        self._check_out()
        began = self.parts.exists()
        self._check_table()
        plan = self._make_plan()
        # While the model was loaded another process may have ended the run, or begun it.
        if not self.parts.exists():
            if began:
                raise ValueError(
                    f"another process has just finished {self.out}. There is nothing left to do."
                )
            self._check_table()
            self._make_parts(plan)
        try:
            before = json.loads((self.parts / "plan.json").read_text())
        except FileNotFoundError:
            raise ValueError(f"{self.parts} is no folder of parts. Delete it to start.") from None
        changed = _changed(before, plan)
        if changed:
            raise ValueError(
                f"{changed} since {self.parts} was begun. Undo that to go on, or delete {self.parts} "
                "to start anew."
            )
        return plan

    def _check_table(self) -> None:
        if not self.parts.exists() and self.out.exists() and not self.overwrite:
            raise ValueError(f"{self.out} exists. Add --overwrite to replace it, or name another file.")

    def _check_out(self) -> None:
        if self.out.suffix.lower() not in TABLE_SUFFIXES:
            raise ValueError(f"--out {self.out} must end in {' or '.join(TABLE_SUFFIXES)}.")
        if self.out.is_dir():
            raise ValueError(f"--out {self.out} is a folder. Give the name of a file.")
        if not self.out.parent.is_dir():
            raise ValueError(f"the folder {self.out.parent} does not exist. Make it first.")
        if self.out.suffix.lower() == ".parquet":
            try:
                import pyarrow.parquet  # noqa: F401
            except ImportError as error:
                raise ImportError(
                    "parquet needs pyarrow. Run pip install mer_hf[train], or name a .csv file."
                ) from error

    def _make_plan(self) -> dict[str, Any]:
        if not self.root.exists():
            raise ValueError(f"{self.root}: no such file or folder. Check the path.")
        clips = sorted(find_clips(self.root))
        if not clips:
            raise ValueError(
                f"{self.root} holds no clips: no {', '.join(VIDEO_SUFFIXES)} file and no folder of "
                f"{', '.join(PICTURE_SUFFIXES)} frames. Check the path."
            )
        if self.options.get("action_units") not in (None, ESTIMATED):
            given_action_units(self.options["action_units"])
        settings = [self.pipeline.model.config.to_dict(), self.pipeline.processor.to_dict()]
        return {
            "mer_hf": __version__,
            "model": self.pipeline.name,
            "weights_sha256": weights_sha256(self.pipeline.model),
            "config_sha256": hashlib.sha256(
                json.dumps(settings, sort_keys=True, default=str).encode()
            ).hexdigest(),
            "classes": list(self.pipeline.model.config.id2label.values()),
            "options": self.options,
            "root": str(self.root.resolve()),
            "clips": {clip: _fingerprint(self._path(clip)) for clip in clips},
        }

    def _make_parts(self, plan: dict[str, Any]) -> None:
        part = self.parts.with_name(f".{self.parts.name}.{socket.gethostname()}.{os.getpid()}")
        try:
            for name in ("begun", "results"):
                (part / name).mkdir(parents=True)
            (part / "plan.json").write_text(json.dumps(plan))
            WorkQueue(part / "queue", _names(plan)).fill()
            WorkQueue(part / "merge", ["merge"]).fill()
            part.rename(self.parts)
        except OSError:
            if not self.parts.is_dir():  # else another process was quicker
                raise
        for path in self.parts.parent.glob(f".{glob.escape(self.parts.name)}.*"):  # of processes killed here
            shutil.rmtree(path, ignore_errors=True)

    def _path(self, clip: str) -> Path:
        return self.root if self.root.is_file() else self.root / clip

    def work(self, progress: Callable[[int, int], None] | None = None) -> dict[str, Any] | None:
        """Predict clips until none is left for this process; the process that is last joins the rows.

        Args:
            progress (`Callable[[int, int], None]`, *optional*): Called with the clips that are done, by all
                processes, and the number of clips.

        Returns:
            `dict` or `None`: The summary; None where other processes are still at work or were last.

        Raises:
            FirstProcessFailed: In all but the first process of a launch, where that could not begin.
            ValueError: As `begin`.
            ImportError: As `begin`.
        """
        self.plan = _told_by_the_first(self.begin, self.parts)
        _share_cores()
        names = _names(self.plan)
        clips = dict(zip(names, self.plan["clips"], strict=True))
        queue = WorkQueue(self.parts / "queue", names)
        begun, before, looked = time.perf_counter(), self._count_done(), float("-inf")
        for name in queue.claims():
            if progress and time.perf_counter() > looked + _BETWEEN_LOOKS_S:
                progress(self._count_done(), len(names))
                looked = time.perf_counter()
            self._do(name, self._path(clips[name]))
        if progress:
            progress(self._count_done(), len(names))
        if queue.left():
            return None
        for _ in WorkQueue(self.parts / "merge", ["merge"]).claims():
            rows = self._merge(clips)
            # Away at once: a part of it must never be taken for a run to go on with.
            gone = self.parts.with_name(f".{self.parts.name}.{os.getpid()}")
            self.parts.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
            return summarize(rows, len(rows) - before, time.perf_counter() - begun)
        return None

    def _count_done(self) -> int:
        try:
            return sum(name[0] != "." for name in os.listdir(self.parts / "results"))
        except FileNotFoundError:  # another process has joined the rows
            return len(self.plan["clips"])

    def _do(self, name: str, path: Path) -> None:
        """Predict one clip. One at which a process died before gets a process of its own, to die alone."""
        begun = self.parts / "begun" / name
        if begun.exists():
            # By the name that is pinned to a commit: a branch of the Hub may have moved since.
            model = (self.plan["model"], self.trust_remote_code)
            row = run_alone(_do_again, self.parts, name, model, path, self.options)
            if row:
                _write_json(self.parts / "results" / name, row)
        else:
            begun.touch()
            _write_json(self.parts / "results" / name, predict_row(self.pipeline, path, self.options))
        begun.unlink(missing_ok=True)

    def _merge(self, clips: dict[str, str]) -> list[dict[str, Any]]:
        same = {key: self.plan[key] for key in ("model", "weights_sha256", "mer_hf")}
        rows = [
            {"path": printable(clip), **json.loads((self.parts / "results" / name).read_text()), **same}
            for name, clip in clips.items()
        ]
        write_table(self.out, rows, table_columns(self.plan["classes"]))
        return rows


def _names(plan: dict[str, Any]) -> list[str]:
    """What the clips are called in the queue."""
    return [f"{number:07d}" for number in range(len(plan["clips"]))]


def _fingerprint(path: Path) -> list[int]:
    """Files, bytes and the time of the last change in ns, which show that a clip is another one."""
    try:
        files = [path]
        if path.is_dir():
            files = [
                file
                for file in path.iterdir()
                if file.name[0] != "." and file.name.lower().endswith(PICTURE_SUFFIXES)
            ]
        stats = [os.stat(file) for file in files if file.exists()]  # a link may lead nowhere
    except PermissionError:
        stats = []
    return [len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """What differs between two plans, in words; the first thing only."""
    if before["mer_hf"] != now["mer_hf"]:
        return f"mer_hf changed from {before['mer_hf']} to {now['mer_hf']}"
    if before["model"] != now["model"]:
        return f"--model changed from {before['model']} to {now['model']}"
    if before["weights_sha256"] != now["weights_sha256"]:
        return f"the weights of {now['model']} changed"
    if before["config_sha256"] != now["config_sha256"]:
        return f"the configuration of {now['model']} changed"
    for name, value in now["options"].items():
        if before["options"].get(name) != value:
            flag = name.replace("_", "-")
            return f"--{flag} changed from {before['options'].get(name)} to {value}"
    if before["root"] != now["root"]:
        return f"the folder of clips changed from {before['root']} to {now['root']}"
    for what, some, others in (("is gone", before, now), ("was added", now, before)):
        for clip in some["clips"]:
            if clip not in others["clips"]:
                return f"the clip {printable(clip)} {what}"
    for clip, found in now["clips"].items():
        if before["clips"][clip] != found:
            return f"the clip {printable(clip)} changed"
    return None


def _write_json(path: Path, row: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(row, allow_nan=False))
    part.replace(path)


def run_alone(target: Callable, parts: Path, name: str, *args: Any) -> dict[str, Any] | None:
    """Let a new process make a clip's row.

    Args:
        target (`Callable`): A function of a module, called with the file of the row and `args`.
        parts (`Path`): The folder of parts.
        name (`str`): Of the clip in the queue.
        args: For `target`.

    Returns:
        `dict` or `None`: The row that says how the process died; None if it lived and the row is written.
    """
    begun = time.perf_counter()
    child = multiprocessing.get_context("spawn").Process(
        target=target, args=(parts / "results" / name, *args)
    )
    child.start()
    child.join()
    if child.exitcode == 0:
        return None
    code = child.exitcode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    row = failed_row(f"the process that read it died ({how}), twice", Path(name))
    return row | {
        "seconds": round(time.perf_counter() - begun, 3),
        "process": f"{socket.gethostname()}:{child.pid}",
    }


def _do_again(result: Path, model: tuple[str, bool], path: Path, options: dict[str, Any]) -> None:
    pipeline = MicroExpressionPipeline.from_pretrained(model[0], trust_remote_code=model[1])
    _write_json(result, predict_row(pipeline, path, options))


def is_first_process() -> bool:
    """Whether this is the first process of a launch, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _told_by_the_first(make: Callable[[], dict[str, Any]], parts: Path) -> dict[str, Any]:
    """What the first process of a launch makes, in all of them, once all have seen the folder of parts.

    So none comes late, to find the table finished and take it for that of another run.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return make()
    made, error, seen = None, None, [False] * world
    torch.distributed.init_process_group(
        "gloo", timeout=timedelta(hours=12)
    )  # a large folder is slow to list
    try:
        if is_first_process():
            try:
                made = make()
            except Exception as raised:
                error = raised
        told = [made]
        torch.distributed.broadcast_object_list(told)
        torch.distributed.all_gather_object(seen, parts.is_dir())
    finally:
        torch.distributed.destroy_process_group()
    if made and not all(seen):
        error = ValueError(
            f"process {seen.index(False)} does not see {parts}. Let --out lie in a folder that all share."
        )
    if error:
        raise error
    if not all(seen) or told[0] is None:
        raise FirstProcessFailed("the first process could not begin.")
    return told[0]


def _share_cores() -> None:
    """Give each process of a launch its share of this machine's cores; launchers set one for each."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"]))
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
