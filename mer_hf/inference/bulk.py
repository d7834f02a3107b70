"""Predictions of many clips into one table, by one process or by several that share a folder.

    OUT.parts/run.json       settings and clips, as they were when the run began
    OUT.parts/0000007.json   the row of clip 7
    OUT.parts/0000007.begun  a process is at clip 7, or died at it

Process r of n predicts the clips r, r + n, r + 2n and so on, and skips those whose row exists. So the same
command resumes a killed run, on any number of processes. Whoever finds all rows joins them to OUT and removes
OUT.parts.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.distributed

from mer_hf import __version__
from mer_hf.face.action_units import VOCABULARY, given_action_units
from mer_hf.interchange.coding import Coding
from mer_hf.interchange.formats import SUFFIXES, WRITERS
from mer_hf.loading import weights_sha256
from mer_hf.utils.files import replacing, write_csv, write_text
from mer_hf.utils.provenance import Note
from mer_hf.utils.untrusted import MOST_TEXT_BYTES, read_json
from mer_hf.video.container import PICTURE_SUFFIXES, UNREAD_SUFFIXES, VIDEO_SUFFIXES

from .long_video import LongVideo
from .pipeline import ESTIMATED, PHASE_NAMES, MicroExpressionPipeline, Prediction

REASONS_SHOWN = 3
OLD_OUTCOMES = {"no_micro_expression": "other_motion"}
"""Name in tables of earlier versions -> name."""
MOVEMENT = ("duration_s", "size_px")
"""Columns that measure the movement."""
SAME_COLUMNS = {
    **dict.fromkeys(("warnings", "model", "weights_sha256", "mer_hf"), "string"),
    "seconds": "float64",
    "process": "string",
}
"""The last columns of every table."""
RANK, WORLD_SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
"""Number of this process in its launch, and how many there are; set by torchrun and accelerate."""


class OtherProcessFailed(RuntimeError):
    """Another process of the launch could not begin; it says why, and this one has nothing to add."""


@dataclass
class BulkRun:
    """Bulk prediction, as one process of it sees the work.

    Args:
        root (`Path`): A folder of clips, or one clip.
        out (`Path`): The table to write, `.parquet` or `.csv`.
        model (`str`, *optional*, defaults to `"htnet"`): Name or folder of the checkpoint.
        options (`dict`, *optional*): Further arguments of the pipeline, for every clip: `fps`,
            `action_units`.
        overwrite (`bool`, *optional*, defaults to `False`): Whether a finished table, and files in
            `export_dir`, may be replaced.
        trust_remote_code (`bool`, *optional*, defaults to `False`): Whether to run code that comes with the
            checkpoint, for an architecture that this package does not have.
        export_dir (`Path`, *optional*): A folder in which a file is written for each clip.
        export (`Sequence[str]`, *optional*): Of which kinds: names of `mer_hf.interchange.formats.WRITERS`.
    """

    root: Path
    out: Path
    model: str = "htnet"
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    trust_remote_code: bool = False
    export_dir: Path | None = None
    export: Sequence[str] = ("eaf",)

    def __post_init__(self) -> None:
        self.root, self.out = Path(self.root), Path(self.out)
        self.parts = self.out.with_name(f"{self.out.name}.parts")
        self.run_file = self.parts / "run.json"
        self.done = self.out.with_name(f".{self.out.name}.done")
        self.rows: list[dict[str, Any]] = []

    @cached_property
    def pipeline(self) -> MicroExpressionPipeline:
        """Load the pipeline when it is first needed."""
        return MicroExpressionPipeline.from_pretrained(self.model, trust_remote_code=self.trust_remote_code)

    def begin(self) -> dict[str, Any]:
        """Make the folder of parts, or check that the run in it had the same settings and clips.

        Returns:
            `dict`: `settings`, `clips` (path -> fingerprint) and `left_out` (paths).

        Raises:
            ValueError: If there are no clips or no model, the table exists already, or a setting or a clip
                changed since the run began.
            ImportError: If parquet is asked for and pyarrow is missing.
        """
        shutil.rmtree(self.done, ignore_errors=True)  # of a run that was killed at its last step
        if not self.run_file.exists():
            if self.out.exists() and not self.overwrite:
                raise ValueError(f"{self.out} exists. Add --overwrite to replace it, or name another file.")
            if any(self.parts.glob("[!.]*")):
                raise ValueError(f"{self.parts} is not a folder of parts. Delete it to start.")
        run = self._describe()
        if not self.run_file.exists():
            self._check_exports(run["clips"])
            self.parts.mkdir(exist_ok=True)
            write_text(self.run_file, json.dumps(run))
        elif change := _change(self._read_run(), run):
            raise ValueError(
                f"{change} since {self.parts} was begun. Undo that to resume, or delete {self.parts} to "
                "start again."
            )
        if run["left_out"]:
            warnings.warn(Note(_left_out_text(run["left_out"])), stacklevel=2)
        return run

    def _check_exports(self, clips: Iterable[str]) -> None:
        """Refuse to replace codings that somebody may have corrected."""
        if self.export_dir is None or self.overwrite:
            return
        files = (self._file_of(self.path_of(clip), kind) for clip in clips for kind in self.export)
        if there := next((file for file in files if file.exists()), None):
            raise ValueError(f"{there} exists. Add --overwrite to replace it, or name another folder.")

    def _file_of(self, path: Path, kind: str) -> Path:
        """Return the file of a clip for another program, as the clips lie below `root`."""
        below = path.relative_to(self.root) if path != self.root else Path(path.resolve().name)
        return self.export_dir / f"{below}{SUFFIXES[kind]}"

    def _read_run(self) -> dict[str, Any]:
        """Read the description of the run that was begun here."""
        kinds = {"settings": dict, "clips": dict[str, str], "left_out": list[str]}
        return read_json(self.run_file, kinds, most_bytes=MOST_TEXT_BYTES)

    def _describe(self) -> dict[str, Any]:
        """Return all that the table depends on."""
        if self.out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
            raise ImportError("parquet needs pyarrow. Run pip install mer_hf[train], or name a .csv file.")
        if not self.root.exists():
            raise ValueError(f"{self.root}: no such file or folder. Check the path.")
        clips, left_out = sorted(find_clips(self.root)), find_left_out(self.root)
        if not clips:
            raise ValueError(
                f"{self.root} holds no clips: no {', '.join(VIDEO_SUFFIXES)} file and no folder of "
                f"{', '.join(PICTURE_SUFFIXES)} frames. {_left_out_text(left_out) or 'Check the path.'}"
            )
        if self.options.get("action_units") not in (None, ESTIMATED):
            given_action_units(self.options["action_units"])
        model, processor = self.pipeline.model, self.pipeline.processor
        config = json.dumps([model.config.to_dict(), processor.to_dict()], sort_keys=True, default=str)
        settings = self.options | {
            "model": self.pipeline.name,
            "weights_sha256": weights_sha256(model),
            "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
            "mer_hf": __version__,
            "clips": str(self.root.resolve()),
            "export_dir": self.export_dir and str(self.export_dir.resolve()),
            "export": list(self.export) if self.export_dir else None,
        }
        fingerprints = {clip: _fingerprint(self.path_of(clip)) for clip in clips}
        return {"settings": settings, "clips": fingerprints, "left_out": left_out}

    def path_of(self, clip: str) -> Path:
        """Return the file or folder of a clip."""
        return self.root if self.root.is_file() else self.root / clip

    def work(self, progress: Callable[[int, int], None] | None = None) -> dict[str, Any] | None:
        """Predict this process's clips; whoever finds all rows joins them to the table.

        Args:
            progress (`Callable[[int, int], None]`, *optional*): Called after each clip with the number of
                this process's clips that are done, and of all its clips.

        Returns:
            `dict` or `None`: The summary; None where other processes are still at work.

        Raises:
            OtherProcessFailed: If another process of the launch could not begin.
            ValueError: See `begin`.
            ImportError: See `begin`.
        """
        run = self._begin_together()
        _share_cores()
        clips = list(run["clips"])
        started, done_before = time.perf_counter(), len(self._rows())
        mine = range(RANK, len(clips), WORLD_SIZE)
        for done, number in enumerate(mine, 1):
            self._predict(number, self.path_of(clips[number]), run["settings"]["model"])
            if progress:
                progress(done, len(mine))
        try:
            if len(self._rows()) < len(clips):
                return None
            rows = self._join(run["settings"], clips)
            self.parts.rename(self.done)  # whoever moves the parts away was the last
            shutil.rmtree(self.done)
        except FileNotFoundError:  # another process has joined the rows
            return None
        self.rows = rows
        return summarize(rows, len(clips) - done_before, time.perf_counter() - started, run["left_out"])

    def _begin_together(self) -> dict[str, Any]:
        """Begin in the first process of a launch, then in the others.

        All wait for each other, so that none comes late and takes the finished table for that of another run.
        """
        if WORLD_SIZE == 1:
            return self.begin()
        patience = timedelta(hours=12)  # a large folder is slow to list
        torch.distributed.init_process_group("gloo", timeout=patience)
        try:
            if RANK == 0:
                self.begin()
            _wait_for_the_others()
            run = self._read_run()
            _wait_for_the_others()
        except FileNotFoundError as error:
            raise ValueError(
                f"process {RANK} does not see {self.parts}. Let --out lie in a folder that all share."
            ) from error
        finally:
            torch.distributed.destroy_process_group()
        return run

    def _rows(self) -> list[str]:
        return [name for name in os.listdir(self.parts) if name[0].isdigit() and name.endswith(".json")]

    def _predict(self, number: int, path: Path, model: str) -> None:
        """Write a clip's row, unless it exists; a clip at which a process died gets a process of its own."""
        part = self.parts / f"{number:07d}.json"
        begun = part.with_suffix(".begun")
        if part.exists():
            return
        if begun.exists():
            # By the name that is pinned to a commit: a branch on the Hub may have moved since.
            alone = replace(self, model=model)
            if row := run_alone(alone.write_part, path, part):
                write_text(part, json.dumps(row))
        else:
            begun.touch()
            self.write_part(path, part)
        begun.unlink(missing_ok=True)

    def write_part(self, path: Path, part: Path) -> None:
        """Write what the table will say about a clip, here or in a process of its own."""
        write_text(part, json.dumps(self.part_of(path), allow_nan=False))

    def part_of(self, path: Path) -> dict[str, Any]:
        """Return what the table will say about a clip; any error becomes the reason why it failed.

        The columns that are the same for all clips are missing. A failed clip has `status`, `reason`,
        `seconds` and `process` only.
        """
        pipeline, started = self.pipeline, time.perf_counter()
        try:
            answer, part = self._answer(pipeline, path)
            part["warnings"] = " | ".join([*answer.warnings, *self._export(answer, path)])
        except Exception as error:
            expected = isinstance(error, (ValueError, OSError)) and str(error)
            part = _failure(str(error) if expected else f"{type(error).__name__}: {error}", path)
        seconds = round(time.perf_counter() - started, 3)
        return part | {"seconds": seconds, "process": f"{socket.gethostname()}:{os.getpid()}"}

    def _answer(
        self, pipeline: MicroExpressionPipeline, path: Path
    ) -> tuple[Prediction | LongVideo, dict[str, Any]]:
        """Return the answer to a clip, and what the table says of it."""
        answer = pipeline(path, **self.options)
        return answer, _answer_columns(answer.to_dict())

    def _export(self, answer: Prediction | LongVideo, path: Path) -> list[str]:
        """Write a clip's files for other programs; say why that cannot be."""
        if self.export_dir is None:
            return []
        try:
            coding = Coding.of(answer, path)
            for kind in self.export:
                file = self._file_of(path, kind)
                file.parent.mkdir(parents=True, exist_ok=True)
                WRITERS[kind](file, coding)
        except ValueError as error:
            return [f"nothing was exported: {error}"]
        return []

    def _rows_of(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of the table that a clip has."""
        return [part]

    def _columns(self) -> dict[str, str]:
        """Return the columns of the table and their types."""
        phases = {
            key: kind for name in PHASE_NAMES for key, kind in ((name, "int64"), (f"{name}_s", "float64"))
        }
        return {
            **dict.fromkeys(("path", "status", "reason", "outcome", "label"), "string"),
            **dict.fromkeys((*MOVEMENT, *(f"score_{name}" for name in self.pipeline.classes)), "float64"),
            **phases,
            "phases_source": "string",
            **dict.fromkeys(VOCABULARY, "float64"),
            "action_units_source": "string",
            **SAME_COLUMNS,
        }

    def _join(self, settings: dict[str, Any], clips: list[str]) -> list[dict[str, Any]]:
        same = {name: settings[name] for name in ("model", "weights_sha256", "mer_hf")}
        rows = [
            {"path": printable(clip), **row, **same}
            for number, clip in enumerate(clips)
            for row in self._rows_of(read_json(self.parts / f"{number:07d}.json", most_bytes=MOST_TEXT_BYTES))
        ]
        table = self.parts / self.out.name  # a killed process leaves what is unfinished among the parts
        write_table(table, rows, self._columns())
        os.replace(table, self.out)
        return rows


def _wait_for_the_others() -> None:
    try:
        torch.distributed.barrier()
    except RuntimeError as error:
        raise OtherProcessFailed from error


def _share_cores() -> None:
    """Give each process of a launch its share of this machine's cores; launchers set one for each."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"]))
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


# --- clips --------------------------------------------------------------------------------------------------


def find_clips(root: str | os.PathLike) -> Iterator[str]:
    """Find the clips in a folder and the folders in it: videos, and folders of pictures without a video.

    Args:
        root (`str` or `os.PathLike`): A folder, or one video file. Hidden files and folders are skipped.

    Yields:
        `str`: Paths from `root`, with `/`; `"."` for `root` itself. In no particular order.
    """
    root = Path(root)
    if root.is_file():
        yield root.name
        return
    unreadable = []
    for top, names in _folders_below(root, unreadable.append):
        videos = [
            name
            for name in names
            if name.lower().endswith(VIDEO_SUFFIXES) or ("." not in name and _begins_as_video(top / name))
        ]
        pictures = any(name.lower().endswith(PICTURE_SUFFIXES) for name in names)
        # Beside videos a picture is a poster, not a frame of a clip.
        for name in videos or [""] * pictures:
            yield (top / name).relative_to(root).as_posix()
    for error in unreadable:  # its contents are unknown: a row shall say so
        yield Path(error.filename).relative_to(root).as_posix()


def find_left_out(root: str | os.PathLike) -> list[str]:
    """Return the files of a folder, and of those in it, that look like videos of a kind that is not read."""
    root = Path(root)
    return sorted(
        printable((top / name).relative_to(root).as_posix())
        for top, names in _folders_below(root, None)
        for name in names
        if name.lower().endswith(UNREAD_SUFFIXES)
    )


def _folders_below(root: Path, onerror: Callable | None) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder once, with the files in it that are not hidden."""
    visited = set()
    for top, folders, files in os.walk(root, followlinks=True, onerror=onerror):
        real_path = os.path.realpath(top)
        if real_path in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real_path)
        folders[:] = [name for name in folders if name[0] != "."]
        yield Path(top), [name for name in files if name[0] != "."]


def _begins_as_video(path: Path) -> bool:
    """Check the first bytes of a file without a suffix: those of mp4 and mov, of Matroska, or of AVI."""
    try:
        start = path.open("rb").read(12) if path.is_file() else b""
    except OSError:
        return False
    return start[4:8] == b"ftyp" or start[:4] == b"\x1aE\xdf\xa3" or start[8:] == b"AVI "


def _left_out_text(paths: list[str]) -> str:
    """Say how many files were left out, and name the first ones; `""` for none."""
    if not paths:
        return ""
    first = ", ".join(paths[:REASONS_SHOWN]) + (", ..." if len(paths) > REASONS_SHOWN else "")
    return f"{len(paths)} files that look like videos are left out ({first}). Convert them to mp4."


def _fingerprint(path: Path) -> str:
    """Describe a clip by files, bytes and the time of its last change, which show that it was replaced."""
    try:
        frames = [path]
        if path.is_dir():
            names = (name for name in os.listdir(path) if name[0] != ".")
            frames = [path / name for name in names if name.lower().endswith(PICTURE_SUFFIXES)]
        stats = [os.stat(frame) for frame in frames if frame.exists()]  # a link may lead nowhere
    except PermissionError:
        stats = []
    newest = max((stat.st_mtime_ns for stat in stats), default=0)
    return f"{len(stats)} files of {sum(stat.st_size for stat in stats)} bytes from {newest} ns"


def _change(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say what differs between two descriptions of a run; the first thing only."""
    before, now = (
        run["settings"] | {f"the clip {printable(clip)}": state for clip, state in run["clips"].items()}
        for run in (before, now)
    )
    for name in before | now:
        if before.get(name) != now.get(name):
            return f"{name} changed from {before.get(name)} to {now.get(name)}"
    return None


# --- rows ---------------------------------------------------------------------------------------------------


def run_alone(function: Callable, path: Path, *args: Any) -> dict[str, Any] | None:
    """Call a function in a process of its own; return the row of a clip at which the process died."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=(path, *args))
    process.start()
    process.join()
    if process.exitcode == 0:
        return None
    code = process.exitcode
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return _failure(f"the process that read it died ({cause}), twice", path)


def _failure(reason: str, path: Path) -> dict[str, Any]:
    return {"status": "failed", "reason": printable(" ".join(reason.split()).removeprefix(f"{path}: "))}


def printable(text: str) -> str:
    """Escape what is not Unicode in a file's name: a table's text must be."""
    return text.encode("utf-8", "backslashreplace").decode()


def _answer_columns(answer: dict[str, Any]) -> dict[str, Any]:
    phases = answer["phases"]
    return {
        "status": "ok",
        **{name: answer[name] for name in ("reason", "outcome", "label", *MOVEMENT)},
        **{f"score_{name}": score for name, score in answer["scores"].items()},
        **{key: phases[key] for name in PHASE_NAMES for key in (name, f"{name}_s")},
        "phases_source": phases["source"],
        **{name: sides and sides[2] for name, sides in answer["action_units"].items()},
        "action_units_source": answer["action_units_source"],
    }


# --- the table ----------------------------------------------------------------------------------------------


def write_table(out: Path, rows: list[dict[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows as parquet or CSV, whole or not at all; a column that a row lacks is empty."""
    if out.suffix.lower() == ".csv":
        write_csv(out, columns, rows)
        return
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(list(columns.items()))
    with replacing(out) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), temporary)


def summarize(
    rows: list[dict[str, Any]], clips_done: int, seconds: float, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Count clips, failures with the first reasons, outcomes and labels, and the clips done per second.

    `left_out` are the files that look like videos and were not read. Outcomes of `OLD_OUTCOMES` are counted
    under their present names.
    """
    outcomes = [row["outcome"] for row in rows if row.get("outcome")]
    failed = {row["path"]: row["reason"] for row in rows if row["status"] == "failed"}
    return {
        "clips": len({row["path"] for row in rows}),
        "failed": len(failed),
        "reasons": dict(list(failed.items())[:REASONS_SHOWN]),
        "outcomes": dict(Counter(OLD_OUTCOMES.get(name, name) for name in outcomes).most_common()),
        "labels": dict(Counter(row["label"] for row in rows if row.get("label")).most_common()),
        "left_out": list(left_out),
        "clips_per_s": round(clips_done / seconds, 3),
    }


def format_summary(summary: dict[str, Any]) -> str:
    """Write a summary as a few lines for a reader."""
    lines = [f"{summary['clips']} clips, {summary['failed']} failed, {summary['clips_per_s']:.2f} clips/s"]
    for name in ("outcomes", "labels"):
        counts = ", ".join(f"{key} {count}" for key, count in summary[name].items())
        lines.append(f"{name:<10}{counts or 'none'}")
    lines += [f"failed    {path}: {reason}" for path, reason in summary["reasons"].items()]
    if summary["failed"] > len(summary["reasons"]):
        lines.append(f"          and {summary['failed'] - len(summary['reasons'])} more: see column reason")
    lines += filter(None, [_left_out_text(summary["left_out"])])
    return "\n".join(lines)
