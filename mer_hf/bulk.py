"""Analyses every clip below a folder: by one process or many, resumable, one row per clip.

    OUT.parts/setting.json    model, options and clips; a run goes on only if they are the same
    OUT.parts/queue/          which clips are done, see work_queue
    OUT.parts/rows/           one JSON file per clip
    OUT                       all rows, at the end; OUT.parts is removed

Processes claim clips one at a time, so that a long one does not hold up the others, and need nothing of each
other but the folder: they may run on several machines.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mer_hf import __version__
from mer_hf.work_queue import WorkQueue

VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
OUTPUTS = (".parquet", ".csv")
SHOWN = 5
"""Failures that are shown; all are in the file."""


def find_clips(folder: Path) -> list[Path]:
    """Videos below a folder, and folders that hold pictures; relative to it, sorted.

    Raises:
        ValueError: In one line, if there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder. With --out, give a folder of clips.")
    found: set[Path] = set()
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place).relative_to(folder)
        found |= {here / name for name in files if Path(name).suffix.lower() in VIDEOS and name[0] != "."}
        if any(Path(name).suffix.lower() in PICTURES and name[0] != "." for name in files):
            found.add(here)
    if not found:
        raise ValueError(f"{folder} holds no clip: no video ({', '.join(VIDEOS)}) and no folder of pictures.")
    return sorted(found)


def _stamp(path: Path) -> list:
    """Size and time of a clip's file, or of its folder's newest file."""
    stats = [each.stat() for each in path.iterdir()] if path.is_dir() else [path.stat()]
    return [sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)]


class Bulk:
    """The analysis of a folder's clips as one process sees it.

    Args:
        folder (`Path`): Holds the clips.
        out (`Path`): Ends in .parquet or .csv.
        model (`str`): A bundled checkpoint, a folder or a Hub name.
        action_units (`str`, `list` or None): As the pipeline takes them.
        fps (`float`, *optional*): Of folders of pictures.
        overwrite (`bool`): Whether a file that an earlier run has finished may be replaced.

    Raises:
        ValueError: In one line, if there is no clip, `out` is there already, or what a killed run left
            belongs to another model, other options or other clips.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        model: str,
        action_units: Any = "estimated",
        fps: float | None = None,
        overwrite: bool = False,
    ):
        from mer_hf.pipeline import MicroExpressionPipeline

        self.folder, self.out, self.action_units, self.fps = folder, out, action_units, fps
        self.parts = out.with_name(out.name + ".parts")
        if out.exists() and not overwrite and not self.parts.exists():
            raise ValueError(f"{out} exists already. Add --overwrite to replace it, or name another file.")
        if out.suffix == ".parquet":
            _pyarrow()
        self.clips = find_clips(folder)
        self.queue = WorkQueue(self.parts / "queue", [f"{i:07d}" for i in range(len(self.clips))])
        self.pipeline = MicroExpressionPipeline.from_pretrained(model)
        self._claim(model)

    def _claim(self, model: str) -> None:
        from mer_hf.evaluation.flow_maps import weights_sha256

        self.weights = weights_sha256(self.pipeline.model) or ""
        stamps = json.dumps([[str(clip), *_stamp(self.folder / clip)] for clip in self.clips])
        setting = {
            "model": model,
            "weights": self.weights,
            "options": json.dumps([self.action_units, self.fps]),
            "mer_hf": __version__,
            "clips": hashlib.sha256(stamps.encode()).hexdigest(),
        }
        record = self.parts / "setting.json"
        (self.parts / "rows").mkdir(parents=True, exist_ok=True)
        if record.is_file():
            before = json.loads(record.read_text())
            changed = [name for name, value in setting.items() if before.get(name) != value]
            if changed:
                raise ValueError(
                    f"{self.parts} was begun with other {' and '.join(changed)}. Delete it to begin anew, or "
                    "name another --out."
                )
        else:
            _write(record, json.dumps(setting))
        self.queue.fill()

    def _row_path(self, name: str) -> Path:
        return self.parts / "rows" / f"{name}.json"

    def work(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Analyse clips until none is left that nobody else is at work on.

        Args:
            progress (`Callable[[int, int], None]`, *optional*): Called with clips done, by all processes, and
                clips in all.
        """
        for name in self.queue.claims():
            _write(self._row_path(name), json.dumps(self.row(self.clips[int(name)])))
            if progress:
                progress(len(os.listdir(self.parts / "rows")), len(self.clips))

    def row(self, clip: Path) -> dict[str, Any]:
        """One clip's row; a clip that cannot be analysed gets one too, with the reason."""
        began = time.perf_counter()
        about = {
            "path": clip.as_posix(),
            "model": self.pipeline.name,
            "weights_sha256": self.weights,
            "mer_hf": __version__,
            "process": int(os.environ.get("RANK", "0")),
        }
        try:
            found = self.pipeline(self.folder / clip, fps=self.fps, action_units=self.action_units).to_dict()
        except Exception as error:  # whatever a file does to a decoder, the others go on; the row tells
            reason = " ".join(str(error).split())
            if not isinstance(error, (ValueError, OSError)):
                reason = f"{type(error).__name__}: {reason}"
            failed = {"status": "failed", "reason": reason, "seconds": time.perf_counter() - began}
            return {**about, **failed}
        phases = found["phases"]
        return {
            **about,
            "status": "ok",
            "outcome": found["outcome"],
            "label": found["label"],
            **{f"score_{name}": score for name, score in found["scores"].items()},
            **{name: phases[name] for name in phases if name.startswith(("onset", "apex", "offset"))},
            "phases_source": phases["source"],
            **{name: unit and unit[2] for name, unit in found["action_units"].items()},
            "action_units_source": found["action_units_source"],
            "warnings": "; ".join(found["warnings"]),
            "seconds": time.perf_counter() - began,
        }

    def merge(self) -> list[dict[str, Any]] | None:
        """Join the rows once all clips are done; one process does so.

        Returns:
            `list[dict]` or None: The rows in the order of their paths; None in every other process.
        """
        if not self.parts.is_dir() or self.queue.left():
            return None
        last, rows = WorkQueue(self.parts / "merge", ["merge"]), None
        last.fill()
        for _ in last.claims():
            rows = [json.loads(self._row_path(name).read_text()) for name in self.queue.names]
            write_rows(self.out, rows)
        if rows is not None:
            shutil.rmtree(self.parts)
        return rows


def _pyarrow():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "a .parquet file needs pyarrow. Run pip install 'mer_hf[train]', or name a .csv."
        ) from error
    return pyarrow


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text)
    unfinished.replace(path)


FIRST = ("path", "status", "reason", "outcome", "label")


def write_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows as one file; it is either there as a whole or not at all.

    Args:
        out (`Path`): Ends in .parquet or .csv.
        rows (`list[dict]`): Column -> value; what a row lacks is empty.
    """
    names = list(
        dict.fromkeys([*FIRST, *(name for row in sorted(rows, key=len, reverse=True) for name in row)])
    )
    rows = [{name: row.get(name) for name in names} for row in rows]
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    if out.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        unfinished.write_text(text.getvalue())
    else:
        pyarrow = _pyarrow()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), unfinished)
    unfinished.replace(out)


def summary(rows: list[dict[str, Any]], out: Path) -> str:
    """A few lines on all rows."""
    failed = [row for row in rows if row["status"] == "failed"]
    outcomes = Counter(
        row["label"] or row["outcome"].replace("_", " ") for row in rows if row["status"] == "ok"
    )
    seconds = sum(row["seconds"] for row in rows) / len(rows)
    lines = [f"{len(rows)} clips, {len(failed)} failed, {seconds:.2f} s each, written to {out}"]
    if outcomes:
        lines.append(", ".join(f"{name} {count}" for name, count in outcomes.most_common()))
    lines += [f"failed: {row['path']}: {row['reason']}" for row in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"... and {len(failed) - SHOWN} more; all reasons are in the file")
    return "\n".join(lines)
